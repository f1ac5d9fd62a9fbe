"""Images become patches in raster order (Gato section 2.1)."""

import numpy as np
from jaxtyping import Float, Float32


def image_patches(
    pixels: Float[np.ndarray, "height width channels"], side: int
) -> Float32[np.ndarray, "patches size"]:
    """(height, width, channels) in [0, 1] -> (patches, side * side * channels) float32.

    Pixels are scaled to [-1, 1] and divided by the square root of the patch's side; patches are in raster
    order, and each is flattened row by row.

    Raises:
        ValueError: the patches do not tile the image.
    """
    height, width, channels = pixels.shape
    if height % side or width % side:
        raise ValueError(f"patches of side {side} tile an image, got {height} x {width}")
    scaled = (pixels.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(side))
    tiles = scaled.reshape(height // side, side, width // side, side, channels).swapaxes(1, 2)
    return tiles.reshape(-1, side * side * channels)
