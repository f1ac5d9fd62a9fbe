"""`pathfront dashboard` as a process: how it starts, where it listens, and that nothing outlives it."""

import http.client
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import browser
import pytest
from factories import make_study


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('served') / 'pathfront.db'}"
    make_study(url, trials=4)
    return url


def port_of(address):
    return int(address.rsplit(":", 1)[1])


def healthy(address):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(address), timeout=5)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.client.OK
    finally:
        connection.close()


def listens(host, port):
    with socket.socket() as caller:
        caller.settimeout(5)
        return caller.connect_ex((host, port)) == 0


def eventually(met):
    """Wait for a condition; the test's own time limit ends it."""
    while not met():
        time.sleep(0.05)
    return True


def dashboard_once(*options, **more):
    """Run the command to its end -> (exit code, stdout, stderr)."""
    done = subprocess.run(
        [str(browser.PATHFRONT), "dashboard", *options],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        **more,
    )
    return done.returncode, done.stdout, done.stderr


def test_the_address_is_said_once_the_page_answers_and_nothing_else_is(url):
    with browser.started(url) as server:
        assert healthy(server.address)  # at the first try
        assert re.fullmatch(r"dashboard on sqlite:\S+: http://127\.0\.0\.1:\d+  .*\n", server.log.read_text())


@pytest.mark.parametrize(
    ("number", "code", "last"),
    [
        pytest.param(signal.SIGTERM, 143, "interrupted: the dashboard has ended\n", marks=pytest.mark.slow),
        (signal.SIGINT, 0, "(Ctrl-C ends it)\n"),
        pytest.param(signal.SIGKILL, -9, "(Ctrl-C ends it)\n", marks=pytest.mark.slow),
    ],
)
def test_the_page_ends_with_its_command_however_that_ends(url, number, code, last):
    with browser.started(url) as server:
        os.kill(server.process.pid, number)
        assert server.process.wait(timeout=60) == code
        assert eventually(lambda: not listens("127.0.0.1", port_of(server.address)))
        assert server.log.read_text().endswith(last)


def test_a_signal_while_it_starts_ends_it_as_well(url):
    port = browser.free_port()
    command = [str(browser.PATHFRONT), "dashboard", "--storage", url, "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        if not os.path.exists(children):
            process.kill()
            pytest.skip("this system does not list the children of a process")
        eventually(lambda: Path(children).read_text())
        (child,) = Path(children).read_text().split()
        process.terminate()
        assert process.wait(timeout=60) == 143
    assert eventually(lambda: not os.path.exists(f"/proc/{child}"))


def test_it_listens_on_loopback_alone_unless_a_host_is_named(url):
    with browser.started(url) as server:
        assert not listens("127.0.0.2", port_of(server.address))
    with browser.started(url, "--host", "0.0.0.0") as server:
        assert listens("127.0.0.2", port_of(server.address))
        assert f"http://{socket.gethostname()}:" in server.log.read_text()


def test_a_taken_port_is_one_line_before_anything_else(url):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        code, out, err = dashboard_once("--storage", url, "--port", str(port))
    assert (code, out) == (1, "")
    assert err == f"error: port {port} of 127.0.0.1 is taken; choose another one with --port\n"


def test_a_host_of_another_machine_is_one_line(url):
    code, out, err = dashboard_once("--storage", url, "--host", "203.0.113.7")
    assert (code, out) == (2, "")
    assert err.startswith("error: --host is an address of this machine, got '203.0.113.7'")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_modules_of_the_users_folder_do_not_shadow_ours(url, tmp_path):
    for name in ("search", "space", "trainers", "dashboard", "streamlit", "plotly"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    with browser.started(url, folder=tmp_path) as server:
        assert healthy(server.address)
        if browser.CHROMIUM and browser.DRIVER:
            with browser.chromium() as page:
                page.get(f"{server.address}/front?study=quick")
                browser.wait(page, browser.points_drawn)
        assert "wrong module" not in server.log.read_text()


def test_nobody_is_asked_on_the_internet_by_the_server(url):
    with browser.Recorder() as proxy:
        place = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), proxy.address)
        with browser.started(url, "--host", "0.0.0.0", environment=place) as server:
            assert healthy(server.address)
    assert proxy.asked == []
