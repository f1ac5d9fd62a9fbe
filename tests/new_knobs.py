"""An architecture with knobs that no package knows, for tests of what derives from a declaration."""

from typing import Annotated

from pydantic import Field

from space.candidate import Architecture
from space.knobs import Knob, only


class Sunk(Architecture):
    """`sinks` has no effect at its default, `tilt` has at every value."""

    sinks: Annotated[
        int,
        Field(ge=0, le=8),
        Knob(only(0), "attention sinks", title="Attention", said="{0.sinks} sinks", plain=0),
    ] = 0
    tilt: Annotated[float, Field(gt=0, le=4), Knob(only(1.0), "tilt", title="Tilt", said="{0.tilt:g}")] = 1.0
