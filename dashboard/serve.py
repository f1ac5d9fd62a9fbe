"""Run Streamlit with `app.py` until the command that started this process ends.

`pathfront dashboard` holds the other end of this process's standard input. The system closes it when that
command ends for any reason, even a SIGKILL, so that the port is always released.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from streamlit.web.cli import main as streamlit

APP = Path(__file__).with_name("app.py")
GRACE_SECONDS = 5.0  # for Streamlit to close its sessions


def main() -> None:
    """Serve the page; the arguments are Streamlit's own."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    streamlit(["run", str(APP), *sys.argv[1:]])


def _end_with_parent() -> None:
    """Wait for the end of standard input, then end this process."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
