"""Run folders and what they hold."""

from charlm.runs.run import CHECKPOINTS, Run, load_run_corpus, newest_run, run_folders

__all__ = ["CHECKPOINTS", "Run", "load_run_corpus", "newest_run", "run_folders"]
