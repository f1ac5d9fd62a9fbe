"""`pathfront dashboard`: the page. It is a Streamlit process that stops with this command."""

import errno
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Annotated

import typer

from search.commands.options import Storage
from space.errors import PathfrontError, StudyFileError

NAME = "dashboard"
EXAMPLES = [
    "pathfront dashboard",
    "pathfront dashboard --port 9000 --storage postgresql://host/studies",
    "pathfront dashboard --host 0.0.0.0    # for other machines as well: there is no password",
]
START_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # addresses that mean all interfaces -> one to connect to


def run(
    storage: Storage = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the page.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 opens the page to other machines.")
    ] = "127.0.0.1",
) -> None:
    """Open the dashboard on a storage; Ctrl-C ends it."""
    from search.commands.output import say
    from search.database.storage import resolve_url, shown
    from search.read.results import Reader
    from search.signals import stop_signals

    url = resolve_url(storage)
    Reader(url).close()  # raises if the database does not exist or cannot be read
    _require_free(host, port)
    with stop_signals() as request:
        server = _start(url, host, port)
        try:
            if _answers(server, host, port, lambda: request.asked):
                say(f"dashboard on {shown(url)}: {_address(host, port)}  (Ctrl-C ends it)")
                while server.poll() is None and not request.asked:
                    time.sleep(POLL_SECONDS)
        finally:
            _end(server)
    if request.asked:
        error = request.error("the dashboard has ended")
        raise typer.Exit(0) if error.exit_code == 130 else error
    raise PathfrontError(f"the dashboard process exited unexpectedly with code {server.returncode}")


def _require_free(host: str, port: int) -> None:
    """Check that the address can be listened on.

    Raises:
        StudyFileError: the host is not an address of this machine.
        PathfrontError: the port is in use, or requires elevated privileges.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PathfrontError(
                    f"port {port} of {host} is taken; choose another one with --port"
                ) from None
            if error.errno == errno.EACCES:
                raise PathfrontError(
                    f"port {port} requires elevated privileges; choose a port from 1024 on"
                ) from None
            raise StudyFileError(
                f"--host is an address of this machine, got '{host}': {error.strerror}"
            ) from None


def _start(url: str, host: str, port: int) -> "subprocess.Popen[bytes]":
    """Start Streamlit in a session of its own, so that Ctrl-C reaches only this process."""
    from search.engines.child import python

    options = {
        "server.address": host,
        "server.port": str(port),
        "server.headless": "true",
        "browser.gatherUsageStats": "false",
        "logger.hideWelcomeMessage": "true",
        "logger.level": "warning",
    }
    return subprocess.Popen(
        python("-m", "dashboard.serve", *(f"--{key}={text}" for key, text in options.items())),
        env={**os.environ, "PATHFRONT_STORAGE": url},
        stdin=subprocess.PIPE,  # closed when this process ends, which ends the page, too
        stdout=subprocess.DEVNULL,  # banners; errors go to standard error
        start_new_session=True,
    )


def _answers(server: "subprocess.Popen[bytes]", host: str, port: int, stopped: Callable[[], bool]) -> bool:
    """Wait until the page answers; returns False if it ended or was stopped before that.

    Raises:
        PathfrontError: it does not answer in time.
    """
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and not stopped():
        if time.monotonic() > end:
            raise PathfrontError(f"the page does not answer after {START_SECONDS:.0f} s")
        connection = http.client.HTTPConnection(WILDCARDS.get(host, host), port, timeout=2)
        try:
            connection.request("GET", "/_stcore/health")
            if connection.getresponse().status == http.client.OK:
                return True
        except (OSError, http.client.HTTPException):
            pass  # not listening yet
        finally:
            connection.close()
        time.sleep(POLL_SECONDS)
    return False


def _end(server: "subprocess.Popen[bytes]") -> None:
    """Terminate the page's process; kill it if it does not end in time."""
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _address(host: str, port: int) -> str:
    """The URL to open in a browser."""
    name = socket.gethostname() if host in WILDCARDS else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
