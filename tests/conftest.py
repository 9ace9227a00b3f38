"""What all tests share: determinism, the real corpora, the book's package, and CUDA."""

from __future__ import annotations

import functools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import torch
import typer

from charlm import cli
from charlm.compiled import teller
from charlm.errors import CharlmError
from charlm.recurrent.cells import CELLS
from charlm.runs import Run
from charlm.tasks import TASKS
from charlm.training import Stepped, train

# Taken before any test changes the environment or the working folder.
_CORPORA = os.environ.get("CHARLM_CORPORA")
_CORPORA_FOLDER = Path(_CORPORA).resolve() if _CORPORA else None

_FSYNC = os.fsync

hypothesis.settings.register_profile("charlm", derandomize=True, deadline=None)
hypothesis.settings.load_profile("charlm")


def pytest_configure() -> None:
    torch.set_num_threads(1)  # sums in another order are other numbers
    # Commands in processes of their own too: tests run side by side, and threads that wait for
    # each other on busy cores are many times slower than one.
    os.environ["OMP_NUM_THREADS"] = "1"
    teller.told = True  # on a new machine one test or another would compile
    os.environ.pop("COLUMNS", None)  # pytest-xdist sets it, and tables would be wrapped
    os.fsync = lambda descriptor: None  # half of the time would be waiting for the disk
    _build_the_command_line_once()


def _build_the_command_line_once() -> None:
    """Tests run over a thousand commands, and to build all of them takes longer than most."""
    build, apps = cli.build_app, {}

    def build_app() -> typer.Typer:
        # A test may add a task, or settings to one.
        made_for = tuple((id(task), id(task.config_type)) for task in TASKS.values())
        return apps.get(made_for) or apps.setdefault(made_for, build())

    cli.build_app = build_app
    typer.main.get_command = functools.cache(typer.main.get_command)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # What takes minutes comes first, so that at the end no core waits for another.
    items.sort(key=lambda item: item.path.name != "test_published.py")
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device: torch.cuda.is_available() is False")
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Each test draws the same numbers, whatever ran before it."""
    if torch.cuda.is_available():
        torch.manual_seed(0)
    else:  # without the stack of the caller, which torch keeps for each other kind of device
        torch.default_generator.manual_seed(0)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of the real corpora, for tests that mean nothing without them."""
    if _CORPORA_FOLDER is None:
        pytest.skip("needs the real corpora: $CHARLM_CORPORA is not set")
    if not _CORPORA_FOLDER.is_dir():
        pytest.skip(f"needs the real corpora: $CHARLM_CORPORA, {_CORPORA_FOLDER}, is no folder")
    return _CORPORA_FOLDER


@pytest.fixture(scope="session")
def real_corpus(corpora: Path) -> Callable[[str], Path]:
    """Gives the path of a file among the real corpora, or skips the test."""

    def find(name: str) -> Path:
        path = corpora / name
        if not path.is_file():
            pytest.skip(f"needs {name} in $CHARLM_CORPORA, {corpora}")
        return path

    return find


@pytest.fixture(scope="session")
def d2l() -> ModuleType:
    """``d2l.torch``, the book's package, without the torchvision that no test here needs."""
    with pytest.MonkeyPatch.context() as patch:
        vision, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
        vision.transforms = transforms  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "torchvision", vision)
        patch.setitem(sys.modules, "torchvision.transforms", transforms)
        patch.setenv("MPLBACKEND", "Agg")
        return pytest.importorskip(
            "d2l.torch",
            reason="needs d2l 0.17.0 and what it imports: pip install -e '.[dev]'",
            exc_type=ImportError,
        )


