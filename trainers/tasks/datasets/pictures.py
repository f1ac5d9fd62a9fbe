"""Picture files of a data set of images: made on all cores, one behind the other in one file, and read back.

A picture is kept with its shorter side at most so many pixels long, as JPEG, or as PNG where it is small or
has few colours. Beside it stands a thumbnail of 16x16 or 8x8 pixels, which also tells pictures apart.
"""

from array import array
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from space.errors import TaskError
from space.machine import cpu_count
from trainers.tasks.datasets.content import (
    Content,
    Item,
    LeftOut,
    Progress,
    check_items,
    check_splits,
    held_out_first,
    labelled,
    open_content,
    unreadable,
)
from trainers.tasks.mapped import release
from trainers.tasks.processes import in_order

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 256  # pixels of the shorter side, where nobody says how many
MOST_IMAGES = 10_000_000
QUALITY = 90  # of JPEG
SMALL_PIXELS, FEW_COLOURS = 64 * 64, 128  # at most, of a picture that is kept without loss
TOGETHER = 16  # pictures that a process makes at once
AHEAD = 4  # such groups that wait for each process
ALONE = 512  # pictures at most that this process makes by itself
RELEASED = 64  # pictures that are read before the memory of their map is given back
DIGEST = 16  # bytes


class Kept(NamedTuple):
    """What is kept of a picture.

    Attributes:
        content: a picture file, JPEG or PNG.
        thumbnail: (thumbnail, thumbnail, 3) uint8, as bytes.
    """

    content: bytes
    thumbnail: bytes


def read_picture(path: Path, side: int, thumbnail: int) -> Kept:
    """What is kept of a picture file, upright and without transparency.

    Args:
        path: of any format that Pillow reads.
        side: pixels that its shorter side keeps at most.
        thumbnail: pixels of the side of its thumbnail.

    Raises:
        TaskError: it cannot be read.
    """
    from PIL import Image, ImageOps

    try:
        with path.open("rb") as file, Image.open(file) as image:
            image.draft(None, (2 * side, 2 * side))  # a large JPEG is decoded at half its size, or less
            return keep(ImageOps.exif_transpose(image), side, thumbnail)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise unreadable(path, error, "an image") from None


def read_scan(scan: np.ndarray, side: int, thumbnail: int) -> Kept:
    """What is kept of a scan (height, width) uint8; arguments as those of `read_picture`."""
    from PIL import Image

    return keep(Image.fromarray(scan), side, thumbnail)


def to_pixels(image: "Image", side: int) -> np.ndarray:
    """An image of any size and mode -> (side, side, 3) uint8; uncropped, padded with black if not square."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.pad(to_rgb(image), (side, side), Image.Resampling.BOX))


def to_rgb(image: "Image") -> "Image":
    """An image of any mode in three colours of eight bits, transparent parts on white."""
    return _plain(image).convert("RGB")


def collect_images(
    source: Path,
    items: Sequence[Item],
    side: int,
    progress: Progress,
    left_out: LeftOut,
    scratch: Path,
) -> Content:
    """Read images by label, remove duplicates, and assign each to a split.

    Memory does not grow with the images, but for some bytes of each. Those with one thumbnail are the same.

    Args:
        source: where they come from, for messages.
        items: all of them; each reads a `Kept`.
        side: pixels that the shorter side of an image keeps at most.
        progress: called with the number of images read and their total.
        left_out: unreadable images are noted there.
        scratch: an empty folder; the files of the arrays, named after them, are left in it.

    Raises:
        TaskError: there are too few or too many, too many are unreadable, a label has nothing to train on, or
            a process died.
    """
    check_items("images", source, items, MOST_IMAGES)
    seen: set[bytes] = set()
    chosen: list[Item] = []
    ends = array("q")
    ordered = held_out_first(items)
    with (scratch / "bytes.bin").open("wb") as content, (scratch / "items.bin").open("wb") as thumbnails:
        for count, (item, kept) in enumerate(zip(ordered, _read(ordered), strict=True), start=1):
            progress(count, len(items))
            if isinstance(kept, TaskError):
                left_out.note_bad(kept)
                continue
            digest = sha256(kept.thumbnail).digest()[:DIGEST]
            if digest in seen:
                continue
            seen.add(digest)
            content.write(kept.content)
            thumbnails.write(kept.thumbnail)
            ends.append(content.tell())
            chosen.append(item)
    left_out.check(source, len(items))
    arrays, labels, told = labelled(items, chosen)
    for name, numbers in (arrays | {"ends": np.array(ends, dtype="<i8")}).items():
        (scratch / f"{name}.bin").write_bytes(numbers.tobytes())
    repeated = len(items) - left_out.bad - len(chosen)
    found = Content("images", open_content("images", scratch), labels, told, repeated, side)
    check_splits(source, found)
    return found


class Pictures:
    """The picture files of a data set, decoded when they are asked for.

    Args:
        content: (bytes,) uint8, the files, one behind the other.
        ends: (pictures,) where each ends.
    """

    def __init__(self, content: np.ndarray, ends: np.ndarray) -> None:
        self._bytes, self._ends = content, ends
        self._read = 0

    def open(self, place: int) -> "Image":
        """The picture at a place among all, not yet decoded."""
        from PIL import Image

        first = int(self._ends[place - 1]) if place else 0
        content = self._bytes[first : int(self._ends[place])].tobytes()
        self._read += 1
        if self._read % RELEASED == 0:
            release(self._bytes)
        return Image.open(BytesIO(content))


def _read(items: Sequence[Item]) -> Iterator[Kept | TaskError]:
    """What is kept of each item in turn, or why it cannot be read."""
    groups = ([item.read for item in items[i : i + TOGETHER]] for i in range(0, len(items), TOGETHER))
    if len(items) <= ALONE or cpu_count() == 1:
        found = map(read_group, groups)
    else:
        found = in_order(read_group, groups, cpu_count(), AHEAD)
    for group in found:
        yield from group


def read_group(reads: Sequence[Callable[[], Kept]]) -> list[Kept | TaskError]:
    """What is kept of some images, or why one cannot be read."""
    found: list[Kept | TaskError] = []
    for read in reads:
        try:
            found.append(read())
        except TaskError as error:
            found.append(error)
    return found


def keep(image: "Image", side: int, thumbnail: int) -> Kept:
    """What is kept of an upright image; arguments as those of `read_picture`."""
    from PIL import Image

    plain = _plain(image)
    small = to_pixels(plain, thumbnail).tobytes()
    shorter = min(plain.size)
    if shorter > side:
        width, height = (max(1, round(length * side / shorter)) for length in plain.size)
        plain = plain.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return Kept(_encoded(plain), small)


def _encoded(image: "Image") -> bytes:
    """A picture file: PNG where it is small or has few colours, as drawings have, and JPEG otherwise."""
    file = BytesIO()
    if image.width * image.height <= SMALL_PIXELS or image.getcolors(FEW_COLOURS) is not None:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def _plain(image: "Image") -> "Image":
    """An image of any mode in colours or grey (RGB or L), transparent parts on white."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # more than 8 bits, which a plain conversion clips
        values = np.asarray(image, dtype=np.float64)
        image = Image.fromarray((values / max(values.max(), 1) * 255).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")
