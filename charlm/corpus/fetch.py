"""Find catalogued corpora on this machine, and download them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from charlm.atomic_files import write_atomic
from charlm.corpus.catalogue import CatalogueEntry, CatalogueFile, catalogue
from charlm.corpus.text_files import reading
from charlm.errors import CorpusError, FetchError
from charlm.home import with_home

if TYPE_CHECKING:
    import requests

_TIMEOUT = (3.05, 20.0)  # seconds to connect, and between two packets
_PAUSES = (1.0, 2.0)  # seconds before the second and the third try
_REDIRECTS = 5


class _WrongFileError(Exception):
    """The download is not the catalogued file."""


def _user_cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("charlm", appauthor=False)) / "corpora"


def _named_folders(corpora_dir: str | Path | None) -> list[Path]:
    """The folders given on the command line and in the environment."""
    named = (corpora_dir, os.environ.get("CHARLM_CORPORA"))
    return [Path(with_home(str(folder))) for folder in named if folder]


def corpora_folders(corpora_dir: str | Path | None = None) -> list[Path]:
    """The folders to look for corpora in, in order; they need not exist."""
    return [*_named_folders(corpora_dir), Path("corpora"), _user_cache()]


def writable_folder(corpora_dir: str | Path | None, *, otherwise: Path) -> Path:
    """The first writable folder, which is created if it does not exist; a CorpusError if none is.

    The candidates are ``corpora_dir``, ``$CHARLM_CORPORA``, ``corpora`` in the working folder if
    it exists, and ``otherwise``.
    """
    existing = [Path("corpora")] if os.path.isdir("corpora") else []
    for folder in (*_named_folders(corpora_dir), *existing, otherwise):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise CorpusError(
        f"no corpora folder can be written to, and {otherwise} cannot be created",
        "name a writable folder with --corpora-dir",
    )


def locate(entry: CatalogueEntry, corpora_dir: str | Path | None = None) -> Path | None:
    """The file of ``entry`` on this machine, or the folder with all of its files, or None.

    A file with the wrong hash is an error even if a later folder has the right file, because the
    user may have put it there. A folder that lacks a file counts as missing.

    Raises:
        CorpusError: the first file of that name in ``corpora_folders`` has the wrong hash.
    """
    if entry.bundled:
        return Path(__file__).parent / "bundled" / entry.file
    folders = corpora_folders(corpora_dir)
    return next((each / entry.file for each in folders if not _missing(entry, each)), None)


def _missing(entry: CatalogueEntry, folder: Path) -> list[CatalogueFile]:
    """The files of ``entry`` that a folder lacks; a CorpusError if one has the wrong hash."""
    missing = []
    for file in entry.downloads:
        path = folder / file.path
        if not os.path.isfile(path):  # Path.is_file raises without permission
            missing.append(file)
            continue
        with reading(path), path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.sha256:
            raise CorpusError(
                f"{path} is not the catalogued file: "
                f"SHA-256 {found[:12]}..., expected {file.sha256[:12]}...",
                "delete or replace it; to use it as your own text, give its path",
            )
    return missing


def fetch(
    entry: CatalogueEntry, corpora_dir: str | Path | None = None, *, progress: bool = False
) -> Path:
    """The file of ``entry``, or its folder, downloaded if it is not on this machine.

    Downloads go to ``writable_folder``, or to the user's cache. Their SHA-256 is checked first.
    Files of a folder are written after all of them have been downloaded.

    Args:
        progress: show a progress bar if standard error is a terminal.

    Raises:
        FetchError: the download failed. No part of it is left.
        CorpusError: as ``locate``, or no folder or file can be written.
    """
    if path := locate(entry, corpora_dir):
        return path
    folder = writable_folder(corpora_dir, otherwise=_user_cache()).absolute()
    downloads: list[tuple[Path, bytes]] = []
    for file in _missing(entry, folder):
        try:
            downloads.append((folder / file.path, _download(file, progress)))
        except (OSError, ValueError, _WrongFileError) as error:  # errors of requests are OSErrors
            raise FetchError(
                f"could not download {entry.name} from {file.address}: {_reason(error)}",
                f"put {entry.file} into {folder}, or {_instead_of(entry)}",
            ) from error
    for path, data in downloads:
        write_corpus(path, data)
    return folder / entry.file


def write_corpus(path: Path, data: bytes) -> None:
    """Write a file and create its folder; a CorpusError if that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    except OSError as error:
        raise CorpusError(
            f"cannot write {path}: {error.strerror}",
            "free some space, or name another folder with --corpora-dir",
        ) from error


def _download(file: CatalogueFile, progress: bool) -> bytes:
    for pause in _PAUSES:
        try:
            return _try_download(file, progress)
        except (OSError, _WrongFileError) as error:
            if not _worth_another_try(error):
                raise
        sleep(pause)
    return _try_download(file, progress)


def _try_download(file: CatalogueFile, progress: bool) -> bytes:
    """The bytes of a file, kept in memory so that a killed download leaves no file behind."""
    import requests
    from tqdm import tqdm

    data = bytearray()
    with requests.Session() as session:
        session.max_redirects = _REDIRECTS
        session.hooks = {"response": [_close_redirect]}
        if file.address.startswith("https:"):
            del session.adapters["http://"]  # refuses redirects to plain HTTP
        hidden = None if progress else True  # None: shown only on a terminal
        options: dict[str, Any] = {"unit": "B", "unit_scale": True, "leave": False}
        with (
            session.get(file.address, stream=True, timeout=_TIMEOUT) as response,
            tqdm(desc=file.path, total=file.size, disable=hidden, **options) as bar,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(2**16):
                data += chunk
                bar.update(len(chunk))
                if len(data) > file.size:  # it may be endless, or a decompression bomb
                    raise _WrongFileError("it is longer")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _WrongFileError("its SHA-256 differs")
    return bytes(data)


def _close_redirect(response: requests.Response, **_: Any) -> None:
    """Close a redirect, because requests would read its whole body, however long."""
    if response.is_redirect:
        response.close()


def _worth_another_try(error: Exception) -> bool:
    """Whether the error may be temporary. Without a network, waiting does not help."""
    import requests
    from urllib3.exceptions import DecodeError, ProtocolError, ReadTimeoutError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, requests.Timeout):  # the server did not answer at all
        return False
    # requests wraps the error of a connection that breaks or stalls during the answer.
    inner = error.args[0] if error.args else None
    broken = isinstance(inner, (DecodeError, ProtocolError, ReadTimeoutError))
    return broken or isinstance(error, _WrongFileError)


def _instead_of(entry: CatalogueEntry) -> str:
    """The advice to use a bundled corpus of the same task and language, if there is one."""
    for other in catalogue().values():
        if other.bundled and (other.task, other.language) == (entry.task, entry.language):
            return f"use {other.name}, which comes with charlm"
    return "name your own data"


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    import ssl

    import requests
    from urllib3.exceptions import ProtocolError

    if isinstance(error, _WrongFileError):
        return f"the download is not the catalogued file ({error})"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.TooManyRedirects):
        return f"the server redirects more than {_REDIRECTS} times"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return "the server redirects to an unsafe address"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "the download cannot be decompressed"
    deeper: BaseException | None = error
    while cause := deeper:  # the operating system's message is the clearest
        if isinstance(cause, (TimeoutError, requests.Timeout)):
            return "no answer in time"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not valid: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        deepest, deeper = cause, cause.__cause__ or cause.__context__
    if error.args and isinstance(error.args[0], ProtocolError):
        return "the connection was lost"
    return str(deepest).partition("\n")[0]
