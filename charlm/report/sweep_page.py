"""The page of ``charlm sweep --html``."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from charlm.pages import page
from charlm.report.sweep_plots import Trials, sweep_picture
from charlm.task import Table


def sweep_page(trials: Trials, name: str, words: Sequence[str], table: Table) -> bytes:
    """A page with a picture of the trials and a table of all of them.

    Args:
        name: of the sweep; any text.
        words: sentences.
    """
    drawn = base64.b64encode(sweep_picture(trials, "", "svg")).decode()
    title = f"Sweep {name}"
    data = {
        "title": title,
        "words": words,
        "picture": f"data:image/svg+xml;base64,{drawn}",
        "table": {"header": table.header, "rows": table.rows, "left": table.left},
    }
    return page("sweep.html", title=title, data=data, scripts=["sweep.js"])
