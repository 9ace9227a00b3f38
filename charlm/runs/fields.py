"""The keys and types of a run's JSON: what else is there, or is not, tells of damage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from charlm.errors import shown

Kinds = Mapping[str, tuple[type, ...]]
"""The types that the value of each key can have."""

TEXT = (str,)
NUMBER_OF = (int,)
_NUMBER = (int, float)
_MAYBE = (int, float, type(None))

SAMPLES: Kinds = {"epoch": _NUMBER, "prefix": TEXT, "text": TEXT}
"""Of a line of samples.jsonl."""

_RUN = ("format", "task", "created", "config", "corpus", "versions")
_CORPUS: Kinds = {"name": TEXT, "source": TEXT, "sha256": TEXT, "split": (list,)}
_VERSIONS: Kinds = dict.fromkeys(("charlm", "torch", "numpy", "python"), TEXT)


def metrics_kinds(figures: Iterable[str], unit: str) -> Kinds:
    """Of a line of metrics.jsonl.

    Args:
        figures: the names of what is measured.
        unit: what is counted.
    """
    kinds: Kinds = {"epoch": _NUMBER, "step": NUMBER_OF, **dict.fromkeys(figures, _MAYBE)}
    return {**kinds, "learning_rate": _NUMBER, "seconds": _NUMBER, unit: NUMBER_OF}


def summary_kinds(figures: Iterable[str]) -> Kinds:
    """What is read of summary.json."""
    return dict.fromkeys(("parameters", "epochs", "seconds", *figures), _MAYBE)


def check_fields(content: Any, kinds: Kinds, what: str) -> None:
    """Make sure that an object has those keys and no other, and values of those types.

    Args:
        kinds: numbers are 0 or more.
        what: the object, for the message.

    Raises:
        ValueError: what is wrong.
    """
    check_keys(content, kinds, what)
    for name, types in kinds.items():
        value = content[name]
        # Not isinstance: true is no number.
        if type(value) not in types or (isinstance(value, int | float) and value < 0):
            raise ValueError(f"{what} has a {name} that cannot be: {shown(value)}")


def check_keys(content: Any, keys: Iterable[str], what: str) -> None:
    """Make sure that an object has those keys and no other.

    Raises:
        ValueError: what is wrong.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{what} is not an object")
    for name in sorted(content.keys() ^ set(keys)):
        raise ValueError(f"{what} {'knows' if name in content else 'has'} no {shown(name)}")


def check_run(about: Any, sections: Iterable[str], corpus: Kinds) -> None:
    """Make sure that run.json has what `TaskRun.create` writes; the settings are another matter.

    Args:
        sections: of the configuration.
        corpus: what the task notes of its data, beside what all do.

    Raises:
        ValueError: what is wrong.
    """
    check_keys(about, _RUN, "it")
    check_fields({"format": about["format"]}, {"format": NUMBER_OF}, "it")
    check_keys(about["config"], sections, "config")
    check_fields(about["corpus"], {**_CORPUS, **corpus}, "corpus")
    check_fields(about["versions"], _VERSIONS, "versions")
    sizes = {str(number): size for number, size in enumerate(about["corpus"]["split"])}
    check_fields(sizes, dict.fromkeys("012", NUMBER_OF), "split")
    for name, text in {"created": about["created"], **about["versions"]}.items():
        if not isinstance(text, str) or not text.isprintable() or len(text) > 100:
            raise ValueError(f"{name} cannot be {shown(text)}")


def check_settings(written: Any, settings: Mapping[str, Any], what: str, *, complete: bool) -> None:
    """Make sure that settings stand in a file as they are written there.

    `TaskConfig.from_settings` takes more: a number as text, and a default for a missing setting.

    Args:
        settings: what was read from ``written``.
        complete: whether all have to be there; another version of charlm may have known fewer.

    Raises:
        ValueError: what is wrong.
    """
    if isinstance(written, dict) and not complete:
        settings = {name: value for name, value in settings.items() if name in written}
    check_keys(written, settings, what)
    for name, value in settings.items():
        if isinstance(value, dict):
            check_settings(written[name], value, name, complete=complete)
        elif written[name] != (list(value) if isinstance(value, tuple) else value):
            raise ValueError(f"{what} has a {name} that cannot be: {shown(written[name])}")
