"""Rows: the training of language models, in characters per second."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import floors, peers, texts
from benchmarks.harness import FLOOR, Contender, Options, Row, speed
from charlm.device import select_precision
from charlm.runs import Run
from charlm.task import settings_from_preset
from charlm.tasks import LANGUAGE_MODEL
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.training.loop import open_trainer

BATCH, STEPS = 32, 35  # the book's
UNIT = "characters/s"
TRAINED = 40  # batches of a round of the default training


def book_corpus(options: Options) -> Corpus:
    """The first 10,000 characters of the bundled story, cleaned as in the book."""
    size = options.size(10_000, 2_500)
    return load_corpus("traveller", cleaning="letters", max_chars=size, split=(1, 0, 0))


def book_config(cell: str, backend: str, hidden: int) -> LanguageModelConfig:
    """The book's network and training."""
    model = {"cell": cell, "backend": backend, "hidden_size": hidden, "embedding": "one-hot"}
    model |= {"input_dropout": 0, "output_dropout": 0, "weight_dropout": 0}
    training = {"batch_size": BATCH, "seq_len": STEPS, "optimiser": "sgd", "lr": 1.0}
    training |= {"schedule": "constant", "warmup": 0, "precision": "float32", "epochs": 1}
    return LanguageModelConfig.from_settings([{"model": model, "training": training}])


def trained(
    config: Any,
    corpus: Any,
    folder: Path,
    options: Options,
    batches: int | None = None,
) -> Callable[[], int]:
    """A function that trains for some batches or an epoch and returns its characters (or texts)."""
    trainer = open_trainer(Run.create(folder, config, corpus), corpus, options.device)[0]

    def train() -> int:
        before = trainer.progress.items
        for _ in range(batches or len(trainer.batches)):
            trainer.update()
        return trainer.progress.items - before

    return train


def book_floor(cell: str, hidden: int, corpus: Corpus, options: Options) -> Contender:
    """The products of an epoch of the book's training."""
    batches = len(corpus.split("train")) // (BATCH * STEPS)
    products = floors.training_products(
        cell,
        vocabulary=len(corpus.vocabulary),
        hidden=hidden,
        batch_size=BATCH,
        steps=STEPS,
        batches=batches,
        device=options.device,
    )
    return speed(products, options.device)


Network = Callable[[str, int, int, torch.device], Any]


def book_row(
    name: str, cell: str, backend: str, hidden: int, network: Network, *, theirs: str, wanted: float
) -> Row:
    """A backend of charlm beside one of the book's networks, in the book's loop."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        corpus, device = book_corpus(options), options.device
        ours = trained(book_config(cell, backend, hidden), corpus, folder / "run", options)
        net = network(cell, len(corpus.vocabulary), hidden, device)
        epoch = peers.book_epoch(net, corpus.split("train").tolist(), BATCH, STEPS, device)
        return {
            "charlm": speed(ours, device),
            theirs: speed(epoch, device),
            FLOOR: book_floor(cell, hidden, corpus, options),
        }

    return Row(
        name=f"training/{name}-{cell}-{hidden}",
        about=f"{backend} {cell}, {hidden} units, batch {BATCH}, {STEPS} steps; {theirs}",
        unit=UNIT,
        prepare=prepare,
        wanted=f"{wanted} times d2l",
    )


def scratch_row(cell: str, hidden: int, wanted: float) -> Row:
    """A scratch cell beside the book's scratch code."""
    network = peers.book_scratch_network
    return book_row("scratch", cell, "scratch", hidden, network, theirs="d2l", wanted=wanted)


def best_row(cell: str, wanted: float, hidden: int = 256) -> Row:
    """The backend auto beside the book's loop with torch's layer."""
    theirs, network = f"d2l, nn.{cell.upper()}", peers.book_layer_network
    return book_row("best", cell, "auto", hidden, network, theirs=theirs, wanted=wanted)


def jaychou(sampling: str, options: Options) -> tuple[LanguageModelConfig, Corpus]:
    """A preset of the first Chinese edition, and its text or one like it."""
    layers = [settings_from_preset("language-model", f"jaychou-{sampling}")]
    corpus = load_corpus(
        texts.chinese(options.folder, 0.2) if texts.lyrics() is None else "jaychou",
        cleaning="spaces",
        max_chars=options.size(10_000, 2_500),
        vocabulary_from="kept",
        split=(1, 0, 0),
    )
    return LanguageModelConfig.from_settings(layers), corpus


