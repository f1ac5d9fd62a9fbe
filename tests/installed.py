"""Pathfront as a user has it: a wheel in an environment of its own, used from a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("space", "trainers", "search", "dashboard", "studies")
SOURCES = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE")
SECONDS = 240  # for one command on a busy machine


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout from a copy of it, so that no build folder is left behind."""
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / name, folder / "source" / name)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    (wheel,) = folder.glob("*.whl")
    return wheel


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new environment that borrows all other packages from this one; its programs.

    The borrowed folders come last, and their own .pth files are not read: an editable install of the
    checkout among them has no effect.
    """
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    _pip("--python", folder / "bin" / "python", "install", "--no-deps", "--no-index", "--no-compile", wheel)
    return folder / "bin"


@dataclass
class User:
    """Somebody in a folder, with the environment's programs and nothing else set."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def of(cls, programs: Path, folder: Path, cache: Path) -> "User":
        """A user with a home of their own, in an empty folder inside it."""
        (folder / "home" / "work").mkdir(parents=True)
        environment = {
            "PATH": f"{programs}{os.pathsep}{os.defpath}",
            "HOME": str(folder / "home"),
            "PATHFRONT_CACHE": str(cache),
            "OMP_NUM_THREADS": "1",
        }
        return cls(folder / "home" / "work", environment)

    def write(self, name: str, text: str) -> None:
        """Put a file into the folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def run(self, line: str, code: int = 0, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
        """Type a line into a shell; it ends with this exit code and without a traceback."""
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
        said = f"{line}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == code, said
        assert "Traceback" not in said, said
        return done

    @contextmanager
    def serving(self, line: str) -> Iterator[int]:
        """Type a line that serves the page until the block ends; gives the port, which is added to it."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (self.folder.parent / "page.log").open("w+") as log:
            server = subprocess.Popen(
                ["sh", "-c", f"exec {line} --port {port}"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            try:
                _await_page(server, port, Path(log.name))
                yield port
            finally:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def page(port: int, name: str = "", query: str = "") -> str:
    """Run a page of the dashboard's script as a browser does; all that it drew, as text.

    Raises:
        AssertionError: the script raised an error.
    """
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
    from websockets.sync.client import connect

    asked = BackMsg()
    asked.rerun_script.page_name, asked.rerun_script.query_string = name, query
    drawn = []
    address = f"ws://127.0.0.1:{port}/_stcore/stream"
    with connect(address, subprotocols=["streamlit"], max_size=None, compression=None) as socket_:
        socket_.send(asked.SerializeToString())
        while True:
            message = ForwardMsg.FromString(socket_.recv(timeout=SECONDS))
            drawn.append(str(message))
            assert not message.delta.new_element.HasField("exception"), drawn[-1]
            if message.WhichOneof("type") == "script_finished":
                return "\n".join(drawn)


def _await_page(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the page is not served: {log.read_text()}")


def _pip(*arguments: object) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
