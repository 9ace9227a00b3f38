"""Measure the parts of a training step of the scratch cells on a CPU.

    python -m benchmarks tables step [--threads N] [--rounds N]

The trainings are those of the rows ``training/scratch-...`` and ``training/jaychou-random``. The
script prints a Markdown table with the median milliseconds of a step and of its three parts, and
two of the things that are in them: the matrix products, measured alone in turn with the step, and
the compiled functions of the kernels. With one thread it counts the thread's processor time, which
other programs hardly change.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks import floors, training
from benchmarks.harness import Options
from charlm.runs import Run
from charlm.training.loop import open_trainer

CELLS = (("rnn", 256), ("rnn", 512), ("gru", 256), ("gru-reset-before", 256), ("lstm", 256))
STEPS = 8  # of a round


@contextmanager
def timed(
    places: list[tuple[Any, str, str]], seconds: dict[str, float], clock: Any
) -> Iterator[None]:
    """Count the seconds in functions inside the block: owner, name, and what they belong to."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in places]

    def wrapped(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = clock()
            result = function(*arguments, **options)
            seconds[part] += clock() - started
            return result

        return call

    for (owner, name, function), (*_, part) in zip(originals, places, strict=True):
        setattr(owner, name, wrapped(function, part))
    try:
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)


def measure(name: str, config: Any, corpus: Any, floor: Any, rounds: int) -> str:
    """A row of the table."""
    from charlm.recurrent import pointwise_numba  # needs numba

    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    found = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(Path(folder) / "run", config, corpus)
        trainer = open_trainer(run, corpus, torch.device("cpu"))[0]
        trainer.update()  # compiles
        compiled = [
            (pointwise_numba, each, "pointwise")
            for each, value in vars(pointwise_numba).items()
            if hasattr(value, "py_func")
        ]
        places = [(trainer.objective, "loss", "loss"), (torch.Tensor, "backward", "backward")]
        for number in range(rounds + 2):
            seconds: dict[str, float] = defaultdict(float)
            with timed([*places, *compiled], seconds, clock):
                started = clock()
                for _ in range(STEPS):
                    trainer.update()
                seconds["step"] = clock() - started
            started = clock()
            floor()
            seconds["products"] = clock() - started
            if number >= 2:
                for part, value in seconds.items():
                    found[part].append(1000 * value / STEPS)
    step, loss, backward, products, pointwise = (
        statistics.median(found[part])
        for part in ("step", "loss", "backward", "products", "pointwise")
    )
    share = statistics.median(a / b for a, b in zip(found["products"], found["step"], strict=True))
    values = (step, loss, backward, step - loss - backward, products, pointwise)
    return f"| {name} | " + " | ".join(f"{each:.2f}" for each in values) + f" | {share:.0%} |"


def main(arguments: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables step", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); milliseconds a step\n")
    print(
        "| network | step | forward and loss | backward | clipping, update, rest "
        "| products alone | pointwise | products / step |"
    )
    print("|" + " --- |" * 8)
    with tempfile.TemporaryDirectory() as folder:
        setting = Options(folder=Path(folder), device=torch.device("cpu"), threads=1)
        book = training.book_corpus(setting)
        networks = [
            (f"{cell} {hidden}", training.book_config(cell, "scratch", hidden), book, cell)
            for cell, hidden in CELLS
        ]
        networks.append(("jaychou-random", *training.jaychou("random", setting), "rnn"))
        for name, config, corpus, cell in networks:
            floor = floors.training_products(
                cell,
                vocabulary=len(corpus.vocabulary),
                hidden=config.model.hidden_size,
                batch_size=config.training.batch_size,
                steps=config.training.seq_len,
                batches=STEPS,
                device=setting.device,
            )
            print(measure(name, config, corpus, floor, options.rounds), flush=True)
