"""How long the Front takes to show its first points with 10,000 trials against 100, and what a click costs.

python tests/benchmarks/page_open.py [--trials 10000] [--rounds 7]

Both studies are opened in turn in one Chromium; the ratio of the medians is what counts, the times depend on
the machine.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.extend(str(folder) for folder in Path(__file__).resolve().parents[1:3])  # tests, and the packages

from browser import CHROMIUM, DRIVER, MISSING, chromium, dashboard, page_text, points_drawn, settled, wait
from factories import make_study

SMALL = 100
DETAIL = "return document.querySelector('.st-key-detail')?.innerText || ''"


def main() -> None:
    """Print medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if not (CHROMIUM and DRIVER):
        parser.exit(1, f"{MISSING}\n")
    with tempfile.TemporaryDirectory() as folder:
        storage = f"sqlite:///{folder}/pathfront.db"
        for trials in (SMALL, options.trials):
            make_study(storage, name=f"of-{trials}", trials=trials, curve_points=2)
        with dashboard(storage) as address:
            opened, detailed = _measure(address, (SMALL, options.trials), options.rounds)
    _print("first points, page opened", opened)
    _print("detail, trial in the address", detailed)


def _measure(address: str, sizes: tuple[int, ...], rounds: int) -> tuple[dict, dict]:
    """Seconds of each round by number of trials: to the points, and from them to a trial's detail."""
    opened: dict[int, list[float]] = {size: [] for size in sizes}
    detailed: dict[int, list[float]] = {size: [] for size in sizes}
    with chromium() as browser:
        for turn in range(rounds + 1):
            for size in sizes:
                start = time.perf_counter()
                browser.get(f"{address}/front?study=of-{size}")
                wait(browser, lambda page, size=size: points_drawn(page) == size, 120)
                points = time.perf_counter() - start
                wait(browser, settled)
                start = time.perf_counter()
                browser.get(f"{address}/front?study=of-{size}&trial=3")
                wait(browser, lambda page: "Trial 3" in page.execute_script(DETAIL), 120)
                if turn:  # the first turn fills the browser's and the server's caches
                    opened[size].append(points)
                    detailed[size].append(time.perf_counter() - start)
        assert "Front" in page_text(browser)
    return opened, detailed


def _print(what: str, seconds: dict[int, list[float]]) -> None:
    medians = {size: statistics.median(values) for size, values in seconds.items()}
    for size, median in medians.items():
        spread = f"{min(seconds[size]):.2f} to {max(seconds[size]):.2f}"
        print(f"{what}, {size:,} trials: median {median:.2f} s ({spread})")
    small, large = medians.values()
    print(f"{what}: ratio {large / small:.2f}")


if __name__ == "__main__":
    main()
