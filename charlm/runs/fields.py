"""The keys and types that a run's JSON must have: anything else means damage.

Each check raises a ValueError whose message names the wrong key or value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from charlm.errors import shown

Kinds = Mapping[str, tuple[type, ...]]
"""The types that the value of each key may have."""

TEXT = (str,)
WHOLE = (int,)
_NUMBER = (int, float)
_MAYBE = (int, float, type(None))
_MOST = 1e15
"""Epochs, seconds or learning rates above this are damage; a perplexity has no limit."""

SAMPLES: Kinds = {"epoch": _NUMBER, "prefix": TEXT, "text": TEXT}
"""The types in a line of samples.jsonl."""

GRADIENTS: Kinds = dict.fromkeys(
    ("gradient_norm", "largest_gradient_norm", "clipped_share"), _MAYBE
)
"""The types of what a line of metrics.jsonl says about the steps since the line before: mean and
largest gradient norm before clipping, and the share of steps that were clipped. Older lines lack
them."""

MEANS = ("raw", "averaged")
"""With averaging, a line of metrics.jsonl has the validation metric of the weights themselves and
of their mean, under keys such as ``raw_valid_perplexity``; else None. Older lines lack them."""

ORIGINS = "origins"
"""The key in run.json of where the value of each setting came from. Older runs lack it, and so do
runs that were made by `Run.create` without it."""

_RUN = ("format", "task", "created", "config", "corpus", "versions")
_CORPUS: Kinds = {"name": TEXT, "source": TEXT, "sha256": TEXT, "split": (list,)}
_VERSIONS: Kinds = dict.fromkeys(("charlm", "torch", "numpy", "python"), TEXT)


def metrics_kinds(metrics: tuple[str, str], unit: str) -> Kinds:
    """The types in a line of metrics.jsonl; ``unit`` is the key of the number of items."""
    keys = (*metrics, *(f"{kind}_{metrics[1]}" for kind in MEANS))
    kinds: Kinds = {"epoch": _NUMBER, "step": WHOLE, **dict.fromkeys(keys, _MAYBE)}
    return {**kinds, "learning_rate": _NUMBER, **GRADIENTS, "seconds": _NUMBER, unit: WHOLE}


def check_summary(content: Any, metrics: Iterable[str]) -> None:
    """Check the values in summary.json that charlm reads; the file may have more keys."""
    kinds = dict.fromkeys(("parameters", "epochs", "seconds", *metrics), _MAYBE)
    if isinstance(content, dict):
        content = {name: content.get(name) for name in kinds}
    check_fields(content, kinds, "the summary")


def check_fields(content: Any, kinds: Kinds, what: str) -> None:
    """Check that an object has exactly these keys, with values of these types, none negative."""
    check_keys(content, kinds, what)
    for name, types in kinds.items():
        value, most = content[name], _MOST if types is _NUMBER else math.inf
        # Not isinstance: True is an int in Python.
        if type(value) not in types or (isinstance(value, int | float) and not 0 <= value <= most):
            raise ValueError(f"{what} has an impossible {name}: {shown(value)}")


def check_keys(content: Any, keys: Iterable[str], what: str) -> None:
    """Check that an object has exactly these keys."""
    if not isinstance(content, dict):
        raise ValueError(f"{what} is not an object")
    for name in sorted(content.keys() ^ set(keys)):
        problem = "has an unknown key" if name in content else "lacks the key"
        raise ValueError(f"{what} {problem} {shown(name)}")


def check_run(about: Any, sections: Iterable[str], corpus: Kinds) -> None:
    """Check that run.json has the form that `Run.create` writes, except for the settings.

    ``corpus`` has the types of the task's own facts about its data.
    """
    known = (*_RUN, ORIGINS) if isinstance(about, dict) and ORIGINS in about else _RUN
    check_keys(about, known, "it")
    check_fields({"format": about["format"]}, {"format": WHOLE}, "it")
    check_keys(about["config"], sections, "config")
    if ORIGINS in about:
        _check_origins(about[ORIGINS], about["config"])
    check_fields(about["corpus"], {**_CORPUS, **corpus}, "corpus")
    check_fields(about["versions"], _VERSIONS, "versions")
    sizes = {str(number): size for number, size in enumerate(about["corpus"]["split"])}
    check_fields(sizes, dict.fromkeys("012", WHOLE), "split")
    for name, text in {"created": about["created"], **about["versions"]}.items():
        _check_label(text, name)


def _check_origins(origins: Any, config: Mapping[str, Any]) -> None:
    """Check that there is a short text for each setting."""
    check_keys(origins, config, ORIGINS)
    for section, texts in origins.items():
        settings = config[section] if isinstance(config[section], dict) else {}
        check_keys(texts, settings, f"{ORIGINS}.{section}")
        for key, text in texts.items():
            _check_label(text, f"origin of {key}")


def _check_label(text: Any, name: str) -> None:
    """Check that a value is a short text of printable characters."""
    if not isinstance(text, str) or not text.isprintable() or len(text) > 100:
        raise ValueError(f"it has an impossible {name}: {shown(text)}")


def check_settings(written: Any, settings: Mapping[str, Any], what: str, *, complete: bool) -> None:
    """Check that the settings in a file have exactly the form in which they are written.

    `TaskConfig.from_settings`, which made ``settings`` of them, accepts more: a number as text, and
    a default for a missing setting. ``complete``: all must be there; an older version had fewer.
    """
    if isinstance(written, dict) and not complete:
        settings = {name: value for name, value in settings.items() if name in written}
    check_keys(written, settings, what)
    for name, value in settings.items():
        if isinstance(value, dict):
            check_settings(written[name], value, name, complete=complete)
        elif written[name] != (list(value) if isinstance(value, tuple) else value):
            raise ValueError(f"{what} has an impossible {name}: {shown(written[name])}")
