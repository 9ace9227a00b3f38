"""Train and open runs, each in a line of Python."""

from __future__ import annotations

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, overload

from charlm.config import Settings, settings_from_toml
from charlm.config.settings import check_known
from charlm.home import with_home
from charlm.report.live import TrainingDisplay
from charlm.runs import Run, newest_run
from charlm.task import Plan, Task, settings_from_preset
from charlm.tasks import TASKS

if TYPE_CHECKING:
    from charlm.tasks.classification.run import ClassifierRun
    from charlm.tasks.language_model.run import LanguageModelRun
    from charlm.tasks.tagging.run import TaggerRun


@overload
def train(
    corpus: str | Path | None = None,
    *,
    task: Literal["language-model"] = "language-model",
    run: str | Path | None = None,
    resume: bool = False,
    preset: str | None = None,
    settings: Settings | str | Path | None = None,
    corpora_dir: str | Path | None = None,
    progress: bool = True,
    log: str | Iterable[str] = (),
    **keywords: Any,
) -> LanguageModelRun: ...


@overload
def train(
    corpus: str | Path | None = None, *, task: Literal["classify"], **options: Any
) -> ClassifierRun: ...


@overload
def train(
    corpus: str | Path | None = None, *, task: Literal["tag"], **options: Any
) -> TaggerRun: ...


def train(
    corpus: str | Path | None = None,
    *,
    task: str = "language-model",
    run: str | Path | None = None,
    resume: bool = False,
    preset: str | None = None,
    settings: Settings | str | Path | None = None,
    corpora_dir: str | Path | None = None,
    progress: bool = True,
    log: str | Iterable[str] = (),
    **keywords: Any,
) -> Any:
    """Train a model as ``charlm train`` does, with the same defaults, and return the run.

    Later sources of settings win: the defaults, ``preset``, ``settings``, the keywords.

    The same seed and settings give the same model, unless other threads use torch's random numbers
    at the same time, as another training does: start that in its own process.

    Args:
        corpus: a text file, a folder of text files, or the name of a corpus
            (``charlm corpus list``); None: the default, a bundled short story. For other tasks:
            labelled texts, or tagged sentences.
        task: ``language-model``, ``classify`` or ``tag``.
        run: a name or a folder for the run; None: a new name.
        resume: continue ``run``, or the newest run, exactly where it was saved.
        preset: the name of a preset.
        settings: a dictionary of sections, as in a TOML file, or the path of such a file.
        corpora_dir: a folder to look for corpora in first.
        progress: show a progress bar and, in a notebook, a curve that grows while the model learns.
        log: "tensorboard", to write the reports for TensorBoard too; or a list of such names.
        keywords: any setting of docs/settings.md: ``minutes=2``, ``hidden_size=512``,
            ``cell="gru"``, ``device="cpu"``.

    Raises:
        UsageError: a setting is unknown or out of its range, or the run's folder is in use.
        CorpusError: the data is missing, unusable or too small.
        TrainingError: a loss, gradient or state is not finite.
        KeyboardInterrupt: Ctrl-C, or "interrupt" in a notebook. The run was saved first:
            ``charlm.open()`` opens it, and ``charlm.train(resume=True)`` continues it. A second
            Ctrl-C does not wait for that.

    >>> run = charlm.train("book.txt", epochs=2, hidden_size=32, cell="gru", progress=False)
    >>> run.metrics[-1]["epoch"]
    2
    """
    from charlm.training import Finished, Measured, Noticed, Started, Stepped
    from charlm.training import train as events_of
    from charlm.training.loggers import find_loggers
    from charlm.training.preparing import prepare
    from charlm.training.summary import score_test_split, write_summary

    begun = time.monotonic()
    check_known(task, TASKS, "task")
    kinds = find_loggers([log] if isinstance(log, str) else log)
    chosen = TASKS[task]
    given = _given(chosen, corpus, preset, settings, keywords)
    warn = partial(warnings.warn, stacklevel=3)  # at the caller of this function
    opened = Run.open_to_resume(chosen, run, given.values(), warn) if resume else None

    def tell(plan: Plan) -> None:
        for warning in (*plan.warnings, *plan.config.idle_notices(given.values())):
            warnings.warn(warning, stacklevel=4)  # at the caller of `train`, through `prepare`

    prepared = prepare(chosen, given, opened, corpora_dir, progress=progress, tell=tell)
    trained, data, device = prepared.make_run(run), prepared.plan.corpus, prepared.device
    stepped = False
    with interruptible() as stop, TrainingDisplay(trained, shown=progress) as display:
        for notice in data.notices:
            display.note(notice)
        following = events_of(
            trained,
            data,
            device=device,
            should_stop=stop,
            begun=begun,
            loggers=[kind(trained) for kind in kinds],
        )
        with closing(following) as events:
            for event in events:
                match event:
                    case Started():
                        started, display.words.best = event, event.best
                        for notice in event.notices:
                            warnings.warn(notice, stacklevel=2)
                    case Stepped():
                        stepped = True
                        display.stepped(event)
                    case Measured():
                        display.measured(event)
                    case Noticed(warning=True):
                        warnings.warn(event.text, stacklevel=2)
                    case Noticed():
                        display.note(event.text)
                    case Finished():
                        finished = event
        scores = score_test_split(trained, data, device, finished, stop)
        _, about = write_summary(trained, data, started, finished, scores)
        for block in about.blocks:
            display.note(str(block))
        for warning in about.warnings:
            warnings.warn(warning, stacklevel=2)
    if stop() and (finished.interrupted or None in scores.values()):
        raise KeyboardInterrupt(f"the run is saved: charlm.open({str(trained.folder)!r})")
    if not stepped:
        message = "this training is already complete: give more epochs or minutes to train longer"
        warnings.warn(message, stacklevel=2)
    return trained


