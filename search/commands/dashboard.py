"""`pathfront dashboard`: the page, as a Streamlit process of its own."""

import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from search.commands.options import Storage

NAME = "dashboard"
EXAMPLES = ["pathfront dashboard", "pathfront dashboard --port 9000 --storage postgresql://host/studies"]


def run(
    storage: Storage = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8501,
) -> None:
    """Open the dashboard on a storage; Ctrl-C ends it."""
    from search.child import python
    from search.commands.output import say
    from search.results import Reader
    from search.storage import resolve_url, shown

    url = resolve_url(storage)
    Reader(url).close()  # the database is there and can be read, or this says why not
    say(f"dashboard on {shown(url)}: http://localhost:{port}  (Ctrl-C ends it)")
    options = ["--server.port", str(port), "--server.headless", "true", "--browser.gatherUsageStats", "false"]
    process = subprocess.Popen(
        python("-m", "streamlit", "run", str(_page()), *options),
        env={**os.environ, "PATHFRONT_STORAGE": url},
    )
    try:
        code = process.wait()
    except KeyboardInterrupt:  # the terminal has told Streamlit as well
        process.wait()
        code = 0
    raise typer.Exit(1 if code else 0)


def _page() -> Path:
    """The page's file, found without importing it."""
    spec = find_spec("dashboard")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "app.py"
