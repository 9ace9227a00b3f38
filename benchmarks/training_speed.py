"""Compare the training speed with d2l 0.17.0, on the same text, model and batches.

    python benchmarks/training_speed.py [--pairs N] [--threads N] [--device cpu|cuda]

An epoch of charlm and an epoch of d2l's ``train_epoch_ch8`` alternate, N pairs for each network,
on the first 10,000 characters of the bundled story, cleaned as in the book. The script prints a
Markdown table with the median characters per second, and the ratio of each pair with its range.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from charlm.runs import Run
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import Corpus, load_corpus
from charlm.training.loop import open_trainer

HIDDEN, BATCH, STEPS = 256, 32, 35


def import_d2l() -> Any:
    """d2l.torch, without torchvision, which is not needed here."""
    for name in ("torchvision", "torchvision.transforms"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules["torchvision"].transforms = sys.modules["torchvision.transforms"]  # type: ignore[attr-defined]
    from d2l import torch as d2l

    return d2l


def our_epoch(corpus: Corpus, cell: str, backend: str, folder: Path, device: torch.device) -> Any:
    """A function that trains for one epoch and returns the number of predicted characters."""
    model = {"cell": cell, "backend": backend, "hidden_size": HIDDEN, "embedding": "one-hot"}
    model |= {"input_dropout": 0, "output_dropout": 0, "weight_dropout": 0}
    training = {"batch_size": BATCH, "seq_len": STEPS, "optimiser": "sgd", "lr": 1.0}
    training |= {"schedule": "constant", "warmup": 0, "precision": "float32", "epochs": 1}
    config = LanguageModelConfig.from_settings([{"model": model, "training": training}])
    run = Run.create(folder, config, corpus)
    trainer = open_trainer(run, corpus, device)[0]

    def epoch() -> int:
        before = trainer.progress.items
        for _ in range(len(trainer.batches)):
            trainer.update()
        return trainer.progress.items - before

    return epoch


def their_epoch(d2l: Any, corpus: Corpus, cell: str, backend: str, device: torch.device) -> Any:
    """The same function for the book's loop, with its scratch network or torch's layers."""
    size = len(corpus.vocabulary)
    ids = corpus.split("train").tolist()

    def batches() -> Any:
        return d2l.seq_data_iter_sequential(ids, BATCH, STEPS)

    loss = nn.CrossEntropyLoss()
    if backend == "torch":
        kind = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell]
        net = d2l.RNNModel(kind(size, HIDDEN), size).to(device)
        updater: Any = torch.optim.SGD(net.parameters(), 1.0)
    else:
        net = d2l.RNNModelScratch(size, HIDDEN, device, book_parameters, book_state, book_rnn)
        updater = lambda batch_size: d2l.sgd(net.params, 1.0, batch_size)  # noqa: E731

    def epoch() -> int:
        d2l.train_epoch_ch8(net, batches(), loss, updater, device, use_random_iter=False)
        return sum(targets.numel() for _, targets in batches())

    return epoch


def book_parameters(size: int, hidden: int, device: torch.device) -> list[Tensor]:
    """The parameters of section 8.5.2 of the book."""
    shapes = [(size, hidden), (hidden, hidden), (hidden,), (hidden, size), (size,)]
    return [
        (torch.randn(shape, device=device) * 0.01 * (len(shape) > 1)).requires_grad_()
        for shape in shapes
    ]


def book_state(batch_size: int, hidden: int, device: torch.device) -> tuple[Tensor]:
    """A zero state."""
    return (torch.zeros((batch_size, hidden), device=device),)


def book_rnn(inputs: Tensor, state: tuple[Tensor], params: list[Tensor]) -> Any:
    """The book's forward pass over one-hot inputs."""
    to_hidden, recurrent, bias, to_output, output_bias = params
    (hidden,) = state
    outputs = []
    for step in inputs:
        hidden = torch.tanh(step @ to_hidden + hidden @ recurrent + bias)
        outputs.append(hidden @ to_output + output_bias)
    return torch.cat(outputs), (hidden,)


def speed(epoch: Any, device: torch.device) -> float:
    """Characters per second of one epoch."""
    started = time.perf_counter()
    characters = epoch()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return float(characters / (time.perf_counter() - started))


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    d2l = import_d2l()
    corpus = load_corpus("traveller", cleaning="letters", max_chars=10_000, split=(1, 0, 0))
    print(
        f"torch {torch.__version__}, {device}, {torch.get_num_threads()} threads, hidden "
        f"{HIDDEN}, batch {BATCH}, {STEPS} steps; medians of {arguments.pairs} pairs\n"
    )
    print("| network | charlm characters/s | d2l characters/s | ratio | least to greatest |")
    print("| --- | --- | --- | --- | --- |")
    networks = [("rnn", "scratch"), ("rnn", "torch"), ("gru", "torch"), ("lstm", "torch")]
    for cell, backend in networks:
        with tempfile.TemporaryDirectory() as folder:
            ours = our_epoch(corpus, cell, backend, Path(folder), device)
            theirs = their_epoch(d2l, corpus, cell, backend, device)
            pairs = [
                (speed(ours, device), speed(theirs, device)) for _ in range(arguments.pairs + 2)
            ][2:]  # the first two are for warming up
        ratios = [mine / yours for mine, yours in pairs]
        print(
            f"| {cell}, {backend} | {statistics.median(m for m, _ in pairs):,.0f} "
            f"| {statistics.median(y for _, y in pairs):,.0f} | {statistics.median(ratios):.2f} "
            f"| {min(ratios):.2f} to {max(ratios):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