@overload
def open(
    run: str | Path | None = None, *, task: Literal["language-model"] = "language-model"
) -> LanguageModelRun: ...


@overload
def open(run: str | Path | None = None, *, task: Literal["classify"]) -> ClassifierRun: ...


@overload
def open(run: str | Path | None = None, *, task: Literal["tag"]) -> TaggerRun: ...


def open(run: str | Path | None = None, *, task: str = "language-model") -> Any:
    """A trained run.

    Args:
        run: the name of a run under ``checkpoints``, or a run folder; None: the newest run.
        task: ``language-model``, ``classify`` or ``tag``.

    Raises:
        RunError: there is no such run, it is damaged, or it belongs to another task.

    >>> charlm.open("novel")
    <LanguageModelRun 'checkpoints/novel': cell gru, ...>
    >>> charlm.open().folder.name
    'novel'
    """
    check_known(task, TASKS, "task")
    chosen = TASKS[task]
    found = Run.open(newest_run(chosen) if run is None else run, task=chosen, weights="best")
    for notice in found.notices:
        warnings.warn(notice, stacklevel=2)
    return found


def _given(
    task: Task,
    corpus: str | Path | None,
    preset: str | None,
    settings: Settings | str | Path | None,
    keywords: Mapping[str, Any],
) -> dict[str, Settings]:
    """What the caller gave, by source, in the order in which it is merged."""
    given: dict[str, Settings] = {}
    if preset is not None:
        given["preset"] = settings_from_preset(task.name, preset)
    if isinstance(settings, str | Path):
        given["file"] = settings_from_toml(Path(with_home(settings)))
    elif settings is not None:
        given["settings"] = settings
    pairs = [*({} if corpus is None else {"corpus.source": corpus}).items(), *keywords.items()]
    return given | {"argument": task.config_type.settings_from_pairs(pairs)}


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """A function that tells whether Ctrl-C was pressed inside the block; the second one raises.

    Only the main thread may set handlers; in other threads the function always returns False.
    """
    pressed = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    # A process that was started to ignore Ctrl-C still ignores it. None: not set from Python.
    if not in_main or before in (signal.SIG_IGN, None):
        yield pressed.is_set
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, before)
