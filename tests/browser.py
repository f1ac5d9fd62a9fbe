"""The dashboard as a server, and a Chromium to look at it: for browser tests and benchmarks."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

PATHFRONT = Path(sys.executable).with_name("pathfront")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "chromium and chromedriver are not on the path; on Debian: apt-get install chromium chromium-driver"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


class Server(NamedTuple):
    """A running `pathfront dashboard`: its process, its page's address, the file with what it says."""

    process: "subprocess.Popen[bytes]"
    address: str
    log: Path


@contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """Serve the dashboard over a database; yields its address."""
    with started(storage) as server:
        yield server.address


@contextmanager
def started(
    storage: str, *options: str, folder: Path | None = None, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Run `pathfront dashboard` on a free port until it has said its address.

    Args:
        storage: URL of the database.
        options: further options of the command.
        folder: working folder.
        environment: variables to set.
    """
    command = [str(PATHFRONT), "dashboard", "--storage", storage, "--port", str(free_port()), *options]
    with tempfile.TemporaryDirectory(prefix="dashboard-") as place:
        log = Path(place) / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                command, env=os.environ | (environment or {}), cwd=folder, stdout=said, stderr=said
            )
        try:
            yield Server(process, _said_address(process, log), log)
        finally:
            process.terminate()
            process.wait(timeout=20)


def _said_address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    while True:
        ended = process.poll() is not None
        found = re.search(r"http://\S+", log.read_text())
        if found:
            return found[0]
        if ended:
            raise RuntimeError(f"the dashboard did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def chromium(width: int = 1400, height: int = 900, scheme: str = "light") -> Iterator[webdriver.Chrome]:
    """A fresh headless Chromium with a profile of its own.

    Args:
        width: in pixels, as height.
        height: of the window.
        scheme: light or dark, as a system tells a browser.
    """
    options = Options()
    options.binary_location = CHROMIUM or ""
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
        browser = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            resize(browser, width, height)
            prefer(browser, scheme)
            yield browser
        finally:
            browser.quit()


def resize(browser: webdriver.Chrome, width: int, height: int) -> None:
    """Give the page a size in pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def requests(browser: webdriver.Chrome) -> list[str]:
    """What the page has asked for since this was called last: addresses of files and of sockets."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"]["request"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    sockets = [m["params"] for m in messages if m["method"] == "Network.webSocketCreated"]
    return [request["url"] for request in [*sent, *sockets]]


def prefer(browser: webdriver.Chrome, scheme: str) -> None:
    """Let the browser say that the system prefers the light or the dark scheme."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


class Recorder:
    """A proxy that notes what it was asked for, and fetches nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._record)

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with socket.create_connection(self._listener.getsockname()):
            pass  # an empty request ends it
        self._thread.join()
        self._listener.close()

    def _record(self) -> None:
        while True:
            caller, _ = self._listener.accept()
            with caller, caller.makefile("rb") as request:
                line = request.readline().decode("latin-1").strip()
            if not line:
                return
            self.asked.append(line)


def wait(browser: webdriver.Chrome, met: Callable[[webdriver.Chrome], Any], seconds: float = 20) -> Any:
    """Wait until a condition returns something true, and return that.

    Raises:
        TimeoutError: it did not within the time; the message holds the text of the page.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = met(browser)
        if found:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"at {browser.current_url}: {page_text(browser)[:2000]}")


def page_text(browser: webdriver.Chrome) -> str:
    """All text in view."""
    return browser.execute_script("return document.body.innerText")


def points_drawn(browser: webdriver.Chrome) -> int:
    """Points that the first chart of the page has drawn, over all its traces of markers."""
    return browser.execute_script(
        """
        const chart = document.querySelector('.js-plotly-plot');
        if (!chart || !chart._fullData || !document.querySelector('.js-plotly-plot .xtick')) return 0;
        const points = chart._fullData.filter(trace => trace.mode === 'markers' && trace.customdata);
        return points.reduce((sum, trace) => sum + trace._length, 0);
        """
    )


def settled(browser: webdriver.Chrome) -> bool:
    """Whether the page has stopped running its script, with all its charts drawn."""
    return browser.execute_script(
        """
        const app = document.querySelector('[data-testid="stApp"]');
        if (!app || app.dataset.testScriptState !== 'notRunning') return false;
        if (document.querySelector('[data-testid="stSkeleton"]')) return false;
        return [...document.querySelectorAll('.js-plotly-plot')].every(c => c.querySelector('.main-svg'));
        """
    )
