"""What does it take to add images at resolution, and to draw training windows of them?

    python tests/benchmarks/big_images.py --images 5000
    python tests/benchmarks/big_images.py --images 20000 --seconds 20

Stripes of twenty directions under noise are written as JPEG of 224x224 pixels, a tenth of them first and then
all. Each set is added in a process of its own. A line for each gives seconds, peak memory of its largest
process and of all together, sampled, and room on the disk; the last lines have the ratios, and the tokens
per second of windows of 1,024 tokens at `image: {side: 224, patch: 16}` with 0, 1 and 2 loader processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, LABELS, MEBI = 224, 20, 2**20
CONTEXT, BATCH, LOADERS = 1024, 8192, (0, 1, 2)
NAME = "big"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=15, help="of drawing, for each number of loaders")
    parser.add_argument("--add", type=Path, help=argparse.SUPPRESS)  # what a process of its own does
    parser.add_argument("--draw", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def write(folder: Path, count: int) -> None:
    """Write `count` images below `folder`, one folder for each direction of stripes."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 30, (SIDE + 64, SIDE + 64, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    for label in range(LABELS):
        (folder / f"label {label}").mkdir(parents=True)
    for number in range(count):
        label = number % LABELS
        angle = np.pi * (label + rng.uniform(-0.2, 0.2)) / LABELS
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.1, 0.3) + rng.uniform(0, 6))
        down, right = rng.integers(0, 64, 2)
        pixels = rng.uniform(60, 190, 3) + 60 * wave[:, :, None]
        pixels += noise[down : down + SIDE, right : right + SIDE]
        path = folder / f"label {label}" / f"{number}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=92)


def add(path: Path) -> None:
    """Add images as `pathfront data add` does, without floor and expert, and print what it took."""
    from trainers.tasks.datasets.library import add_dataset

    begun = time.perf_counter()
    dataset = add_dataset(NAME, path, lambda *_: None)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "size": dataset.size, "items": dataset.manifest.items}))


def draw(seconds: float) -> None:
    """Draw windows with each number of loaders, and print tokens per second."""
    from space.catalog import load_catalog
    from space.mixture import TaskMixture
    from space.records import ImageSetting, SuiteRecord
    from trainers.data import Mixer, MixtureData, load_corpora

    gato = load_catalog().suite("gato")
    suite = SuiteRecord.model_validate(
        gato.model_dump()
        | {
            "name": NAME,
            "tasks": (NAME,),
            "context": CONTEXT,
            "batch_tokens": BATCH,
            "encoders": gato.encoders | {"picture": 768},
            "image": ImageSetting(side=SIDE, patch=16),
        }
    )

    class Begin:
        global_step = 0

    mixer = Mixer(load_corpora(suite), TaskMixture.uniform(suite.tasks), suite, 0)
    rates = {}
    for loaders in LOADERS:
        data = MixtureData(mixer, loaders=loaders)
        data.trainer = Begin()  # pyright: ignore[reportAttributeAccessIssue]
        batches = iter(data.train_dataloader())
        for _ in range(1 + 4 * loaders):  # those that are ready already
            next(batches)
        begun, tokens = time.perf_counter(), 0
        while time.perf_counter() - begun < seconds:
            tokens += next(batches).tokens.numel()
        rates[loaders] = tokens / (time.perf_counter() - begun)
        del batches
    print(json.dumps(rates))


class Memory(threading.Thread):
    """Samples the memory of a process and of all that it started: private and shared pages, in bytes.

    Args:
        root: id of the process.

    Attributes:
        largest: peak of one process, resident.
        together: peak of the sum, of which each holds a share of the pages that they share.
    """

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root, self.largest, self.together = root, 0, 0
        self.over = threading.Event()

    def run(self) -> None:
        """Sample until it is over."""
        while not self.over.wait(0.2):
            found = [self._of(process) for process in self._tree(self.root)]
            self.largest = max([self.largest, *(resident for resident, _ in found)])
            self.together = max(self.together, sum(share for _, share in found))

    def _tree(self, root: int) -> list[int]:
        try:
            tasks = Path(f"/proc/{root}/task").iterdir()
            children = [int(i) for task in tasks for i in (task / "children").read_text().split()]
        except OSError:
            return []
        return [root, *(each for child in children for each in self._tree(child))]

    def _of(self, process: int) -> tuple[int, int]:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            return 0, 0
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines[1:]}
        return sizes.get("Rss", 0), sizes.get("Pss", 0)


def run(folder: Path, *options: str) -> tuple[dict[str, float], Memory]:
    """Run this file in a process of its own -> what it printed, and its memory."""
    places = {f"PATHFRONT_{name}": str(folder / name) for name in ("DATA", "CACHE")}
    process = subprocess.Popen(
        [sys.executable, __file__, *options], env=os.environ | places, stdout=subprocess.PIPE, text=True
    )
    memory = Memory(process.pid)
    memory.start()
    printed, _ = process.communicate()
    memory.over.set()
    memory.join()
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(printed), memory


def measured(folder: Path, count: int) -> tuple[float, int]:
    """Make and add images, and print a line about it -> seconds, and the peak of the largest process."""
    write(folder / "in", count)
    source = sum(path.stat().st_size for path in (folder / "in").rglob("*.jpg"))
    found, memory = run(folder, "--add", str(folder / "in"))
    print(
        f"{count:,} images, {source / MEBI:,.0f} MiB: {found['items']:,} added in {found['seconds']:.1f} s;"
        f" peak memory of the largest process {memory.largest / MEBI:.0f} MiB, of all together"
        f" {memory.together / MEBI:.0f} MiB; {found['size'] / MEBI:,.0f} MiB on the disk",
        flush=True,
    )
    return found["seconds"], memory.largest


def main() -> None:
    """Add a tenth of the images, then all of them, and draw windows."""
    options = arguments()
    if options.add is not None:
        add(options.add)
    elif options.draw:
        draw(options.seconds)
    else:
        with tempfile.TemporaryDirectory() as place:
            tenth, whole = Path(place) / "tenth", Path(place) / "whole"
            few = measured(tenth, max(100, options.images // 10))
            many = measured(whole, options.images)
            print(f"ten times the images: {many[0] / few[0]:.1f} times the seconds,", end=" ")
            print(f"{many[1] / few[1]:.2f} times the memory", flush=True)
            rates, memory = run(whole, "--draw", "--seconds", str(options.seconds))
        told = ", ".join(f"{rate:,.0f} with {loaders}" for loaders, rate in rates.items())
        print(f"tokens per second by loaders: {told}; largest process {memory.largest / MEBI:.0f} MiB")


if __name__ == "__main__":
    main()
