"""Images by label: picture files in folders, or IDX files as MNIST has them (http://yann.lecun.com/exdb/mnist).

Each becomes 16x16 pixels, or 8x8 where all are smaller than 16.
"""

import gzip
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from space.errors import TaskError
from space.records import Split
from space.words import counted
from trainers.tasks.datasets.content import Item, items_by_folder, unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

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


def image_items(source: Path, files: Sequence[Path]) -> list[Item]:
    """Pictures in folders of labels, and scans of IDX files, not yet converted.

    Raises:
        TaskError: an IDX file cannot be read, or a picture is not in the folder of a label.
    """
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    idx = [path for path in files if IDX_IMAGES.fullmatch(path.name)]
    if not idx:
        side = LARGE if any(_longer_side(path) >= LARGE for path in pictures) else SMALL
        return items_by_folder(source, pictures, lambda path: _picture(path, side))
    if pictures:
        raise TaskError(f"images are pictures or IDX files, '{source}' has both: '{pictures[0].name}' too")
    return [item for path in idx for item in _scans(path, "train" in " ".join(p.name for p in idx))]


def to_pixels(image: "Image", side: int) -> np.ndarray:
    """An image of any size and mode -> (side, side, 3) uint8; uncropped, padded with black if not square."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(to_rgb(image), (side, side), Image.Resampling.BOX))


def to_rgb(image: "Image") -> "Image":
    """An image of any mode in three colours of eight bits, before white where it is transparent."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # more than 8 bits, which a plain conversion clips
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / max(values.max(), 1) * 255).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image.convert("RGB")


def _longer_side(path: Path) -> int:
    """Pixels of the longer side of a picture; 0 if it cannot be read."""
    from PIL import Image

    try:
        with path.open("rb") as file, Image.open(file) as image:
            return max(image.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def _picture(path: Path, side: int) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with path.open("rb") as file, Image.open(file) as image:
            return to_pixels(ImageOps.exif_transpose(image), side)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(path, error, "an image") from None


def _scans(path: Path, with_train: bool) -> Iterator[Item]:
    """The scans of a pair of IDX files; the t10k pair is the report split if there is a train pair."""
    from PIL import Image

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
    side = LARGE if max(scans.shape[1:]) >= LARGE else SMALL
    for index, (scan, label) in enumerate(zip(scans, labels.tolist(), strict=True)):
        yield Item(
            lambda scan=scan: to_pixels(Image.fromarray(scan), side),
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
