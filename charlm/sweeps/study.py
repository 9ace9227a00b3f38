"""The trials of a sweep in optuna's storage: which one is next, and which one was left behind.

A worker holds a lock for each trial that it trains. The system frees it when the worker ends, even
if it is killed. A trial that is running in the storage and whose lock is free has lost its worker:
the next worker goes on with it, from the last checkpoint in its run folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from charlm.errors import CharlmError, RunError, UsageError
from charlm.sweeps.file import Parameter, Sweep

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import BaseStorage

JOURNAL = "journal.log"
_LOCKS = "locks"
_ANOTHER = "give the sweep another folder under [sweep]"
_CONTENT = "charlm file"  # of the study's attributes


def open_study(sweep: Sweep) -> Study:
    """The study of a sweep; a new one if there is none.

    Raises:
        CharlmError: optuna is missing, or the storage cannot be opened.
        UsageError: the sweep was begun with another file.
    """
    try:
        import optuna
        from optuna import pruners
    except ImportError:
        raise CharlmError("a sweep needs optuna", 'pip install "charlm[sweep]"') from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    task = sweep.task
    try:
        (sweep.folder / _LOCKS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot make the folder {sweep.folder}: {error.strerror}", _ANOTHER
        ) from None
    with _only_worker(sweep):
        study = optuna.create_study(
            storage=_storage(sweep),
            study_name=sweep.name,
            direction="maximize" if task.valid_metric.higher_is_better else "minimize",
            pruner=pruners.MedianPruner() if sweep.about.pruning else pruners.NopPruner(),
            load_if_exists=True,
        )
        begun = study.user_attrs.get(_CONTENT)
        if begun is None:
            study.set_user_attr(_CONTENT, sweep.content)
            return study
    sections = dict.fromkeys([*begun, *sweep.content])
    other = [name for name in sections if begun.get(name) != sweep.content.get(name)]
    if other:
        raise UsageError(
            f"{sweep.folder} was begun with another [{'], ['.join(other)}] than {sweep.path} has",
            "undo the change, or give the new sweep another folder under [sweep]",
        )
    return study


@contextmanager
def _only_worker(sweep: Sweep) -> Iterator[None]:
    """Hold the lock of the sweep for a moment."""
    from filelock import FileLock

    with FileLock(sweep.folder / _LOCKS / "sweep.lock"):
        yield


def _storage(sweep: Sweep) -> BaseStorage:
    from optuna import storages
    from optuna.storages import journal

    if sweep.about.storage is None:
        path = sweep.folder.resolve() / JOURNAL
        lock = journal.JournalFileOpenLock(str(path))
        try:
            _repair(path, lock)
            return storages.JournalStorage(journal.JournalFileBackend(str(path), lock))
        except OSError as error:
            raise RunError(f"cannot open {path}: {error.strerror}", _ANOTHER) from None
        except Exception:  # optuna does not check what it reads
            raise RunError(
                f"{path} is damaged: optuna cannot read it",
                f"restore it from a copy, or {_ANOTHER}",
            ) from None
    try:
        return storages.RDBStorage(sweep.about.storage)
    except Exception as error:  # of SQLAlchemy, of the database's driver
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CharlmError(f"cannot open the [sweep] storage of {sweep.path}: {reason}") from None


def _repair(path: Path, lock: Any) -> None:
    """Cut off a line that a full disk or a power cut has left unfinished."""
    lock.acquire()
    try:
        with suppress(FileNotFoundError), path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


@contextmanager
def next_trial(study: Study, sweep: Sweep) -> Iterator[Trial | None]:
    """A trial for this worker alone: one that has lost its worker, or a new one; None: none left.

    The worker holds the trial's lock inside the block. The settings of the trial are chosen.
    """
    with ExitStack() as held:
        with _only_worker(sweep):
            trial = _left_behind(study, sweep, held) or _new(study, sweep, held)
        yield trial


def _left_behind(study: Study, sweep: Sweep, held: ExitStack) -> Trial | None:
    """A trial whose worker has ended; not one of a worker with another folder."""
    from optuna import Trial
    from optuna.trial import TrialState

    for each in study.get_trials(states=(TrialState.RUNNING,)):
        if sweep.run_folder(each.number).exists() and _take(sweep, each.number, held):
            # It may have ended between the two looks.
            if study.get_trials()[each.number].state is TrialState.RUNNING:
                _seed(study, sweep, each.number)
                return _chosen(Trial(study, each._trial_id), sweep)
            held.close()
    return None


def _new(study: Study, sweep: Sweep, held: ExitStack) -> Trial | None:
    from optuna.trial import TrialState

    number = len(study.get_trials(deepcopy=False))
    if number >= sweep.about.trials:
        return None
    _take(sweep, number, held)
    sweep.run_folder(number).mkdir(exist_ok=True)  # says that the trial belongs to this folder
    _seed(study, sweep, number)
    trial = study.ask()
    if trial.number != number:  # a worker with another folder and the same database was faster
        sweep.run_folder(number).rmdir()
        if trial.number >= sweep.about.trials:
            study.tell(trial, state=TrialState.FAIL)
            return None
        _take(sweep, trial.number, held)
        sweep.run_folder(trial.number).mkdir()
    return _chosen(trial, sweep)


def _take(sweep: Sweep, number: int, held: ExitStack) -> bool:
    """Take the lock of a trial, unless another worker holds it."""
    from filelock import FileLock, Timeout

    lock = FileLock(sweep.folder / _LOCKS / f"trial-{number:04}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    held.callback(lock.release)
    return True


def _seed(study: Study, sweep: Sweep, number: int) -> None:
    """Choose by the sweep's seed and the trial's number, whichever worker it is."""
    from optuna.samplers import TPESampler

    # The first numbers of neighbouring seeds are close to each other in numpy's old generator.
    study.sampler = TPESampler(seed=Random(f"{sweep.about.seed} {number}").getrandbits(32))


def _chosen(trial: Trial, sweep: Sweep) -> Trial:
    """The trial with a value for each searched setting; values that it has stay."""
    for each in sweep.search:
        _choose(trial, each)
    return trial


def _choose(trial: Trial, parameter: Parameter) -> None:
    name, low, high, step = parameter.name, parameter.low, parameter.high, parameter.step
    if parameter.choices:
        trial.suggest_categorical(name, parameter.choices)
    elif parameter.whole:
        trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=parameter.log)
    else:
        trial.suggest_float(name, low, high, step=step, log=parameter.log)
