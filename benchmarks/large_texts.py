"""Rows: texts of 100 MB and other sizes: reading, memory, the clock, scoring."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import texts
from benchmarks.commands import CHARLM, IMPORT_TORCH, peak, run, seconds
from benchmarks.harness import FLOOR, Contender, Options, Row, speed
from benchmarks.peers import nanogpt_encode
from benchmarks.training import UNIT, trained
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus

LARGE, SIZES, LARGEST = 100, (1, 0.1, 10, 100), 1_000  # MB
QUICK, QUICK_SIZES = 0.3, (0.1, 0.3)
READ = "import sys; from charlm.tasks.language_model.corpus import load_corpus; "
READ += "load_corpus(sys.argv[1])"
TRAINED = 20  # batches of a round


def large(options: Options) -> float:
    """The size of a large text, in MB."""
    return QUICK if options.quick else LARGE


def sizes(options: Options) -> tuple[float, ...]:
    """The sizes of texts, in MB; the others are compared with the first one."""
    if options.quick:
        return QUICK_SIZES
    return (*SIZES, LARGEST) if options.full else SIZES


@contextmanager
def cache_in(folder: Path) -> Iterator[dict[str, str]]:
    """Another folder for the caches than the user's; yields the variables that say so."""
    name = "XDG_CACHE_HOME"
    before, variables = os.environ.get(name), {name: str(folder / "cache")}
    os.environ |= variables
    try:
        yield variables
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def first_reading(path: Path, folder: Path) -> Contender:
    """MB per second of a text that was never read before."""

    def contender() -> float:
        texts.renew(path)
        with cache_in(folder):
            started = time.perf_counter()
            load_corpus(path)
            return path.stat().st_size / 1e6 / (time.perf_counter() - started)

    return contender


def encoding_row(
    language: str, make: Callable[[Path, float], Path], faster: int, at_least: int
) -> Row:
    """From a text file to token ids, beside nanoGPT's way."""

    def prepare(options: Options, folder: Path) -> dict[str, Contender]:
        path = make(options.folder, large(options))
        megabytes = path.stat().st_size / 1e6

        def theirs() -> float:
            nanogpt_encode(path)
            return megabytes

        def copy() -> float:
            np.frombuffer(path.read_bytes(), dtype=np.uint8).copy()
            return megabytes

        return {
            "charlm": first_reading(path, folder),
            "nanoGPT's way": speed(theirs, options.device),
            FLOOR: speed(copy, options.device),
        }

    return Row(
        name=f"text/{language}",
        about=f"a file of 100 MB, {language}, to token ids; a dictionary and a list comprehension",
        unit="MB/s",
        prepare=prepare,
        wanted=f"{faster} times nanoGPT's way, {at_least} MB/s",
        rounds=3,
    )


def prepare_again(options: Options, folder: Path) -> dict[str, Contender]:
    """Reading a text that was read before."""
    path = texts.english(options.folder, max(sizes(options)))

    def reading(new: bool) -> Contender:
        def contender() -> float:
            if new:
                texts.renew(path)
            with cache_in(folder):
                started = time.perf_counter()
                load_corpus(path)
                return time.perf_counter() - started

        return contender

    with cache_in(folder):
        load_corpus(path)
    return {"charlm, again": reading(new=False), "charlm, first": reading(new=True)}


def prepare_cost_of_reading(options: Options, folder: Path) -> dict[str, Contender]:
    """Reading texts of several sizes."""
    return {
        f"{size:g} MB": first_reading(texts.english(options.folder, size), folder)
        for size in sizes(options)
    }


def prepare_cost_of_training(options: Options, folder: Path) -> dict[str, Contender]:
    """The same training on texts of several sizes."""
    contenders = {}
    for size in sizes(options):
        corpus = load_corpus(texts.english(options.folder, size))
        config = LanguageModelConfig()
        run_folder = folder / f"{size:g}"
        batches = options.size(TRAINED, 2)
        train = trained(config, corpus, run_folder, options, batches)
        contenders[f"{size:g} MB"] = speed(train, options.device)
    return contenders


def train_command(path: Path, minutes: float, options: Options) -> list[str]:
    """A training on a text, with the defaults."""
    command = [*CHARLM, "train", "--corpus", str(path), "--minutes", str(minutes), "--quiet"]
    return [*command, "--device", str(options.device)]


