"""Data sets by URL, each pinned by a SHA-256 of the file or of its unpacked content.

GitHub repacks its archives from time to time, so an archive is pinned by the files in it.
"""

import hashlib
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from space.errors import NotFoundError, StudyFileError, TaskError, nearest
from space.files import file_sha256
from space.machine import FULL, Place
from trainers.tasks.datasets.content import Kind
from trainers.tasks.datasets.folders import visible_files

Bytes = Callable[[int, int], None]
TEMPORARY = Place("downloads", "TMPDIR", tempfile.gettempdir)
TIMEOUT = 30  # seconds without a byte
PART = 1 << 16  # bytes
SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Download:
    """A data set that can be downloaded.

    Attributes:
        url: of a file or of a zip or tar archive.
        sha256: digest of the downloaded file; None where `content_sha256` pins what is in it.
        content_sha256: digest of the files of `folder`, as `content_digest` takes it.
        folder: folder of the data in an archive.
        kind: what they are; found from what is there when None.
        licence: of the data.
    """

    url: str
    sha256: str | None = None
    content_sha256: str | None = None
    folder: str = ""
    kind: Kind | None = None
    licence: str | None = None


KNOWN = {
    "spoken-digits": Download(
        url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",
        content_sha256="a2e8a660492f28d9eed6270b290d26cbc5c81d6077ce87d3c0ad5adf4d4ee696",
        folder="recordings",
        kind="sounds",
        licence="CC BY-SA 4.0",
    ),
    "tiny-shakespeare": Download(
        url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        kind="text",
        licence="public domain",
    ),
}


def find_download(name: str, url: str | None, sha256: str | None, kind: Kind | None) -> Download:
    """Find what to download: a known data set, possibly from another URL, or a data set of the user.

    Raises:
        NotFoundError: the name is not known, and no address is given.
        StudyFileError: a URL of the user has no SHA-256, or not a valid one.
    """
    known = KNOWN.get(name)
    if sha256 is not None and (url is None or not SHA256.fullmatch(sha256.lower())):
        raise StudyFileError(f"--sha256 has 64 hexadecimal digits and needs --url, got '{sha256}'")
    if url is not None and sha256 is not None:
        return Download(url, sha256.lower(), kind=kind)
    if known is None and url is None:
        raise NotFoundError(
            f"no data set to fetch is called '{name}'{nearest(name, KNOWN)}, or give --url and --sha256"
        )
    if known is None:
        raise StudyFileError(f"a data set from --url is pinned by --sha256, '{name}' has none")
    return Download(
        url or known.url, known.sha256, known.content_sha256, known.folder, kind or known.kind, known.licence
    )


@contextmanager
def downloaded(wanted: Download, progress: Bytes) -> Iterator[Path]:
    """Context manager: the downloaded folder or file, deleted at the end of the block.

    Args:
        wanted: what to download.
        progress: called with the bytes so far and in total, 0 if unknown.

    Raises:
        TaskError: it cannot be downloaded or unpacked, or is not what was pinned.
        MachineError: the folder for temporary files cannot be written, or its disk is full.
    """
    with TEMPORARY.errors():
        until_read = tempfile.TemporaryDirectory(prefix="pathfront-")
    with until_read as folder:
        with TEMPORARY.errors():
            path = _retrieved(wanted, Path(folder), progress)
            source = _unpacked(wanted, path, Path(folder) / "content") / wanted.folder
        if wanted.content_sha256 is not None:
            _check_content(wanted, source)
        yield source


def content_digest(folder: Path) -> str:
    """SHA-256 over the names and digests of all files of a folder, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir(), key=lambda path: path.name):
        digest.update(path.name.encode() + b"\0" + bytes.fromhex(file_sha256(path)))
    return digest.hexdigest()


def _retrieved(wanted: Download, folder: Path, progress: Bytes) -> Path:
    """The downloaded file, checked against the pinned digest if there is one."""
    import requests

    path = folder / (Path(wanted.url.partition("?")[0]).name or "data")
    digest = hashlib.sha256()
    try:
        with requests.get(wanted.url, stream=True, timeout=TIMEOUT) as answer, path.open("wb") as file:
            answer.raise_for_status()
            size = int(answer.headers.get("content-length", 0))
            for part in answer.iter_content(PART):
                digest.update(part)
                file.write(part)
                progress(file.tell(), size)
    except requests.RequestException as error:
        raise TaskError(f"'{wanted.url}' cannot be downloaded: {error}") from None
    if wanted.sha256 not in (None, digest.hexdigest()):
        raise TaskError(
            f"'{wanted.url}' has SHA-256 {wanted.sha256}, got {digest.hexdigest()}; nothing is kept"
        )
    return path


def _unpacked(wanted: Download, path: Path, folder: Path) -> Path:
    """The file itself, or the first folder of an archive that holds more than one folder."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                archive.extractall(folder)
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
        else:
            return path
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, tarfile.TarError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        raise TaskError(f"'{wanted.url}' is an archive that cannot be unpacked: {error}") from None
    return _below(folder)


def _below(folder: Path) -> Path:
    while len(inside := [path for path in folder.iterdir() if not path.name.startswith(".")]) == 1:
        if not inside[0].is_dir():
            break
        folder = inside[0]
    return folder


def _check_content(wanted: Download, source: Path) -> None:
    found = content_digest(source) if source.is_dir() else "no such folder"
    if found != wanted.content_sha256:
        count = len(visible_files(source)) if source.is_dir() else 0
        raise TaskError(
            f"the files in '{wanted.folder}' of '{wanted.url}' have SHA-256 {wanted.content_sha256},"
            f" got {found} of {count} files; give --url and --sha256 for a version of your own"
        )
