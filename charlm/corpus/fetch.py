"""Where corpora lie on this machine, and how a catalogued one gets there."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charlm.corpus.catalogue import CatalogueEntry, catalogue
from charlm.errors import CorpusError, FetchError

if TYPE_CHECKING:
    import requests

_TIMEOUT = (3.05, 20.0)  # seconds to connect to one address, and between two packets
_RETRIES = 2  # after a broken or wrong answer, waiting 1 s, then 2 s


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
    """The file of ``entry`` on this machine, or None.

    The first file of that name in ``corpora_folders`` decides. If its hash is wrong there is an
    error, not a look further: a file that the user put there is never passed over in silence.

    Raises:
        CorpusError: the first file found is not the catalogued one.
    """
    if entry.bundled:
        return Path(__file__).parent / "bundled" / entry.file
    for folder in corpora_folders(corpora_dir):
        path = folder / entry.file
        if os.path.isfile(path):  # Path.is_file raises where it may not look
            _check_hash(path, str(entry.sha256))
            return path
    return None


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
    """The file of ``entry``, downloaded if it is not on this machine yet.

    A download is checked against its SHA-256 before it takes its place, in the first of
    ``corpora_dir``, ``$CHARLM_CORPORA``, an existing ``corpora`` in the working folder, and the
    user's cache that can be written to.

    Args:
        progress: whether to show a progress bar on standard error.

    Raises:
        FetchError: the download failed; nothing of it is left.
        CorpusError: as ``locate`` and ``writable_folder``.
    """
    path = locate(entry, corpora_dir)
    if path is None:
        folder = writable_folder(corpora_dir, otherwise=_user_cache())
        path = _download(entry, folder.absolute(), progress)
    return path


def _download(entry: CatalogueEntry, folder: Path, progress: bool) -> Path:
    import pooch
    import requests

    pooch.get_logger().setLevel("CRITICAL")
    http = pooch.HTTPDownloader(
        progressbar=progress,
        chunk_size=2**16,
        timeout=_TIMEOUT,
        hooks={"response": _refuse_downgrade},
    )

    def download(address: str, output: str, store: pooch.Pooch) -> None:
        try:
            http(address, output, store)
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _fetch_error(entry, folder, error) from error  # pooch would try again
        except requests.HTTPError as error:
            if getattr(error.response, "status_code", 0) >= 500:
                raise
            raise _fetch_error(entry, folder, error) from error

    store = pooch.create(
        path=folder,
        base_url="",
        registry={entry.file: entry.sha256},
        urls={entry.file: entry.address},
        retry_if_failed=_RETRIES,
    )
    try:
        path = Path(store.fetch(entry.file, downloader=download))
    except (OSError, ValueError) as error:
        raise _fetch_error(entry, folder, error) from error
    with suppress(OSError):  # not every file system has permissions
        path.chmod(0o644)  # from the 0600 of a temporary file: the folder may be shared
    return path


def _refuse_downgrade(response: requests.Response, **_: Any) -> None:
    """Refuse a redirect from https to http; called with each response, redirects too."""
    import requests

    target = response.headers.get("Location", "")
    if response.url.startswith("https:") and target.startswith("http:"):
        raise requests.ConnectionError("redirected from https to http")


def _fetch_error(entry: CatalogueEntry, folder: Path, error: Exception) -> FetchError:
    offline = next(
        other.name
        for other in catalogue().values()
        if other.bundled and other.language == entry.language
    )
    return FetchError(
        f"could not download {entry.name} from {entry.address}: {_reason(error)}",
        f"put {entry.file} into {folder}, or use a text that is here at once: "
        f"charlm train --corpus {offline}",
    )


def _reason(error: BaseException) -> str:
    """Why a download failed, in a few words."""
    import requests

    if isinstance(error, requests.HTTPError):
        return f"the server answered {str(error).partition(' for url')[0]}"
    if isinstance(error, ValueError) and not isinstance(error, requests.RequestException):
        return "what came is not the catalogued file (its SHA-256 differs)"
    cause: BaseException | None = error
    while cause is not None:  # the operating system's own words are the clearest
        if isinstance(cause, (TimeoutError, requests.Timeout)):
            return "no answer in time"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return str(error).partition("\n")[0]
