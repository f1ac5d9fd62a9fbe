"""Pictures of the pages from a study's database, in a real Chromium.

python tests/benchmarks/screenshots.py --storage sqlite:///pathfront.db --out docs [--study quick] [--trial 1]
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.extend(str(folder) for folder in Path(__file__).resolve().parents[1:3])  # tests, and the packages

from browser import CHROMIUM, DRIVER, MISSING, chromium, dashboard, resize, settled, wait

from search.read.results import Reader

HEIGHT = 900  # pixels, or as high as the page with --whole


def main() -> None:
    """Write studies.png, front.png, tasks.png, trials.png and trial.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--storage", required=True, help="URL of the database")
    parser.add_argument("--out", required=True, type=Path, help="folder for the pictures")
    parser.add_argument("--study", help="a study; else the latest")
    parser.add_argument("--trial", type=int, help="a trial to select; else the knee of the front")
    parser.add_argument("--width", type=int, default=1400, help="pixels")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light", help="of the system")
    parser.add_argument("--whole", action="store_true", help="the whole page instead of what is in view")
    options = parser.parse_args()
    if not (CHROMIUM and DRIVER):
        parser.exit(1, f"{MISSING}\n")
    study, trial = _subject(options.storage, options.study, options.trial)
    options.out.mkdir(parents=True, exist_ok=True)
    with dashboard(options.storage) as address, chromium(options.width, HEIGHT, options.scheme) as browser:
        for page in ("studies", "front", "tasks", "trials", "trial"):
            browser.get(f"{address}/{'' if page == 'studies' else page}?study={study}&trial={trial}")
            wait(browser, settled)
            time.sleep(1.5)  # fonts and the last animation
            if options.whole:
                _grow(browser, options.width)
            path = options.out / f"{page}.png"
            browser.save_screenshot(str(path))
            print(path)


def _subject(storage: str, study: str | None, trial: int | None) -> tuple[str, int]:
    from search.read.picks import picked

    reader = Reader(storage)
    name = study or reader.studies()[0].name
    front = reader.front(name)
    if trial is None:
        trial = picked(front, "knee").trial
    return name, trial


def _grow(browser, width: int) -> None:
    height = browser.execute_script(
        "const parts = [...document.querySelectorAll('[data-testid=stMain], body')];"
        "return Math.max(...parts.map(part => part.scrollHeight))"
    )
    resize(browser, width, height + 80)
    time.sleep(1.0)


if __name__ == "__main__":
    main()
