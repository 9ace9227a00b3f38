"""Several processes train as one does: the file is also the program of the processes."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

TIMEOUT = 120  # seconds
NETWORK = {"hidden_size": 8, "embedding_size": 4}
SMALL = {"batch_size": 5, "seq_len": 20, "sample_length": 5, "epochs": 6, "lr": 0.02}
TEXT = {"source": "traveller", "max_chars": 1050, "split": (930, 120, 0)}
LINES = {"source": "traveller", "max_chars": 500, "split": (0.8, 0.2, 0), "lines": True}
TABLES = {"ngram_order": 3, "ngram_rows": 60, "ngram_dropout": 0.0}
DROPOUT = ("dropout", "input_dropout", "output_dropout", "weight_dropout")
NETWORK |= dict.fromkeys(DROPOUT, 0.0)
CASES = {
    "consecutive sgd": ({}, {"sampling": "consecutive", "optimiser": "sgd", "lr": 2.0}),
    "consecutive adamw": ({"cell": "gru"}, {"sampling": "consecutive"}),
    "random sgd": (
        {"cell": "rnn", "num_layers": 2},
        {"sampling": "random", "optimiser": "sgd", "lr": 1.0, "clip_norm": 0.05},
    ),
    "random adamw": ({"backend": "scratch"}, {"sampling": "random", "averaging": 0.9}),
    "tables": (TABLES, {}),
    "penalties": ({"activation": 2.0, "temporal_activation": 1.0}, {}),
    "lines": ({}, {"seq_len": 9, "batch_size": 4}),
    "classify": ({"buckets": 50, "word_dropout": 0.0}, {"batch_size": 7, "patience": None}),
    "tag": ({"word_dropout": 0.0}, {"batch_size": 7}),
}


def processes(folder: Path, *words: str, size: int = 2, **environment: str):
    """The processes that run this file with these words, as torch's launcher starts them."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, __file__, *words],
            cwd=folder,
            env={**os.environ, **shared, "RANK": str(rank), "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def ended(started):
    """The exit code, stdout and stderr of each process; none runs for long after another failed."""
    end = time.monotonic() + TIMEOUT
    while any(each.poll() is None for each in started) and time.monotonic() < end:
        if any(each.poll() for each in started):
            end = min(end, time.monotonic() + 40)
        time.sleep(0.05)
    for each in started:
        each.kill()
    return [(process.returncode, *process.communicate()) for process in started]


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_have_the_weights_of_one(tmp_path, write_tagged, size):
    rows = [
        {"split": split, "label": label, "text": f"a {label} {'film ' * (number % 5)}"}
        for split, number_of in (("train", 15), ("valid", 5), ("test", 5))
        for number in range(number_of)
        for label in ("bad", "good")
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sentences = ["to boston|O B-to", "to new york|O B-to I-to", "now|O"] * 13
    write_tagged(tmp_path / "tagged", train=sentences, valid=sentences[:9], test=sentences[:5])
    results = ended(processes(tmp_path, "compare", size=size))
    assert [code for code, _, _ in results] == [0] * size, results[0][2]
    found = json.loads(results[0][1])
    assert found.keys() == CASES.keys()
    for case, about in found.items():
        assert about["steps"] >= 20, case
        assert about["weights"] < 1e-12, (case, about)
        assert about["metrics"] < 1e-9, (case, about)
    assert sum(about["steps"] >= 50 for about in found.values()) >= 4


def _compare():
    import torch

    from charlm.processes import joined, world
    from charlm.runs import Run
    from charlm.tasks import TASKS
    from charlm.training import train

    torch.set_default_dtype(torch.float64)

    def trained(case, folder):
        """The weights and the metrics of a training."""
        name = case if case in ("classify", "tag") else "language-model"
        source = {"language-model": TEXT, "classify": {"source": "texts.jsonl"}}
        source |= {"tag": {"source": "tagged", "buckets": 30, "min_count": 1}}
        corpus = LINES if case == "lines" else source[name]
        task, (model, training) = TASKS[name], CASES[case]
        shared = {"epochs": 6, "lr": 0.02}
        layers = [
            {"corpus": corpus, "model": NETWORK, "training": SMALL if name[0] == "l" else shared},
            {"model": model, "training": training | {"precision": "float32"}},
        ]
        config = task.config_type.from_settings(layers)
        plan = task.plan(layers, None, progress=False)
        run = Run.create(folder, config, plan.corpus) if world().first else None
        run = world().from_first(run)
        for _ in train(run, plan.corpus, device=torch.device("cpu")):
            pass
        if not world().first:
            return None
        found = Run.open(folder)
        return {**found.read_weights("last")}, found.metrics

    alone = {}
    if os.environ["RANK"] == "0":
        alone = {case: trained(case, f"alone {case}") for case in CASES}
    found = {}
    with joined():
        for case in CASES:
            both = trained(case, f"both {case}")
            if both is None:
                continue
            (weights, metrics), (expected, rows) = both, alone[case]
            differences = [
                abs(row[key] - other[key]) / (1 + abs(row[key]))
                for row, other in zip(metrics, rows, strict=True)
                for key in row
                if row[key] is not None and key != "seconds"
            ]
            found[case] = {
                "steps": rows[-1]["step"],
                "weights": max(float((weights[n] - w).abs().max()) for n, w in expected.items()),
                "metrics": max(differences),
            }
        if found:
            print(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1] == "compare":
        _compare()
