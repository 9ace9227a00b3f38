"""Run folders: make, find, read and check them."""

from charlm.runs.folders import CHECKPOINTS, newest_run, run_folders, run_path
from charlm.runs.run import Run

__all__ = ["CHECKPOINTS", "Run", "newest_run", "run_folders", "run_path"]
