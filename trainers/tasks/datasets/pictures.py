"""Picture files of a data set of images: made, and read back.

A picture is kept with its shorter side at most so many pixels long, as JPEG, or as PNG where it is small or
has few colours. Beside it stands a thumbnail of 16x16 or 8x8 pixels, which also tells pictures apart.
"""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.tasks.datasets.content import unreadable
from trainers.tasks.datasets.kept import Kept

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 256  # pixels of the shorter side, where nobody says how many
QUALITY = 90  # of JPEG
SMALL_PIXELS, FEW_COLOURS = 64 * 64, 128  # at most, of a picture that is kept without loss


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


def opened(content: np.ndarray) -> "Image":
    """A picture file (bytes,) uint8 as a picture, not yet decoded."""
    from PIL import Image

    return Image.open(BytesIO(content.tobytes()))


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
