"""The dashboard as a server, and a Chromium to look at it: for browser tests and benchmarks."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent
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
START_SECONDS = 60.0


@contextmanager
def dashboard(storage: str) -> Iterator[str]:
    """Serve the dashboard over a database; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "app.py")]
    command += ["--server.port", str(port), "--server.address", "127.0.0.1"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            command, env=os.environ | {"PATHFRONT_STORAGE": storage}, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_for_server(server, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=20)


def _wait_for_server(server: subprocess.Popen[bytes], address: str, log: Any) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            with urlopen(f"{address}/_stcore/health", timeout=2):
                return
        except OSError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
    log.seek(0)
    raise RuntimeError(f"the dashboard did not start: {log.read().decode()[-2000:]}")


@contextmanager
def chromium(width: int = 1400, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A fresh headless Chromium with a profile of its own; sizes in pixels."""
    options = Options()
    options.binary_location = CHROMIUM or ""
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"):
            options.add_argument(flag)
        browser = webdriver.Chrome(options=options, service=Service(DRIVER))
        try:
            browser.execute_cdp_cmd(
                "Emulation.setDeviceMetricsOverride",
                {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
            )
            yield browser
        finally:
            browser.quit()


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
