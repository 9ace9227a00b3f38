"""``--from-run``: start a training with the trained weights of a language model."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charlm.config import Section, Settings, setting
from charlm.config.settings import check
from charlm.errors import RunError, UsageError
from charlm.optimisation.optimisers import OPTIMISERS
from charlm.recurrent.cells import CELLS

if TYPE_CHECKING:
    from charlm.runs import Run


@dataclass(frozen=True, kw_only=True)
class FromRunSection(Section, section="model"):
    """The language model that a model starts from; mixed into a section of a network."""

    from_run: str | None = setting(
        None,
        "Start with the trained weights of this language model: the name or the folder of its run.",
        option="--from-run",
        metavar="RUN",
        none_means="random weights",
    )
    freeze: bool = setting(False, option="--frozen")

    @classmethod
    def convert(cls, key: str, value: Any) -> Any:
        """As every section; ``from_run`` becomes the absolute path of the run that it names.

        So a run can be resumed from another working folder.
        """
        from charlm.runs import run_path

        value = super().convert(key, value)
        if key == "from_run" and value is not None:
            return os.path.abspath(run_path(value))
        return value

    def __post_init__(self) -> None:
        super().__post_init__()
        check(
            not self.freeze or self.from_run is not None,
            f"{self.name_of('freeze')} is true, but there are no trained layers to freeze",
            "give --from-run a language model",
        )


def check_optimiser(ngram_order: int, name: str) -> None:
    """Raise a UsageError if an optimiser cannot train embeddings of n-grams that there are."""
    check(
        ngram_order == 1 or OPTIMISERS[name].tables,
        f"the optimiser {name} cannot train the n-grams of model.ngram_order",
        "take training.optimiser=adamw, or leave model.ngram_order out",
    )


def open_source(model: FromRunSection) -> Run:
    """The run of the language model that a model starts from.

    Raises:
        RunError: it is missing, damaged, of another task, or not trained yet.
    """
    from charlm.corpus import Vocabulary
    from charlm.runs import Run

    run = Run.open(str(model.from_run), weights="best")
    if not isinstance(run.vocabulary, Vocabulary):
        raise RunError(
            f"{run.folder} is a run of {run.task.command} train, not of a language model",
            "give --from-run a run of charlm train",
        )
    run.read_weights("best")  # fail before a run folder is made
    return run


def network_settings(run: Run) -> dict[str, Any]:
    """The settings of a language model's recurrent layers, which a model has to share."""
    model = run.config.model
    own = CELLS[model.cell].settings.values()
    keys = ("cell", "backend", "hidden_size", "num_layers", "residual", "skip", *own)
    return {key: getattr(model, key) for key in keys}


def check_given(config: Any, own: Settings, run: Run, settings: Sequence[Settings]) -> None:
    """Check that no setting contradicts the language model's.

    Args:
        config: made of ``settings``, the user's.
        own: the settings that the run brings.

    Raises:
        UsageError: a setting that the user gave differs.
    """
    for section, values in own.items():
        for key, wanted in values.items():
            value = getattr(getattr(config, section), key)
            fits = value == wanted or (key, value) == ("backend", "auto")
            if not fits and any(key in layer.get(section, {}) for layer in settings):
                raise UsageError(
                    f"{section}.{key} is {wanted} in {run.folder}, not {value}",
                    "leave it out: the run brings its own",
                )
