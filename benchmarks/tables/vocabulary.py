"""Measure what a large vocabulary costs in a training step: time and memory.

    python -m benchmarks tables vocabulary [--pairs N] [--threads N] [V ...]

The texts are drawn at random from V characters, with the frequencies of Zipf's law. The loss of all
logits at once and the loss in chunks alternate, N pairs for each V. The script prints a Markdown
table with the median characters per second, the ratio of each pair with its range, and the memory
that four steps take in a process of their own (Linux only), beside the formula of docs/speed.md.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charlm.optimisation.optimisers import OPTIMISERS
from charlm.runs import Run
from charlm.task import settings_from_preset
from charlm.tasks.language_model import model as model_module
from charlm.tasks.language_model.config import LanguageModelConfig
from charlm.tasks.language_model.corpus import load_corpus
from charlm.tasks.language_model.output_loss import LEAST_VOCABULARY, ROWS
from charlm.training.loop import open_trainer

VOCABULARIES = (100, 1000, 2600, 10_000)
NETWORKS = ("jaychou-random", "defaults")
CHUNKS, ALL = 0, sys.maxsize  # the vocabulary from which on the loss is computed in chunks
CHARACTERS = 50_000
STEPS = 4  # of a round


def trainer_of(network: str, vocabulary: int, folder: Path) -> Any:
    """A new training on a text with about this many different characters."""
    numbers = np.arange(vocabulary)
    weights = 1 / (numbers + 1)
    drawn = np.random.default_rng(0).choice(numbers, CHARACTERS, p=weights / weights.sum())
    text = "".join(chr(0x4E00 + number) for number in (*numbers, *drawn))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    corpus = load_corpus(str(folder / "text.txt"), split=(1, 0, 0))
    layers = [{}] if network == "defaults" else [settings_from_preset("language-model", network)]
    layers = [{k: v for k, v in layer.items() if k != "corpus"} for layer in layers]
    config = LanguageModelConfig.from_settings([*layers, {"training": {"prefixes": ["一"]}}])
    return open_trainer(Run.create(folder / "run", config, corpus), corpus, torch.device("cpu"))[0]


def speed(trainer: Any, least: int) -> float:
    """Characters per second of a few steps."""
    model_module.LEAST_VOCABULARY = least  # type: ignore[attr-defined]
    started, before = time.perf_counter(), trainer.progress.items
    for _ in range(STEPS):
        trainer.update()
    return float((trainer.progress.items - before) / (time.perf_counter() - started))


def peak() -> float:
    """The largest memory of this process so far, in MiB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def formula(trainer: Any) -> float:
    """The memory in MiB, by docs/speed.md, without the layers' share."""
    parameters, (size, hidden) = trainer.model.num_parameters(), trainer.model.head.weight.shape
    moments = len(OPTIMISERS[trainer.config.optimiser].moments)
    chunk = ROWS * size * (10 if trainer.bfloat16 else 8)
    head = size * hidden * (8 if trainer.bfloat16 else 4)
    return float(4 * parameters * (1 + moments) + chunk + head) / 2**20


def main(arguments: list[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables vocabulary", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("vocabularies", metavar="V", type=int, nargs="*", default=VOCABULARIES)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--network", choices=NETWORKS, help=argparse.SUPPRESS)  # for memory
    parser.add_argument("--least", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.network:
        with tempfile.TemporaryDirectory() as folder:
            trainer = trainer_of(options.network, options.vocabularies[0], Path(folder))
            before = peak()
            speed(trainer, options.least)
            print(peak() - before)
        return
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; medians of "
        f"{options.pairs} pairs. Below V = {LEAST_VOCABULARY}, charlm takes all logits at once.\n"
    )
    print("| network | V | all logits | in chunks | ratio | memory | in chunks | by the formula |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for network in NETWORKS:
        for vocabulary in options.vocabularies:
            with tempfile.TemporaryDirectory() as folder:
                trainer = trainer_of(network, vocabulary, Path(folder))
                pairs = [
                    (speed(trainer, ALL), speed(trainer, CHUNKS)) for _ in range(options.pairs + 1)
                ][1:]  # the first one is for warming up
            ratios = [chunks / whole for whole, chunks in pairs]
            memory = []
            for least in (ALL, CHUNKS):
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks",
                    "tables",
                    "vocabulary",
                    str(vocabulary),
                    "--network",
                    network,
                ]
                command += ["--least", str(least), "--threads", str(torch.get_num_threads())]
                memory.append(float(subprocess.check_output(command, text=True)))
            print(
                f"| {network} | {vocabulary:,} | {statistics.median(a for a, _ in pairs):,.0f} "
                f"| {statistics.median(c for _, c in pairs):,.0f} "
                f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {memory[0]:.0f} MiB | {memory[1]:.0f} MiB | {formula(trainer):.0f} MiB |",
                flush=True,
            )
