"""Trials in their storage: none twice, and none left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from charlm.errors import CharlmError, RunError, UsageError
from charlm.sweeps import study as studies
from charlm.sweeps.study import JOURNAL, next_trial, open_study

optuna = pytest.importorskip("optuna", reason="needs optuna: pip install -e '.[sweep]'")


def states(sweep):
    return [trial.state.name for trial in open_study(sweep).get_trials()]


def settings(sweep):
    return [trial.params for trial in open_study(sweep).get_trials()]


def run_out(sweep):
    """Take and end trials until there are none left."""
    study = open_study(sweep)
    while True:
        with next_trial(study, sweep) as trial:
            if trial is None:
                return
            study.tell(trial, trial.params["training.lr"])


def test_trials_are_as_many_as_wanted(tiny):
    run_out(tiny(3))
    assert states(tiny(3)) == 3 * ["COMPLETE"]
    run_out(tiny(5))  # more are wanted now
    assert states(tiny(5)) == 5 * ["COMPLETE"]
    assert len({repr(each) for each in settings(tiny(5))}) == 5
    for each in settings(tiny(5)):
        assert 0.001 <= each["training.lr"] <= 0.1
        assert each["model.output_dropout"] in (0.0, 0.2, 0.4)


def test_choices_follow_from_the_seed(tiny):
    run_out(tiny(12))
    run_out(tiny(12, name="again"))
    assert settings(tiny(12)) == settings(tiny(12, name="again"))
    run_out(tiny(12, "seed = 1", name="other"))
    assert settings(tiny(12)) != settings(tiny(12, "seed = 1", name="other"))


def test_workers_never_share_a_trial(tiny):
    sweep, taken = tiny(12), []

    def worker():
        study = open_study(sweep)
        while True:
            with next_trial(study, sweep) as trial:
                if trial is None:
                    return
                taken.append(trial.number)
                study.tell(trial, 1.0)

    threads = [threading.Thread(target=worker) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [*range(12)]
    assert states(sweep) == 12 * ["COMPLETE"]


def test_a_trial_that_lost_its_worker_is_taken_up(tiny):
    sweep = tiny(2)
    study = open_study(sweep)
    with next_trial(study, sweep) as left:
        chosen = left.params
        with next_trial(open_study(sweep), sweep) as other:
            assert (left.number, other.number) == (0, 1)  # the first worker still has its trial
            with next_trial(open_study(sweep), sweep) as third:
                assert third is None
    # Both workers have ended without a result.
    assert states(sweep) == 2 * ["RUNNING"]
    study = open_study(sweep)
    with next_trial(study, sweep) as again:
        assert (again.number, again.params) == (0, chosen)
        study.tell(again, 1.0)
    run_out(sweep)
    assert states(sweep) == 2 * ["COMPLETE"]


def test_a_trial_without_all_settings_gets_the_others(tiny, monkeypatch):
    sweep = tiny(1)
    choose = studies._choose

    def choose_one(trial, parameter):
        choose(trial, parameter)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(studies, "_choose", choose_one)
        with pytest.raises(KeyboardInterrupt), next_trial(open_study(sweep), sweep):
            pass
    (before,) = settings(sweep)
    assert [*before] == ["training.lr"]
    with next_trial(open_study(sweep), sweep) as trial:
        assert trial.number == 0
        assert trial.params["training.lr"] == before["training.lr"]
        assert "model.output_dropout" in trial.params


def test_an_unfinished_line_of_the_journal_is_cut_off(tiny):
    sweep = tiny(2)
    run_out(sweep)
    journal = sweep.folder / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole.splitlines(keepends=True)[-1][:-9])
    run_out(tiny(3))
    assert journal.read_bytes().startswith(whole)
    assert states(tiny(3)) == 3 * ["COMPLETE"]


@pytest.mark.parametrize(
    ("junk", "words"),
    [(b"\x00\xff\n", "is damaged"), (b'{"op_code": 99}\n', "is damaged"), (None, "cannot open ")],
)
def test_a_journal_that_cannot_be_read(tiny, junk, words):
    journal = tiny(1).folder / JOURNAL
    if junk is None:
        journal.mkdir(parents=True)
    else:
        journal.parent.mkdir(parents=True)
        journal.write_bytes(junk)
    with pytest.raises(RunError, match=words) as raised:
        open_study(tiny(1))
    assert "give the sweep another folder under [sweep]" in raised.value.hint
    assert str(journal) in raised.value.message


def test_another_file_for_the_same_folder(tiny):
    sweep = tiny(1, 'folder = "here"')
    run_out(sweep)
    with pytest.raises(UsageError, match=r"here was begun with another \[sweep\] than tiny\.toml"):
        open_study(tiny(1, 'folder = "here"\nseed = 1'))
    assert states(tiny(1, 'folder = "here"\npruning = false')) == ["COMPLETE"]


def test_a_database(tiny, working_folder):
    def here(name, trials):
        storage = f'storage = "sqlite:///{working_folder.as_posix()}/trials.db"'
        return tiny(trials, f'folder = "{name}/mine"\n{storage}')

    sweep = here("one", 2)
    run_out(sweep)
    assert states(sweep) == 2 * ["COMPLETE"]
    assert not (sweep.folder / JOURNAL).exists()
    # A worker with another folder leaves alone what is running elsewhere.
    with next_trial(open_study(here("one", 4)), here("one", 4)) as first:
        assert first.number == 2
    other = here("two", 4)
    with next_trial(open_study(other), other) as second:
        assert second.number == 3
    with next_trial(open_study(other), other) as again:
        assert again.number == 3
    assert not other.run_folder(2).exists()


def test_a_worker_with_another_folder_is_faster(tiny, working_folder, monkeypatch):
    storage = f'storage = "sqlite:///{working_folder.as_posix()}/trials.db"'
    sweep = tiny(3, storage)
    study, ask = open_study(sweep), optuna.Study.ask

    def ask_late(self):
        ask(self)
        return ask(self)

    monkeypatch.setattr(optuna.Study, "ask", ask_late)
    with next_trial(study, sweep) as trial:
        assert trial.number == 1
        assert sorted(path.name for path in sweep.folder.glob("trial*")) == ["trial-0001"]
        study.tell(trial, 1.0)
    with next_trial(study, sweep) as trial:
        assert trial is None  # the last one had begun elsewhere
    assert study.get_trials()[3].state is optuna.trial.TrialState.FAIL


def test_a_storage_that_cannot_be_opened(tiny):
    with pytest.raises(CharlmError, match=r"cannot open the .sweep. storage of tiny\.toml"):
        open_study(tiny(1, 'storage = "no address"'))


def test_a_folder_that_cannot_be_made(tiny):
    Path("file").touch()
    with pytest.raises(CharlmError, match="cannot make the folder"):
        open_study(tiny(1, 'folder = "file/sweep"'))


def test_optuna_is_missing(tiny, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(CharlmError) as raised:
        open_study(tiny(1))
    assert raised.value.hint == 'pip install "charlm[sweep]"'
