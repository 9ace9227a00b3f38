"""Several processes train as one does. This file is also the program that trains in processes."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from charlm.processes import ProcessesError, lost_processes

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")

SECONDS = 60  # in which all processes end after one was killed
NETWORK = {"hidden_size": 8, "embedding_size": 4}
DROPOUT = ("dropout", "input_dropout", "output_dropout", "weight_dropout")
NO_DROPOUT = dict.fromkeys(DROPOUT, 0.0)
TEXT = {"source": "traveller", "max_chars": 1050, "split": (930, 120, 0)}
LINES = {"source": "traveller", "max_chars": 500, "split": (0.8, 0.2, 0), "lines": True}
TAGGED = {"source": "tagged", "buckets": 30, "min_count": 1}
LANGUAGE = {"batch_size": 5, "seq_len": 20, "sample_length": 5}
TABLES = {"ngram_order": 3, "ngram_rows": 60, "ngram_dropout": 0.0}
CASES = {
    "consecutive sgd": ({}, {"sampling": "consecutive", "optimiser": "sgd", "lr": 2.0}),
    "consecutive adamw": ({"cell": "gru"}, {"sampling": "consecutive"}),
    "random sgd": (
        {"cell": "rnn", "num_layers": 2},
        {"sampling": "random", "optimiser": "sgd", "lr": 1.0, "clip_norm": 0.05},
    ),
    "random adamw": ({"backend": "scratch"}, {"sampling": "random", "averaging": 0.9}),
    "tables": (TABLES, {}),
    "lines": ({}, {"seq_len": 9, "batch_size": 4, "epochs": 2}),
    "classify": ({"buckets": 50, "word_dropout": 0.0}, {"batch_size": 7, "epochs": 3}),
    "tag": ({"word_dropout": 0.0}, {"batch_size": 7, "epochs": 3}),
}
QUICK = ["consecutive sgd", "random adamw", "tables", "tag"]  # of the cases
STOPPED = 13  # the step after which one process is stopped
SAVE_STEPS = 15
TRAIN = (
    "train --max-chars 3000 --hidden-size 8 --batch-size 4 --seq-len 20 --epochs 8 --device cpu "
    f"--set sample_length=5 --set sample_every=8 --set save_steps={SAVE_STEPS} --set num_layers=2 "
    "--set dropout=0.2"
)


@pytest.fixture
def program(tmp_path, write_tagged):
    """Runs this file as a program; what it prints is JSON."""
    rows = [
        {"split": split, "label": label, "text": f"a {label} {'film ' * (number % 5)}"}
        for split, size in (("train", 15), ("valid", 5), ("test", 5))
        for number in range(size)
        for label in ("bad", "good")
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    sentences = ["to boston|O B-to", "to new york|O B-to I-to", "now|O"] * 13
    write_tagged(tmp_path / "tagged", train=sentences, valid=sentences[:9], test=sentences[:5])

    def run(*words: str):
        done = subprocess.run(
            [sys.executable, __file__, *words],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "FATAL"},
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.mark.parametrize(
    ("size", "cases"), [("2", QUICK), pytest.param("3", [*CASES], marks=pytest.mark.slow)]
)
def test_several_processes_train_as_one(program, size, cases):
    found = program("compare", size, *cases)
    assert found["resumed"] == [STOPPED + 1, True, True, size]  # agreed on in the next step
    assert found["moved"] < 1e-12  # resumed by one process
    assert [*found["cases"]] == cases
    for case, about in found["cases"].items():
        assert about["steps"] >= 15, case
        assert about["weights"] < 1e-12, case
        assert about["metrics"] < 1e-6, case  # scores are in float32
    assert sum(about["steps"] >= 50 for about in found["cases"].values()) >= len(cases) / 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1"])
def test_killed_processes_end_and_resume(program, seed):
    """Either process is killed at random moments, 30 in all."""
    found = program("kill", seed)
    assert all(found["same"])
    for code, seconds, errors in found["ends"]:
        assert seconds < SECONDS
        if code != 128 + signal.SIGTERM:  # as long as the processes come up
            assert code == 1
            assert errors == ["another process of this training has ended, or cannot be reached"]
    assert sum(code == 1 for code, _, _ in found["ends"]) >= 10
    assert len(found["ends"]) >= 15


GLOO = "[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:24981"


@pytest.mark.parametrize(
    ("message", "ended"),
    [(GLOO, True), ("[gloo/unbound_buffer.cc:81] Timed out waiting 20000ms for recv", False)],
)
def test_errors_of_torch_on_lost_processes(message, ended):
    with pytest.raises(ProcessesError, match="another process") as caught, lost_processes():
        raise RuntimeError(message)
    assert caught.value.ended == ended
    assert "--resume" in caught.value.hint


def test_other_errors_stay_as_they_are():
    with pytest.raises(RuntimeError, match="the same dtype"), lost_processes():
        raise RuntimeError("expected m1 and m2 to have the same dtype")


# The program


def trained(case: str, folder: str, should_stop=lambda: False, **settings):
    """The weights and the metrics of a training of a case; in all processes but one, None."""
    import torch

    from charlm.processes import world
    from charlm.runs import Run
    from charlm.tasks import TASKS
    from charlm.training import Stepped, train

    folder = f"./{folder}"
    name = case if case in ("classify", "tag") else "language-model"
    corpora = {"language-model": TEXT, "classify": {"source": "texts.jsonl"}, "tag": TAGGED}
    model, training = CASES[case]
    layers = [
        {
            "corpus": LINES if case == "lines" else corpora[name],
            "model": {**NETWORK, **NO_DROPOUT},
            "training": {"epochs": 6, "lr": 0.02, "precision": "float32"},
        },
        {"training": LANGUAGE} if name == "language-model" else {},
        {"model": model, "training": training},
        settings,
    ]
    config = TASKS[name].config_type.from_settings(layers)
    corpus = TASKS[name].plan(layers, None, progress=False).corpus
    run = None
    if world().first:
        exists = os.path.exists(folder)
        run = Run.open(folder) if exists else Run.create(folder, config, corpus)
    run = world().from_first(run)
    for event in train(run, corpus, device=torch.device("cpu"), should_stop=should_stop):
        if isinstance(event, Stepped):
            trained.steps += 1
    if not world().first:
        return None
    found = Run.open(folder)
    return {**found.read_weights("last")}, found.metrics, found.training["progress"]["step"]


def compare(*cases: str) -> None:
    """In one of several processes: each case alone, then shared."""
    import torch

    from charlm.processes import joined, world

    torch.set_default_dtype(torch.float64)
    first = os.environ["RANK"] == "0"
    alone = {case: trained(case, f"alone {case}") for case in cases} if first else {}
    found = {}
    with joined():
        for case in cases:
            both = trained(case, f"both {case}")
            if both is None:
                continue
            (weights, metrics, step), (expected, rows, _) = both, alone[case]
            differences = [
                abs(row[key] - other[key]) / (1 + abs(row[key]))
                for row, other in zip(metrics, rows, strict=True)
                for key in row
                if row[key] is not None and key != "seconds"
            ]
            found[case] = {
                "steps": step,
                "weights": max(float((weights[n] - w).abs().max()) for n, w in expected.items()),
                "metrics": max(differences),
            }
        last = world().rank == world().size - 1  # only this process gets a signal
        stopped = lambda: last and trained.steps >= STOPPED  # noqa: E731
        trained.steps = 0
        trained("consecutive sgd", "moved", stopped)
        torch.set_default_dtype(torch.float32)
        dropout = {"model": dict.fromkeys(DROPOUT, 0.2) | {"num_layers": 2}}
        undisturbed = trained("consecutive adamw", "undisturbed", **dropout)
        trained.steps = 0
        parts = trained("consecutive adamw", "parts", stopped, **dropout)
        resumed = trained("consecutive adamw", "parts", **dropout)
    if first:
        same = all(torch.equal(w, resumed[0][n]) for n, w in undisturbed[0].items())
        metrics = [[{**row, "seconds": 0} for row in rows] for _, rows, _ in (undisturbed, resumed)]
        resumes = [parts[2], same, metrics[0] == metrics[1], os.environ["WORLD_SIZE"]]
        torch.set_default_dtype(torch.float64)
        moved, expected = trained("consecutive sgd", "moved")[0], alone["consecutive sgd"][0]
        difference = max(float((moved[name] - w).abs().max()) for name, w in expected.items())
        print(json.dumps({"cases": found, "resumed": resumes, "moved": difference}))


def command(*words: str) -> None:
    """A command of charlm, as one of several processes."""
    from charlm.cli import run

    os._exit(run(list(words)))


def start(size: int, compute, *words: str, errors: Path | None = None) -> list[int]:
    """The ids of new processes, with the store and the environment that torch's launcher gives."""
    from torch.distributed import TCPStore

    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    start.stores = [store]  # until the next start
    pids = []
    for rank in range(size):
        pid = os.fork()
        if not pid:
            os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=str(store.port))
            os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "True"
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(size))
            if errors is not None:
                os.dup2(os.open(errors, os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
                os.dup2(2, 1)
            compute(*words)
            sys.stdout.flush()
            os._exit(0)
        pids.append(pid)
    return pids


def codes(pids: list[int], terminated: bool = False) -> list[int]:
    """The exit codes of processes, all of which end.

    With ``terminated``, those that are left after 5 seconds get SIGTERM, as from torch's launcher.
    """
    found, begun = {}, time.monotonic()
    while len(found) < len(pids):
        for pid in {*pids} - {*found}:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                found[pid] = os.waitstatus_to_exitcode(status)
            elif terminated and time.monotonic() - begun > 5:
                os.kill(pid, signal.SIGTERM)
        time.sleep(0.01)
    return [found[pid] for pid in pids]


def last_weights(run: str) -> bytes:
    """The file of the last weights of a run."""
    return (max(Path(run).glob("checkpoint-*")) / "last.safetensors").read_bytes()


def last_step(run: str) -> int:
    """The number of steps in the last checkpoint of a run."""
    from charlm import Run

    return Run.open(f"./{run}").training["progress"]["step"]


def kill(seed: int) -> None:
    """Kill one of two processes at random moments, and resume them; again if they finish.

    At least 15 times, and until 10 of the kills have hit a training.
    """
    draw, ends, same = random.Random(seed), [], []
    new, begun = [*TRAIN.split(), "--run", "./undisturbed"], time.monotonic()
    assert codes(start(2, command, *new, errors=Path("log"))) == [0, 0]
    whole = time.monotonic() - begun
    new[-1] = "./killed"
    resume = ["train", "--resume", "--run", "./killed"]
    for number in range(200):
        enough = len(ends) >= 15 and sum(code == 1 for code, _, _ in ends) >= 10
        errors, victim = Path(f"errors{number}"), draw.randrange(2)
        words = resume if os.path.exists("killed/run.json") else new
        pids = start(2, command, *words, errors=errors)
        if not enough:
            time.sleep(draw.uniform(0.1, 0.6) * whole)
            os.kill(pids[victim], signal.SIGKILL)
        killed, found = time.monotonic(), codes(pids, terminated=not enough)
        if 0 in found:  # the kill came after their last exchange, or after their end
            if found != [0, 0]:  # rank 0 may not have saved the last steps
                left = last_step("undisturbed") - last_step("killed")
                assert left <= (0 if victim else SAVE_STEPS)
                assert codes(start(2, command, *resume, errors=errors)) == [0, 0]
            same.append(last_weights("undisturbed") == last_weights("killed"))
            shutil.rmtree("killed")
            if enough:
                break
            continue
        lines = [line for line in errors.read_text().splitlines() if line.startswith("error")]
        seconds = time.monotonic() - killed
        ends.append([found[1 - victim], seconds, [line[7:] for line in lines]])
    print(json.dumps({"ends": ends, "same": same}))


if __name__ == "__main__":
    trained.steps = 0
    import torch._dynamo  # noqa: F401 - DistributedDataParallel imports it; all processes share it here

    import charlm.training  # noqa: F401

    if sys.argv[1] == "compare":
        assert codes(start(int(sys.argv[2]), compare, *sys.argv[3:])) == [0] * int(sys.argv[2])
    else:
        kill(int(sys.argv[2]))
