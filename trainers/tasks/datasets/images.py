"""Images by label: picture files in folders, or IDX files as MNIST has them (http://yann.lecun.com/exdb/mnist).

Each becomes a thumbnail of 16x16 pixels, or 8x8 where all are smaller than 16, and a picture file.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from space.errors import TaskError
from space.records import Split
from space.words import counted
from trainers.tasks.datasets.content import Item, items_by_folder, unreadable
from trainers.tasks.datasets.pictures import read_picture, read_scan

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
LARGE, SMALL = 16, 8  # pixels of a side

IDX_IMAGES = re.compile(r"(?P<before>.*)images(?P<dot>[-.])idx3(?P<after>-ubyte(\.gz)?)")
IDX_LABELS = re.compile(r".*labels[-.]idx1-ubyte(\.gz)?")
IDX_MAGIC = {3: 0x0803, 1: 0x0801}  # unsigned bytes, so many dimensions


def is_image(path: Path) -> bool:
    """Whether a file is a picture or the images of a pair of IDX files, by its name."""
    return path.suffix.lower() in SUFFIXES or IDX_IMAGES.fullmatch(path.name) is not None


def is_idx_labels(path: Path) -> bool:
    """Whether a file has the labels of a pair of IDX files, by its name."""
    return IDX_LABELS.fullmatch(path.name) is not None


def image_items(source: Path, files: Sequence[Path], side: int) -> list[Item]:
    """Pictures in folders of labels, and scans of IDX files, not yet converted.

    Args:
        source: the folder.
        files: all files that are there.
        side: pixels that the shorter side of an image keeps at most.

    Raises:
        TaskError: an IDX file cannot be read, or a picture is not in the folder of a label.
    """
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    idx = [path for path in files if IDX_IMAGES.fullmatch(path.name)]
    if not idx:
        thumbnail = LARGE if any(_longer_side(path) >= LARGE for path in pictures) else SMALL
        return items_by_folder(source, pictures, partial(read_picture, side=side, thumbnail=thumbnail))
    if pictures:
        raise TaskError(f"images are pictures or IDX files, '{source}' has both: '{pictures[0].name}' too")
    with_train = "train" in " ".join(path.name for path in idx)
    return [item for path in idx for item in _scans(path, with_train, side)]


def _longer_side(path: Path) -> int:
    """Pixels of the longer side of a picture; 0 if it cannot be read."""
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file) as image:
            return max(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def _scans(path: Path, with_train: bool, side: int) -> Iterator[Item]:
    """The scans of a pair of IDX files; the t10k pair is the report split if there is a train pair."""
    match = IDX_IMAGES.fullmatch(path.name)
    assert match is not None
    labels_path = path.with_name(f"{match['before']}labels{match['dot']}idx1{match['after']}")
    if not labels_path.is_file():
        raise TaskError(f"IDX images come with their labels, '{path}' has no '{labels_path.name}' beside it")
    scans, labels = _idx(path, 3), _idx(labels_path, 1)
    if len(scans) != len(labels):
        raise TaskError(
            f"each image has one label, '{path}' has {counted(len(scans), 'image')} and"
            f" {counted(len(labels), 'label')}"
        )
    split: Split | None = None
    if with_train:
        split = "train" if "train" in match["before"] else "report"
    thumbnail = LARGE if max(scans.shape[1:]) >= LARGE else SMALL
    for index, (scan, label) in enumerate(zip(scans, labels.tolist(), strict=True)):
        yield Item(
            partial(read_scan, scan, side=side, thumbnail=thumbnail),
            str(label),
            f"{match['before']}{index}",
            split,
        )


def _idx(path: Path, dimensions: int) -> np.ndarray:
    """The array of an IDX file of unsigned bytes."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        magic, *shape = struct.unpack_from(f">{1 + dimensions}I", content)
        if magic != IDX_MAGIC[dimensions]:
            raise ValueError(f"it begins with {magic:#x}")
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, zlib.error, struct.error, ValueError) as error:
        raise unreadable(path, error, "an image") from None
