"""Read a folder or a file as a data set: find its kind and call the reader of that kind."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from space.errors import TaskError
from space.words import counted
from trainers.tasks.begun import Begun
from trainers.tasks.code.fingerprints import object_fingerprint
from trainers.tasks.datasets.content import (
    Content,
    Kind,
    LeftOut,
    Progress,
    held_out_first,
    is_about,
    unreadable,
)
from trainers.tasks.datasets.documents import FIELD, is_text
from trainers.tasks.datasets.images import image_items, is_idx_labels, is_image
from trainers.tasks.datasets.kept import collect_kept
from trainers.tasks.datasets.media import read_medium
from trainers.tasks.datasets.minari_folders import is_minari
from trainers.tasks.datasets.pairing import Pairing
from trainers.tasks.datasets.pairs import could_be_pairs, read_pairs
from trainers.tasks.datasets.pictures import SIDE
from trainers.tasks.datasets.records import is_note, is_records
from trainers.tasks.datasets.sounds import SECONDS, is_sound, sound_items
from trainers.tasks.datasets.texts import read_text
from trainers.tasks.journal import Journal
from trainers.tasks.versions import versions_of

LONGEST_LICENCE = 200  # characters
HIDDEN = (".", "__MACOSX")
CONVERTERS = {
    "images": (image_items, held_out_first, Journal),
    "sounds": (sound_items, held_out_first, Journal),
    "pairs": (read_medium, Journal),
}
"""Code that decides, with the files and the options, what is kept of each item, and in which order."""
PACKAGES = ("numpy", "pathfront", "pillow", "scipy", "soundfile")
SCHEME = 1  # of what `collect_kept` and `PairWriter` find in their folder


@dataclass(frozen=True)
class Told:
    """What the user says about a source, besides its kind.

    Attributes:
        field: of a record of text, which has the text.
        side: pixels that the shorter side of an image keeps at most.
        seconds: that are kept of a sound by label, and that one of a pair lasts, at most.
        pairing: the fields of pairs.
    """

    field: str = FIELD
    side: int = SIDE
    seconds: float = SECONDS
    pairing: Pairing = Pairing()  # noqa: RUF009 - it is frozen


def read_folder(
    source: Path,
    kind: Kind | None,
    progress: Progress,
    left_out: LeftOut,
    begun: Begun,
    told: Told,
) -> Content:
    """Read and convert a folder or a file; images, sounds and media of pairs that were converted stay so.

    Args:
        source: images or sounds in one folder for each label, text, records of pairs, or demonstrations.
        kind: what it is; found from what is there when None.
        progress: called with the number of items read and their total, of text with bytes.
        left_out: what is not in the data set is noted there.
        begun: the folder for what does not fit into memory; what it has of another source is deleted.
        told: what else the user says about it.

    Raises:
        TaskError: it is not clear what it holds, it holds too little, or too many items cannot be read.
        MachineError: a package that reads it is missing.
    """
    if kind == "control" or (kind is None and is_minari(source)):
        from trainers.tasks.datasets.minari_sets import read_minari  # and Gymnasium with it

        begun.start_afresh()
        return read_minari(source, progress, left_out, begun.folder)
    files = visible_files(source)
    if not files:
        raise TaskError(f"a data set has files, the folder '{source}' has none")
    kind = kind or find_kind(source, files, told.field)
    if not source.is_file():
        left_out.note_others([path for path in files if not _belongs(path, kind, source)])
    scratch = begun.folder
    if kind == "text":
        begun.start_afresh()
        return read_text(source, files, progress, left_out, scratch, told.field)
    begun.resume(_made_of(source, files, kind, told))
    if kind == "pairs":
        return read_pairs(source, files, progress, left_out, scratch, told.pairing, told.side, told.seconds)
    if source.is_file():
        raise TaskError(f"{kind} are read from a folder with one folder for each label, '{source}' is a file")
    if kind == "images":
        items = image_items(source, files, told.side)
        about = Content("images", {}, (), "", 0, side=told.side)
        return collect_kept(source, items, about, progress, left_out, scratch)
    items, rule = sound_items(source, files, told.seconds)
    about = Content("sounds", {}, (), rule, 0, seconds=told.seconds)
    return collect_kept(source, items, about, progress, left_out, scratch)


def _made_of(source: Path, files: Sequence[Path], kind: Kind, told: Told) -> dict[str, object]:
    """Everything that decides what is kept of a source: its files, what the user says, and the code."""
    digest = sha256()
    for path in files:
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return {
        "source": str(source.resolve()),
        "files": digest.hexdigest(),
        "kind": kind,
        "told": asdict(told),
        "code": [object_fingerprint(function) for function in CONVERTERS[kind]],
        "versions": versions_of(PACKAGES),
        "scheme": SCHEME,
    }


def visible_files(source: Path) -> list[Path]:
    """A file itself, or all files below a folder, in order; links are followed, hidden files are skipped.

    Raises:
        TaskError: a folder cannot be read, or has a circular link, a broken link or a special file.
    """
    if source.is_file():
        return [source]
    files: list[Path] = []
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(source, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                raise TaskError(
                    f"links lead to files or to other folders, '{folder}' leads back to a folder that it"
                    " lies in; remove it"
                )
            for path, is_folder in _entries(folder):
                if is_folder:
                    waiting.append((path, above | {identity}))
                else:
                    files.append(path)
        except OSError as error:
            raise unreadable(Path(error.filename or folder), error) from None
    return sorted(files)


def _entries(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Visible entries of a folder, each with whether it is a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(HIDDEN):
                continue
            if entry.name.encode(errors="ignore").decode() != entry.name:
                raise TaskError(f"names of files are UTF-8, got {str(path)!a}; rename it")
            is_folder = entry.is_dir()
            if not is_folder and not entry.is_file():
                what = "a link to nothing" if entry.is_symlink() else "neither a file nor a folder"
                raise TaskError(f"a data set has files and folders, '{path}' is {what}; repair or remove it")
            yield path, is_folder


def _belongs(path: Path, kind: Kind, source: Path) -> bool:
    """Whether a file is of a kind, or describes the data."""
    of_kind = {
        "images": is_image(path) or is_idx_labels(path),
        "sounds": is_sound(path),
        "text": is_text(path),
        "pairs": is_records(path) or is_image(path) or is_sound(path) or is_note(path),
    }
    return of_kind[kind] or is_about(path, source)


def find_kind(source: Path, files: Sequence[Path], field: str = FIELD) -> Kind:
    """The kind of content of a folder, by the suffixes of its files and the fields of its first record.

    Raises:
        TaskError: nothing that is known, or several kinds.
    """
    if could_be_pairs(source, files, field):
        return "pairs"
    counts: dict[Kind, int] = {
        "images": sum(map(is_image, files)),
        "sounds": sum(map(is_sound, files)),
        "text": sum(is_text(path) and not is_about(path, source) for path in files),
    }
    found: list[Kind] = [kind for kind, count in counts.items() if count]
    if not found:
        raise TaskError(
            f"a data set has images, IDX files, sounds, text or pairs, '{source}' has none among"
            f" {counted(len(files), 'file')}; say what it is with --kind"
        )
    if len(found) > 1:
        listing = " and ".join(f"{counted(counts[kind], 'file')} of {kind}" for kind in found)
        raise TaskError(f"a data set is of one kind, '{source}' has {listing}; say which with --kind")
    return found[0]


def find_licence(source: Path) -> str | None:
    """The licence of a folder of data: the first line of its licence file, or a README's line about it.

    Raises:
        TaskError: such a file cannot be read.
    """
    if not source.is_dir():
        return None
    told = [path for path in sorted(source.iterdir()) if path.is_file() and is_about(path, source)]
    for path in sorted(told, key=lambda path: path.name.upper().startswith("README")):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise unreadable(path, error) from None
        lines = [line.strip(" #=-*\t") for line in text.splitlines()]
        lines = [line for line in lines if line]
        if path.name.upper().startswith("README"):
            at = next((i for i, line in enumerate(lines) if "licen" in line.lower()), len(lines))
            heading = at + 1 < len(lines) and len(lines[at].split()) < 3
            lines = lines[at + heading :]
        if lines:
            return lines[0][:LONGEST_LICENCE]
    return None
