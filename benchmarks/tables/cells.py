"""Compare the cells and the connections between layers, and print the table of docs/cells.md.

    python -m benchmarks tables cells            the speeds: a minute
    python -m benchmarks tables cells FOLDER     also the trainings: ten minutes

Speed: updates of a language model without dropout, one network after the other in each round, as
the median of the ratios to the LSTM's time. Quality: Tiny Shakespeare, default settings but for
those of the table, a fixed number of epochs, one seed.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.commands import charlm

HIDDEN_SIZE, VOCABULARY = 256, 66
NETWORKS: dict[str, dict[str, Any]] = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "mogrifier": {"cell": "mogrifier"},
    "mlstm": {"cell": "mlstm"},
    "mingru": {"cell": "mingru"},
    "minlstm": {"cell": "minlstm"},
    "mingru, 3 layers, residual": {"cell": "mingru", "num_layers": 3, "residual": True},
}


def update(settings: dict[str, Any]) -> tuple[Callable[[], float], int]:
    """A function that makes a forward and a backward pass, and the number of parameters."""
    import torch

    from charlm.tasks.language_model.config import LanguageModelConfig
    from charlm.tasks.language_model.model import build_language_model

    none = dict.fromkeys(("input_dropout", "dropout", "output_dropout", "weight_dropout"), 0.0)
    section = {"hidden_size": HIDDEN_SIZE, **none, **settings}
    config = LanguageModelConfig.from_settings([{"model": section}])
    model = build_language_model(config.model, VOCABULARY).train()
    shape = (config.training.seq_len + 1, config.training.batch_size)
    ids = torch.randint(VOCABULARY, shape)

    def run() -> float:
        started = time.perf_counter()
        model.zero_grad()
        loss, _ = model.loss(ids[:-1], ids[1:], model.initial_state(shape[1]))
        torch.autograd.backward(loss)
        return time.perf_counter() - started

    return run, model.num_parameters()


def speeds(rounds: int) -> dict[str, tuple[int, float]]:
    """The number of parameters of each network, and its speed as a share of the LSTM's."""
    import torch

    from charlm.device import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    updates = {name: update(settings) for name, settings in NETWORKS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in NETWORKS}
    for number in range(rounds + 2):
        for name, (run, _) in updates.items():
            taken = run()
            if number >= 2:  # the first two compile and warm up
                seconds[name].append(taken)
    found = {}
    for name, (_, parameters) in updates.items():
        pairs = zip(seconds["lstm"], seconds[name], strict=True)
        found[name] = (parameters, statistics.median(lstm / own for lstm, own in pairs))
    return found


def train(folder: Path, name: str, epochs: int) -> float:
    """The validation perplexity of a training of a network."""
    words = [word for key, value in NETWORKS[name].items() for word in ("--set", f"{key}={value}")]
    words += ["--hidden-size", str(HIDDEN_SIZE), "--epochs", str(epochs), "--seed", "0"]
    words += ["--set", "ngram_order=1"]
    run = "checkpoints/" + name.replace(", ", "-").replace(" ", "-")
    summary = charlm(folder, "train", "--corpus", "tinyshakespeare", *words, "--run", run)
    return float(summary["valid_perplexity"])


def main(arguments: list[str]) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks tables cells", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    found = speeds(options.rounds)
    trained = "" if options.folder is None else " perplexity | nats/char |"
    print(f"| network | parameters | speed |{trained}")
    print("| --- | --- | --- |" + (" --- | --- |" if trained else ""))
    for name, (parameters, speed) in found.items():
        row = f"| {name} | {parameters:,} | {speed:.2f} |"
        if options.folder is not None:
            options.folder.mkdir(parents=True, exist_ok=True)
            perplexity = train(options.folder, name, options.epochs)
            row += f" {perplexity:.3f} | {math.log(perplexity):.3f} |"
        print(row, flush=True)
