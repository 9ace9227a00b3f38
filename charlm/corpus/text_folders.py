"""Folders of texts: which of their files are read, and in which order."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from charlm.corpus.text_files import reading
from charlm.errors import CorpusError, counted, shown

_GENERATED = ("node_modules", "__pycache__")  # folders of generated files

Parts: TypeAlias = tuple[str, ...]
"""A path relative to a folder or archive: the names of its folders, then of the file."""


def walk(folder: Path, deepest: int = sys.maxsize) -> Iterator[Parts]:
    """The files below a folder with at most ``deepest`` parts, in any order.

    Hidden, generated, linked and run folders are left out. A folder that cannot be read is an
    OSError.
    """

    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        if "run.json" in names and "vocabulary.json" in names:
            folders.clear()  # a run folder, made by charlm
            continue
        above = Path(parent).relative_to(folder).parts
        deeper = len(above) + 1 < deepest
        folders[:] = [
            name
            for name in folders
            if deeper and not name.startswith(".") and name not in _GENERATED
        ]
        yield from ((*above, name) for name in names)


def chosen_files(
    folder: Path,
    include: Sequence[str],
    exclude: Sequence[str],
    notices: list[str],
    warnings: list[str],
) -> list[str]:
    """The files of a folder that the globs choose: their paths relative to it, sorted."""
    with reading(folder):
        found = sorted("/".join(parts) for parts in walk(folder) if not parts[-1].startswith("."))
    matching = {
        option: {glob: {file for file in found if matches(file, glob)} for glob in globs}
        for option, globs in (("--include", include), ("--exclude", exclude))
    }
    unused = [
        f"{option} {shown(glob)}"
        for option, globs in matching.items()
        for glob, files in globs.items()
        if not files
    ]
    included = set().union(*matching["--include"].values()) if include else {*found}
    chosen = included.difference(*matching["--exclude"].values())
    if found and not chosen:
        suffixes = Counter(PurePosixPath(file).suffix or "no suffix" for file in found)
        kinds = ", ".join(f"{count} with {suffix}" for suffix, count in suffixes.most_common(5))
        no = f"no file in folder {folder} is left after "
        no += " and ".join(option for option, globs in matching.items() if globs)
        raise CorpusError(no, f"the folder has {counted(len(found), 'file')}: {kinds}")
    if unused:
        warnings.append(f"no file in folder {folder} matches {' or '.join(unused)}")
    if left_out := len(found) - len(chosen):
        notices.append(f"left out {counted(left_out, 'file')} by --include or --exclude")
    return sorted(chosen)


def matches(file: str, glob: str) -> bool:
    """Whether a file, by its path in a folder with ``/``, matches a glob as in ``read_text``."""
    pattern = glob.replace(os.sep, "/").removeprefix("./").removesuffix("/").replace("**/", "")
    path = PurePosixPath(file)
    above = [path, *path.parents][:-1]
    names = {name.casefold() for each in above for name in (str(each), each.name)}
    return any(fnmatchcase(name, pattern.casefold()) for name in names)


def counted_files(kind: str, names: Sequence[str]) -> str:
    """A count of files with the names of a few: ``4 PNG images (a.png, b.png, c.png, ...)``."""
    is_noun = not kind.startswith(("not ", "with "))
    count = counted(len(names), kind) if is_noun else f"{len(names):,} {kind}"
    return f"{count} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
