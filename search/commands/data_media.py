"""What `pathfront data add` and `fetch` ask about images and sounds."""

from typing import Annotated

import typer

SMALLEST, LARGEST = 8, 4096  # pixels
LONGEST_SOUND = 600.0
SIDE = 256

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

SECONDS = 30.0

Seconds = Annotated[
    float,
    typer.Option(
        "--seconds",
        min=0.1,
        max=LONGEST_SOUND,
        metavar="SECONDS",
        help="Seconds of a sound that are kept; a longer one of a pair counts as unreadable.",
    ),
]
