"""``charlm generate --show-copies``: what a text has copied from the training text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from charlm.cli.output import Output

if TYPE_CHECKING:
    from charlm.tasks.language_model.corpus import Corpus


def show_copies(corpus: Corpus, texts: Sequence[str], output: Output) -> dict[str, Any]:
    """Print what texts of a model have copied; return the content of `copies_report`."""
    from charlm.tasks.language_model.copies import copies_report

    report = copies_report(corpus, texts)
    output.text("\ncopies of the training text, word for word, without the prefix")
    for block in report.blocks:
        if isinstance(block, str):
            output.text("")
        output.blocks([block])
    return report.content