def jaychou_row(sampling: str) -> Row:
    """A preset of the first Chinese edition beside its loop."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        config, corpus = jaychou(sampling, options)
        batch_size, steps = config.training.batch_size, config.training.seq_len
        size: Any = {"batch_size": batch_size, "steps": steps, "hidden": config.model.hidden_size}
        vocabulary, ids = len(corpus.vocabulary), corpus.split("train").tolist()
        theirs = peers.first_edition_epoch(ids, vocabulary, random=sampling == "random", **size)
        batches = len(ids) // (BATCH * STEPS)
        floor = floors.training_products(
            "rnn", vocabulary=vocabulary, batches=batches, device=options.device, **size
        )
        ours = trained(config, corpus, folder / "run", options)
        return {
            "charlm": speed(ours, options.device),
            "d2l-zh v1": speed(theirs, torch.device("cpu")),
            FLOOR: speed(floor, options.device),
        }

    return Row(
        name=f"training/jaychou-{sampling}",
        about=f"the preset jaychou-{sampling}; the loop of the book's first Chinese edition",
        unit=UNIT,
        prepare=prepare,
        wanted="3 times d2l-zh v1",
    )


def bare_loop(
    config: LanguageModelConfig, corpus: Corpus, device: torch.device, batches: int
) -> Callable[[], int]:
    """The usual hand-written loop of the default training, without dropout on weights."""
    model, training = config.model, config.training
    size, embedding = len(corpus.vocabulary), model.embedding_size or 64
    net = nn.ModuleDict(
        {
            "embedding": nn.Embedding(size, embedding),
            "lstm": nn.LSTM(embedding, model.hidden_size, model.num_layers),
            "head": nn.Linear(model.hidden_size, size),
        }
    ).to(device)
    optimiser = torch.optim.AdamW(net.parameters(), lr=training.lr, betas=(0.9, training.beta2))
    bfloat16 = select_precision(training.precision, device).bfloat16
    ids = torch.tensor(corpus.split("train").tolist(), device=device)
    length, steps = len(ids) // training.batch_size, training.seq_len
    columns = ids[: training.batch_size * length].view(training.batch_size, length).T
    starts = itertools.cycle(range(0, length - steps - 1, steps))
    state: Any = None

    def train() -> int:
        nonlocal state
        for start in itertools.islice(starts, batches):
            inputs, targets = columns[start : start + steps], columns[start + 1 :][:steps]
            state = None if start == 0 or state is None else tuple(s.detach() for s in state)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                embedded = F.dropout(net["embedding"](inputs), model.input_dropout)
                outputs, state = net["lstm"](embedded, state)
                logits = net["head"](F.dropout(outputs, model.output_dropout))
            loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), training.clip_norm)
            optimiser.step()
        return batches * steps * training.batch_size

    return train


def default_row() -> Row:
    """The default training beside torch's layer in it, and beside a bare loop."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        device, batches = options.device, options.size(TRAINED, 4)
        plans = {
            backend: LANGUAGE_MODEL.plan([{"model": {"backend": backend}}], None, progress=False)
            for backend in ("auto", "torch")
        }
        ours = {
            backend: trained(plan.config, plan.corpus, folder / backend, options, batches)
            for backend, plan in plans.items()
        }
        plan = plans["torch"]
        model, training = plan.config.model, plan.config.training
        bfloat16 = select_precision(training.precision, device).bfloat16
        floor = floors.training_products(
            model.cell,
            vocabulary=len(plan.corpus.vocabulary),
            hidden=model.hidden_size,
            batch_size=training.batch_size,
            steps=training.seq_len,
            batches=batches,
            device=device,
            embedding=model.embedding_size or 64,
            dtype=torch.bfloat16 if bfloat16 else torch.float32,
        )
        bare = bare_loop(plan.config, plan.corpus, device, batches)
        return {
            "charlm": speed(ours["auto"], device),
            "--backend torch": speed(ours["torch"], device),
            "nn.LSTM in a bare loop": speed(bare, device),
            FLOOR: speed(floor, device),
        }

    return Row(
        name="training/default",
        about="charlm train with its defaults; --backend torch, and a loop around nn.LSTM",
        unit=UNIT,
        prepare=prepare,
        wanted="1.3 times --backend torch",
    )


ROWS = (
    scratch_row("rnn", 256, 1.6),
    scratch_row("rnn", 512, 1.25),
    scratch_row("gru", 256, 1.9),
    scratch_row("gru-reset-before", 256, 1.9),
    scratch_row("lstm", 256, 2.2),
    best_row("rnn", 1.3),
    best_row("gru", 1.6),
    best_row("lstm", 1.1),
    jaychou_row("random"),
    jaychou_row("consecutive"),
    default_row(),
)
