"""Run folders and what they hold."""

from charlm.runs.folders import CHECKPOINTS, newest_run, run_folders
from charlm.runs.run import Run
from charlm.runs.texts import load_run_corpus

__all__ = ["CHECKPOINTS", "Run", "load_run_corpus", "newest_run", "run_folders"]
