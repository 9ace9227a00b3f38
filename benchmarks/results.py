"""Results as tables, and their files: one JSON and one Markdown file for each device.

A result keeps where and when it was measured, so rows can be measured one by one: a row replaces
the one of its name, and the others stay.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Options
from charlm.strict_json import dumps

FEATURES = ("avx2", "avx512_f", "avx512_bf16", "amx_bf16")
PACKAGES = ("torch", "numpy", "numba", "d2l", "charlm")
HEADER = [
    *("row", "unit", "charlm", "middle half", "beside", "its", "ratio", "middle half"),
    *("share of the floor", "wanted"),
]


def processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the working copy, with a plus if files were changed; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "../charlm")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that matter; None for one that is missing."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found | {"commit": commit()}


def surroundings(options: Options) -> dict[str, Any]:
    """Where and with what a row is measured."""
    capabilities: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    card = torch.cuda.get_device_name(options.device) if options.device.type == "cuda" else None
    return {
        "date": time.strftime("%Y-%m-%d"),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "features": [name for name in FEATURES if capabilities.get(name)],
        "device": str(options.device),
        "card": card,
        "threads": options.threads,
        "versions": versions(),
    }


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| " + " | ".join(header) + " |"
    yield "|" + " --- |" * len(header)
    for cells in rows:
        yield "| " + " | ".join(cells) + " |"


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace what stands between two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after, lines = rest.partition(end)[2], text.strip("\n")  # the first line may be indented
    page.write_text(f"{before}{begin}\n\n{lines}\n\n{end}{after}", encoding="utf-8")


def number(value: float) -> str:
    """A number with three digits or all those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cells(result: dict[str, Any]) -> Iterator[list[str]]:
    """The lines of a row in the table: one for each peer, and one if there is none."""
    ours = result["measured"][result["subject"]]
    share = result["share_of_floor"]
    first = [
        result["name"] + ("" if result["subject"] == "charlm" else f" ({result['subject']})"),
        result["unit"],
        number(ours["median"]),
        f"{number(ours['low'])} to {number(ours['high'])}",
    ]
    last = [f"{share['median']:.0%}" if share else "", result["wanted"]]
    if not result["ratios"]:
        yield [*first, "", "", "", "", *last]
    for name, ratio in result["ratios"].items():
        theirs = number(result["measured"][name]["median"])
        middle = f"{ratio['low']:.2f} to {ratio['high']:.2f}"
        yield [*first, name, theirs, f"**{ratio['median']:.2f}**", middle, *last]
        first, last = [""] * len(first), [""] * len(last)


def read(path: Path) -> list[dict[str, Any]]:
    """The results in a file, which may be missing."""
    if not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return found


def write(folder: Path, stem: str, results: Sequence[dict[str, Any]], order: list[str]) -> Path:
    """Add results to the two files in a folder; returns the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    found = {result["name"]: result for result in [*read(path), *results]}
    rows = [found[name] for name in order if name in found]
    path.write_text(dumps({"rows": rows}) + "\n", encoding="utf-8")
    page = folder / f"{stem}.md"
    page.write_text("\n".join(page_lines(rows)) + "\n", encoding="utf-8")
    return page


def page_lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The page: a table for each machine, day and set of versions."""
    yield "# Speed and memory"
    yield ""
    yield (
        "Written by `python -m benchmarks`. The programs of a row run in turn, in one process, "
        "several rounds. A figure is the median over the rounds, beside it the quartiles, between "
        "which the middle half of the rounds lies. A ratio is charlm's figure divided by the "
        "other's, taken in each round. The floor is the work that cannot be left out: the matrix "
        "products alone, forward and backward, or the copy of a text. Its share is charlm's speed "
        "divided by the floor's."
    )
    where = lambda result: dumps(result["where"])  # noqa: E731
    for text, some in groupby(sorted(rows, key=where), key=where):
        yield ""
        yield describe(json.loads(text))
        yield ""
        measured = list(some)
        yield from table(HEADER, (line for result in measured for line in cells(result)))
        yield ""
        yield from (f"- {result['name']}: {result['about']}" for result in measured)


def describe(where: dict[str, Any]) -> str:
    """Where and with what rows were measured, in a sentence."""
    packages = [f"{name} {number}" for name, number in where["versions"].items() if number]
    return (
        f"{where['date']}: {where['card'] or where['processor']}, {where['system']}, "
        f"{where['cores']} cores ({', '.join(where['features']) or 'no vector features'}), "
        f"{where['threads']} thread(s), device {where['device']}; {', '.join(packages)}."
    )
