"""What `pathfront data add` and `fetch` ask about images."""

from typing import Annotated

import typer

SMALLEST, LARGEST = 8, 4096  # pixels
DEFAULT = 256

Side = Annotated[
    int,
    typer.Option(
        "--side",
        min=SMALLEST,
        max=LARGEST,
        metavar="PIXELS",
        help="Pixels that the shorter side of an image keeps at most.",
    ),
]
