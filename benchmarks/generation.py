"""Rows: the generation of text, in characters per second."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import floors, peers
from benchmarks.harness import FLOOR, Contender, Options, Row, speed
from benchmarks.training import UNIT, book_config, book_corpus
from charlm.runs import Run
from charlm.tasks.language_model.decoding import GREEDY, Decoding, generate

CELL, HIDDEN = "lstm", 256
PREFIX = "time traveller"
LENGTH, MANY_LENGTH = 2_000, 500  # characters of a text, alone and with many
MANY = 64


def row(name: str, about: str, wanted: str, decoding: Decoding, samples: int) -> Row:
    """Texts of an LSTM, decoded in one way, beside the book's predict_ch8, which is greedy."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        corpus, device = book_corpus(options), options.device
        run = Run.create(folder / "run", book_config(CELL, "torch", HIDDEN), corpus)
        model = run.first_model().to(device).eval().requires_grad_(False)
        ids = corpus.vocabulary.encode(PREFIX)
        usual = LENGTH if samples == 1 else MANY_LENGTH
        length = options.size(usual, 50)

        def ours() -> int:
            steps = generate(
                model, ids, length=length, decoding=decoding, num_samples=samples, seed=0
            )
            drawn = torch.stack(list(steps)).T.contiguous().numpy()
            for text in drawn:
                corpus.vocabulary.decode(text)
            return drawn.size

        net = peers.book_layer_network(CELL, len(corpus.vocabulary), HIDDEN, device)
        vocabulary = peers.import_d2l().Vocab(list(corpus.text("train")))

        def theirs(gradients: Any) -> Callable[[], int]:
            def predict() -> int:
                with gradients():
                    text = peers.import_d2l().predict_ch8(PREFIX, length, net, vocabulary, device)
                return len(text) - len(PREFIX)

            return predict

        products = floors.generation_products(
            CELL,
            vocabulary=len(corpus.vocabulary),
            hidden=HIDDEN,
            samples=samples,
            length=length,
            device=device,
        )
        return {
            "charlm": speed(ours, device),
            "d2l": speed(theirs(contextlib.nullcontext), device),
            "d2l without gradients": speed(theirs(torch.no_grad), device),
            FLOOR: speed(products, device),
        }

    return Row(
        name=f"generation/{name}", about=about, unit=UNIT, prepare=prepare, wanted=wanted, rounds=7
    )


ROWS = (
    row(
        "greedy",
        f"one greedy text of {LENGTH:,} characters, LSTM {HIDDEN}; d2l's predict_ch8",
        "10 times d2l",
        GREEDY,
        1,
    ),
    row(
        "sampled",
        f"one text of {LENGTH:,} characters at temperature 0.7; d2l's predict_ch8, greedy",
        "8 times d2l",
        Decoding(temperature=0.7),
        1,
    ),
    row(
        "many",
        f"{MANY} texts of {MANY_LENGTH} characters at temperature 0.7; one of d2l, greedy",
        "40 times d2l",
        Decoding(temperature=0.7),
        MANY,
    ),
)
