"""Where corpora lie on this machine, and how a catalogued one gets there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

from charlm.atomic_files import write_atomic
from charlm.corpus.catalogue import LANGUAGE_MODEL, CatalogueEntry, CatalogueFile, catalogue
from charlm.errors import CorpusError, FetchError

if TYPE_CHECKING:
    import requests

_TIMEOUT = (3.05, 20.0)  # seconds to connect to one address, and between two packets
_PAUSES = (1.0, 2.0)  # seconds before the second try, and before the third and last
_REDIRECTS = 5


class _WrongFileError(Exception):
    """What came is not the catalogued file."""


def _user_cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("charlm", appauthor=False)) / "corpora"


def _named_folders(corpora_dir: Path | None) -> list[Path]:
    """The folders that the user named, on the command line and in the environment."""
    environment = os.environ.get("CHARLM_CORPORA")
    named = (corpora_dir, Path(environment) if environment else None)
    return [folder for folder in named if folder is not None]


def corpora_folders(corpora_dir: Path | None = None) -> list[Path]:
    """The folders where corpora are looked for, in order; they need not exist.

    ``corpora_dir``, ``$CHARLM_CORPORA``, ``corpora`` in the working folder, the user's cache.
    """
    return [*_named_folders(corpora_dir), Path("corpora"), _user_cache()]


def writable_folder(corpora_dir: Path | None, *, otherwise: Path) -> Path:
    """The first folder that can be written to; one that the user named is created.

    ``corpora_dir``, ``$CHARLM_CORPORA``, ``corpora`` in the working folder if it exists, and
    ``otherwise``, which is created.

    Raises:
        CorpusError: none of them can be written to.
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
        "name a folder of yours with --corpora-dir",
    )


def locate(entry: CatalogueEntry, corpora_dir: Path | None = None) -> Path | None:
    """The file of ``entry`` on this machine, or the folder with all of its files; or None.

    The first file of that name in ``corpora_folders`` decides. If its hash is wrong there is an
    error, not a look further: a file that the user put there is never passed over in silence.
    A folder that lacks some of its files is as if it were not there.

    Raises:
        CorpusError: the first file found is not the catalogued one.
    """
    if entry.bundled:
        return Path(__file__).parent / "bundled" / entry.file
    for folder in corpora_folders(corpora_dir):
        if not _missing(entry, folder):
            return folder / entry.file
    return None


def _missing(entry: CatalogueEntry, folder: Path) -> list[CatalogueFile]:
    """The files of ``entry`` that a corpora folder lacks.

    Raises:
        CorpusError: one that it has is not the catalogued one.
    """
    missing = []
    for file in entry.downloads:
        path = folder / file.path
        if os.path.isfile(path):  # Path.is_file raises where it may not look
            _check_hash(path, file.sha256)
        else:
            missing.append(file)
    return missing


def _check_hash(path: Path, expected: str) -> None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}", "check permissions") from error
    if found != expected:
        raise CorpusError(
            f"{path} is not the catalogued file: "
            f"SHA-256 {found[:12]}..., expected {expected[:12]}...",
            "delete or replace it; to read it as a text of your own, name it by its path",
        )


def fetch(
    entry: CatalogueEntry, corpora_dir: Path | None = None, *, progress: bool = False
) -> Path:
    """The file of ``entry``, or its folder, downloaded if it is not on this machine yet.

    A download is checked against its SHA-256 before it takes its place, in the first of
    ``corpora_dir``, ``$CHARLM_CORPORA``, an existing ``corpora`` in the working folder, and the
    user's cache that can be written to. Of several files none is written before all have come.

    Args:
        progress: whether to show a progress bar on standard error.

    Raises:
        FetchError: the download failed; nothing of it is left.
        CorpusError: as ``locate`` and ``writable_folder``, or the file cannot be written.
    """
    path = locate(entry, corpora_dir)
    if path is not None:
        return path
    folder = writable_folder(corpora_dir, otherwise=_user_cache()).absolute()
    downloads: list[tuple[Path, bytes]] = []
    for file in _missing(entry, folder):
        try:
            downloads.append((folder / file.path, _download(file, progress)))
        except (OSError, ValueError, _WrongFileError) as error:  # requests' own are OSErrors
            raise _fetch_error(entry, file, folder, error) from error
    for path, data in downloads:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, data)
        except OSError as error:
            raise CorpusError(
                f"cannot write {path}: {error.strerror}",
                "make room for it, or name another folder with --corpora-dir",
            ) from error
    return folder / entry.file


