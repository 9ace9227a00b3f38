"""Run folders and what they hold."""

from charlm.runs.classifier import ClassifierRun
from charlm.runs.folders import CHECKPOINTS, newest_run, run_folders
from charlm.runs.language import Run
from charlm.runs.run import TaskRun
from charlm.runs.tagger import TaggerRun
from charlm.runs.texts import load_run_corpus

__all__ = [
    "CHECKPOINTS",
    "ClassifierRun",
    "Run",
    "TaggerRun",
    "TaskRun",
    "load_run_corpus",
    "newest_run",
    "run_folders",
]
