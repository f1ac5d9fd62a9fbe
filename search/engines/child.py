"""The command of a Python process that Pathfront starts: a worker, the page."""

import sys


def python(*arguments: str) -> list[str]:
    """The command that runs this Python with a safe path.

    With `-m` and without `-P`, Python puts the working folder first in `sys.path`; a file there named
    `search.py` or `numpy.py` would then stand in for ours or for an installed package.
    """
    return [sys.executable, "-P", *arguments]