@pytest.fixture(scope="session")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Gives a folder with nothing but an empty ``work``; the last one, if it is still so."""
    last: list[Path] = []

    def find() -> Path:
        if not last or os.listdir(last[0]) != ["work"] or os.listdir(last[0] / "work"):
            last[:] = [tmp_path_factory.mktemp("surroundings")]
            (last[0] / "work").mkdir()
        return last[0]

    return find


@pytest.fixture(autouse=True)
def clean_surroundings(surroundings: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, an empty cache and no ``$CHARLM_CORPORA``; gives the cache."""
    base = surroundings()
    monkeypatch.chdir(base / "work")
    monkeypatch.delenv("CHARLM_CORPORA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # By object: "charlm.corpus.fetch" as a string finds the function of that name.
    from charlm.corpus.fetch import corpora_folders

    monkeypatch.setitem(corpora_folders.__globals__, "_user_cache", lambda: base / "cache")
    monkeypatch.setattr("charlm.corpus.id_cache.cache_folder", lambda: base / "ids")
    return base / "cache"


@pytest.fixture
def syncing(monkeypatch: pytest.MonkeyPatch) -> None:
    """``os.fsync`` syncs, as it does not in other tests of this process."""
    monkeypatch.setattr(os, "fsync", _FSYNC)


@pytest.fixture
def user_cache(clean_surroundings: Path) -> Path:
    return clean_surroundings


@pytest.fixture
def atis(corpora: Path) -> Path:
    """The folder of the real corpora, if it has ATIS."""
    if not (corpora / "atis").is_dir():
        pytest.skip("needs atis in $CHARLM_CORPORA")
    return corpora


@pytest.fixture(scope="session")
def write_tagged():
    """A function that writes tagged sentences as a folder, in either layout.

    A sentence is ``"words|tags"``.
    """

    def write(folder: Path, *, columns: str | None = None, **splits: Iterable[str]) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for split, sentences in splits.items():
            rows = [sentence.split("|") for sentence in sentences]
            if columns is None:
                (folder / split).mkdir()
                for name, lines in zip(("seq.in", "seq.out"), zip(*rows, strict=True), strict=True):
                    (folder / split / name).write_text("".join(f"{line}\n" for line in lines))
            else:
                pairs = [zip(*map(str.split, row), strict=True) for row in rows]
                blocks = ("".join(f"{w}{columns}{t}\n" for w, t in pair) for pair in pairs)
                (folder / f"{split}.txt").write_text("\n".join(blocks))
        return folder

    return write


@pytest.fixture(scope="session")
def served_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two small runs for the playground: of a text with markup, and of one in Chinese."""
    from charlm.cli import run

    folder = tmp_path_factory.mktemp("served")
    texts = {
        "markup": '<b>One day</b> he sat & "thought".\n' * 80,
        "chinese": "时间旅行者说，" * 200,
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        words = ["train", "--corpus", str(folder / f"{name}.txt"), "--run", str(folder / name)]
        sizes = "--hidden-size 16 --batch-size 8 --seq-len 20 --device cpu --epochs 2 --quiet"
        assert run([*words, *sizes.split()]) == 0
    return [folder / name for name in texts]


@pytest.fixture(scope="module")
def playground(served_runs: list[Path]) -> Iterator[Any]:
    """A playground of these runs, which listens in a thread of its own.

    It ends with the tests of a module, because others set the clock, which a server waits by.
    """
    from charlm.serve.models import Served
    from charlm.serve.server import listen

    runs = [Run.open(folder, weights="best") for folder in served_runs]
    ready = listen([Served.load(run, torch.device("cpu"))[0] for run in runs], port=0)
    thread = threading.Thread(target=ready.run)
    thread.start()
    while not ready.server.started:
        time.sleep(0.01)
    yield ready
    ready.server.should_exit = True
    thread.join()


@pytest.fixture
def a_step_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """The playground writes a character in a frame: the longest text takes minutes everywhere."""
    from charlm.serve import playground

    some_steps = playground._some_steps
    monkeypatch.setattr(playground, "_some_steps", lambda text, most, _: some_steps(text, 1, 0.0))


@pytest.fixture
def working_folder(
    tmp_path: Path, clean_surroundings: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty working folder, so that no run and no corpus of the user's is seen."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def one_line() -> Callable[[CharlmError], str]:
    """Gives an error's message, which, as its hint, is a line."""

    def check(error: CharlmError) -> str:
        for line in (error.message, error.hint or "-"):
            assert line
            assert line.isprintable()
        return error.message

    return check


@pytest.fixture
def follow():
    """A function that trains a run and returns the events.

    With ``stop_after`` the training stops at that step, counted from the start of the run.
    """

    def follow(run, corpus, stop_after=None, device="cpu"):
        steps = run.training["progress"]["step"] if run.training else 0
        events = []

        def should_stop():
            done = steps + sum(isinstance(event, Stepped) for event in events)
            return stop_after is not None and done >= stop_after

        for event in train(run, corpus, device=torch.device(device), should_stop=should_stop):
            events.append(event)  # noqa: PERF402 - should_stop reads the list
        return events

    return follow


@pytest.fixture
def checkpoint_content():
    """A function that returns everything in a run's newest checkpoint except the training time."""

    def content(run):
        folder = Run.open(run.folder).checkpoint.folder
        files = {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}
        training = json.loads((folder / "training.json").read_text("utf-8"))
        del training["progress"]["seconds"]
        lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
        rows = [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]
        samples = (folder / "samples.jsonl").read_bytes()
        return {**files, "training": training, "metrics": rows, "samples": samples}

    return content


@pytest.fixture(scope="session")
def open_files() -> Callable[[], int]:
    """Counts the open files of this process; 0 where the system does not list them."""
    listing = Path("/proc/self/fd")
    return lambda: len(os.listdir(listing)) if listing.is_dir() else 0


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes]]:
    """Gives the bytes of all files in a folder, by their paths in it."""

    def read(folder: Path) -> dict[str, bytes]:
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    return read


def exportable_models():
    """The settings of small language models, one for each kind of export."""
    sizes = {"hidden_size": 12, "embedding_size": 6}
    two = {"num_layers": 2, **sizes}
    found = {cell: {"cell": cell, **sizes} for cell in CELLS}
    found["skip"] = {"cell": "lstm", "skip": True, **two}
    found["residual"] = {"cell": "gru", "residual": True, **two}
    found["one-hot"] = {"cell": "gru", "embedding": "one-hot", "num_layers": 2, "hidden_size": 12}
    found["tied"] = {"cell": "lstm", "embedding": "tied", "hidden_size": 12}
    found["n-grams"] = {"cell": "lstm", "ngram_order": 4, "ngram_rows": 50, "skip": True, **two}
    found["zoneout"] = {"cell": "lstm", "zoneout_hidden": 0.1, "zoneout_cell": 0.2, **sizes}
    found["rank"] = {"cell": "mogrifier", "mogrifier_rank": 2, **sizes}
    return found


def build_exportable(name):
    """A small language model of 20 characters, with random weights."""
    from charlm.tasks.language_model.config import LanguageModelSection
    from charlm.tasks.language_model.model import build_language_model

    torch.manual_seed(3)
    settings = exportable_models()[name]
    model = build_language_model(LanguageModelSection(**settings), 21).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gain_hidden"):  # else the states are chaotic, as rounding shows
                parameter.fill_(-0.8)
            if name == "ngrams.table":  # it begins with zeros
                parameter.normal_(0, 0.3)
    return model


@pytest.fixture(params=exportable_models())
def exportable(request):
    """A small language model: one of each cell, and of each other part."""
    return build_exportable(request.param)


@pytest.fixture
def exportables():
    """All of them by name."""
    return {name: build_exportable(name) for name in exportable_models()}