def _download(file: CatalogueFile, progress: bool) -> bytes:
    for pause in _PAUSES:
        try:
            return _try_download(file, progress)
        except (OSError, _WrongFileError) as error:
            if not _may_pass(error):
                raise
        sleep(pause)
    return _try_download(file, progress)


def _try_download(file: CatalogueFile, progress: bool) -> bytes:
    """The right bytes, held in memory: a download that is killed leaves no file behind."""
    import requests
    from tqdm import tqdm

    data = bytearray()
    with requests.Session() as session:
        session.max_redirects = _REDIRECTS
        session.hooks = {"response": [_close_redirect]}
        if file.address.startswith("https:"):
            del session.adapters["http://"]  # no redirect may lead to there
        with (
            session.get(file.address, stream=True, timeout=_TIMEOUT) as response,
            tqdm(total=file.size, unit="B", unit_scale=True, disable=not progress) as bar,
        ):
            response.raise_for_status()
            for chunk in response.iter_content(2**16):
                data += chunk
                bar.update(len(chunk))
                if len(data) > file.size:  # perhaps without end, or a decompression bomb
                    raise _WrongFileError("it is longer")
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise _WrongFileError("its SHA-256 differs")
    return bytes(data)


def _close_redirect(response: requests.Response, **_: Any) -> None:
    """Close a redirect, of which requests would read the whole body, however long."""
    if response.is_redirect:
        response.close()


def _may_pass(error: Exception) -> bool:
    """Whether the next try may go better; without a network nobody should wait for it."""
    import requests
    from urllib3.exceptions import DecodeError, ProtocolError, ReadTimeoutError

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return error.response.status_code >= 500 or error.response.status_code == 429
    if isinstance(error, requests.Timeout):  # before the answer began
        return False
    # requests wraps what breaks off, or stops for too long, in an error of its own.
    inner = error.args[0] if error.args else None
    broken = isinstance(inner, (DecodeError, ProtocolError, ReadTimeoutError))
    return broken or isinstance(error, _WrongFileError)


def _fetch_error(
    entry: CatalogueEntry, file: CatalogueFile, folder: Path, error: Exception
) -> FetchError:
    instead = "or name data of yours with --data"
    if entry.task == LANGUAGE_MODEL:
        offline = next(
            other
            for other in catalogue().values()
            if other.bundled and other.language == entry.language
        )
        instead = f"or use a text that is here at once: {offline.command}"
    return FetchError(
        f"could not download {entry.name} from {file.address}: {_reason(error)}",
        f"put {entry.file} into {folder}, {instead}",
    )


def _reason(error: Exception) -> str:
    """Why a download failed, in a few words."""
    import ssl

    import requests
    from urllib3.exceptions import ProtocolError

    if isinstance(error, _WrongFileError):
        return f"what came is not the catalogued file ({error})"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}".rstrip()
    if isinstance(error, requests.TooManyRedirects):
        return f"the server redirects more than {_REDIRECTS} times"
    if isinstance(error, requests.exceptions.InvalidSchema):
        return "the server redirects to where it is not safe to go"
    if isinstance(error, requests.exceptions.ContentDecodingError):
        return "what came cannot be decompressed"
    cause: BaseException = error
    while True:  # the operating system's own words are the clearest
        if isinstance(cause, (TimeoutError, requests.Timeout)):
            return "no answer in time"
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the server's certificate is not good: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        deeper = cause.__cause__ or cause.__context__
        if deeper is None:
            break
        cause = deeper
    if error.args and isinstance(error.args[0], ProtocolError):
        return "the connection broke off"
    return str(cause).partition("\n")[0]
