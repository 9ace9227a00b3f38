"""Addresses that are given where the path of a file should be: what to do with each."""

from __future__ import annotations

import os
import re
import shlex
from urllib.parse import unquote

from charlm.corpus.catalogue import catalogue
from charlm.errors import CorpusError, shown

# At least two letters, because C:/book.txt is a path.
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):/+", re.IGNORECASE)
_BARE = re.compile(
    r"www\.|[a-z0-9][a-z0-9.-]*\.(com|org|net|edu|gov|io|co)(/|$)|git@", re.IGNORECASE
)


def check_is_no_address(source: str) -> None:
    """Raise a CorpusError that says what to do if ``source`` is an address, not a path."""
    scheme = _SCHEME.match(source)
    if not (scheme or _BARE.match(source)) or os.path.exists(source):
        return
    kind = scheme[1].lower() if scheme else "https"
    rest = source[scheme.end() :] if scheme else source
    if kind == "file":
        path = unquote(rest.removeprefix("localhost/"))
        path = path if re.match("[A-Za-z]:", path) else f"/{path}"
        raise CorpusError(f"{shown(source)} is an address, not a path", f"name the file: {path}")
    says = f"{shown(source)} is a web address; charlm reads files"
    rest = _file_address(rest.partition("#")[0])
    for name, entry in catalogue().items():
        if any(rest == _file_address(each.address.split("://")[1]) for each in entry.downloads):
            raise CorpusError(says, f"the corpus {name} is this file: give the name {name}")
    raise CorpusError(says, _how_to_download(kind, rest))


def _file_address(rest: str) -> str:
    """The address of a file, without its scheme, from that of the page that shows the file."""
    rest = re.sub(
        r"^(?:www\.)?github\.com/([^/]+/[^/]+)/(?:blob|raw)/",
        r"raw.githubusercontent.com/\1/",
        rest,
    )
    rest = re.sub(r"^(raw\.githubusercontent\.com/[^/]+/[^/]+)/refs/heads/", r"\1/", rest)
    book = r"^(?:www\.)?gutenberg\.org/ebooks/(\d+)(?:\.txt.*|/)?$"
    return re.sub(book, r"www.gutenberg.org/cache/epub/\1/pg\1.txt", rest)


def _how_to_download(kind: str, rest: str) -> str:
    """The hint: how to download the text, and what to name afterwards."""
    repository = re.match(r"(?:www\.|git@)?(github\.com|gitlab\.com)[/:]([^/]+)/([^/?]+)", rest)
    if repository:
        site, owner, name = repository.groups()
        name = name.removesuffix(".git")
        clone = shlex.quote(f"https://{site}/{owner}/{name}")
        return f"download it first: git clone {clone}; then name a file of it, or the folder {name}"
    if kind not in ("http", "https", "ftp"):
        return "download it first; then name the file"
    path = rest.partition("?")[0].rstrip("/")
    name = re.sub(r"[^\w.-]+", "-", unquote(path.rpartition("/")[2])).lstrip("-.") or "text"
    if "/" not in path or "." not in name:
        name = "text.txt"
    address = shlex.quote(f"{kind}://{rest}")
    return f"download it first: curl -L -o {name} {address}; then name the file {name}"
