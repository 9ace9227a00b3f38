"""The tasks: a package for each, with everything in which it differs from the others.

Importing this package fills the registry `charlm.task.TASKS`; it needs no torch.
"""

from charlm.task import TASKS, register
from charlm.tasks.classification import CLASSIFICATION
from charlm.tasks.language_model import LANGUAGE_MODEL
from charlm.tasks.tagging import TAGGING

register(LANGUAGE_MODEL, CLASSIFICATION, TAGGING)

__all__ = ["CLASSIFICATION", "LANGUAGE_MODEL", "TAGGING", "TASKS"]