def minutes(options: Options) -> float:
    """The budget of a training whose memory is measured."""
    return 0.02 if options.quick else 0.2


def measured(
    measure: Callable[..., float], command: list[str], folder: Path, path: Path | None = None
) -> Contender:
    """`peak` or `seconds` of a command; the text at ``path`` is read as if for the first time."""

    def contender() -> float:
        if path is not None:
            texts.renew(path)
        with cache_in(folder) as variables:
            return measure(command, folder, **variables)

    return contender


def prepare_memory_of_reading(options: Options, folder: Path) -> dict[str, Contender]:
    """The memory of reading a large text."""
    path = texts.english(options.folder, large(options))
    return {
        "charlm": measured(peak, [sys.executable, "-c", READ, str(path)], folder, path),
        "import torch": measured(peak, [*IMPORT_TORCH], folder),
    }


def prepare_memory_of_training(options: Options, folder: Path) -> dict[str, Contender]:
    """The memory of training on a large text."""
    path = texts.english(options.folder, large(options))
    return {
        "charlm": measured(peak, train_command(path, minutes(options), options), folder, path),
        "import torch": measured(peak, [*IMPORT_TORCH], folder),
    }


def prepare_memory_of_sizes(options: Options, folder: Path) -> dict[str, Contender]:
    """The memory of training on texts of several sizes."""
    contenders = {}
    for size in sizes(options):
        path = texts.english(options.folder, size)
        command = train_command(path, minutes(options), options)
        contenders[f"{size:g} MB"] = measured(peak, command, folder, path)
    return contenders


def prepare_minutes(options: Options, folder: Path) -> dict[str, Contender]:
    """The wall time of a training with a budget."""
    path = texts.english(options.folder, large(options))
    budget = 0.02 if options.quick else 0.5
    train = measured(seconds, train_command(path, budget, options), folder, path)
    return {f"charlm train --minutes {budget}": train, "the budget": lambda: budget * 60}


def prepare_eval(options: Options, folder: Path) -> dict[str, Contender]:
    """The wall time of scoring."""
    path = texts.english(options.folder, large(options))
    with cache_in(folder) as variables:
        run(train_command(path, minutes(options), options), folder, **variables)
    command = [*CHARLM, "eval", "--quiet", "--device", str(options.device)]
    return {"charlm eval": measured(seconds, command, folder)}


MEMORY = "1.2 times import torch + 100 MB"
ROWS = (
    encoding_row("English", texts.english, 12, 150),
    encoding_row("Chinese", texts.chinese, 5, 60),
    Row(
        name="text/again",
        about="the largest text of the call, read again; read for the first time",
        unit="seconds",
        prepare=prepare_again,
        wanted="2 s for 1 GB",
        rounds=3,
    ),
    Row(
        name="sizes/reading",
        about="reading, over the size of the text",
        unit="MB/s",
        prepare=prepare_cost_of_reading,
        rounds=3,
    ),
    Row(
        name="memory/reading",
        about="peak memory of reading a text of 100 MB; of python -c 'import torch'",
        unit="MB",
        prepare=prepare_memory_of_reading,
        wanted=MEMORY,
        rounds=3,
    ),
    Row(
        name="memory/training",
        about="peak memory of training on a text of 100 MB; of python -c 'import torch'",
        unit="MB",
        prepare=prepare_memory_of_training,
        wanted=MEMORY,
        rounds=3,
    ),
    Row(
        name="sizes/memory",
        about="peak memory of training, over the size of the text",
        unit="MB",
        prepare=prepare_memory_of_sizes,
        wanted="the same up to 1 GB",
        rounds=1,
    ),
    Row(
        name="clock/minutes",
        about="wall time of charlm train --minutes 0.5 on a text of 100 MB",
        unit="seconds",
        prepare=prepare_minutes,
        wanted="the budget + 5% + 2 s",
        rounds=3,
    ),
    Row(
        name="clock/eval",
        about="wall time of charlm eval on a text of 100 MB",
        unit="seconds",
        prepare=prepare_eval,
        wanted="30 s",
        rounds=3,
    ),
    Row(
        name="sizes/training",
        about="the default training, over the size of the text",
        unit=UNIT,
        prepare=prepare_cost_of_training,
        wanted="within 10% of 1 MB",
    ),
)
