"""What does it take to add images or sounds, and to draw training windows of them?

    python tests/benchmarks/big_items.py images --count 5000
    python tests/benchmarks/big_items.py sounds --count 2000 --seconds 20

Images are stripes of twenty directions under noise, JPEG of 224x224 pixels; sounds are ten seconds of a tone
of one of twenty pitches that comes and goes under noise, FLAC at 16 kHz. A tenth of them is written first and
then all. Each set is added in a process of its own. A line for each gives seconds, peak memory of its largest
process and of all together, sampled, and room on the disk; the last lines have the ratios, and the tokens per
second of windows of 1,024 tokens with 0, 1 and 2 loader processes, at `image: {side: 224, patch: 16}` or
`sound: {seconds: 10, patch: 8}`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, LABELS, MEBI = 224, 20, 2**20
RATE, LENGTH = 16_000, 10  # samples a second, and seconds
CONTEXT, BATCH, LOADERS = 1024, 8192, (0, 1, 2)
NAME = "big"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=WRITERS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=15, help="of drawing, for each number of loaders")
    parser.add_argument("--add", type=Path, help=argparse.SUPPRESS)  # what a process of its own does
    parser.add_argument("--draw", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_images(folder: Path, count: int) -> None:
    """Write `count` images below `folder`, one folder for each direction of stripes."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 30, (SIDE + 64, SIDE + 64, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        label = number % LABELS
        angle = np.pi * (label + rng.uniform(-0.2, 0.2)) / LABELS
        wave = np.sin((x * np.cos(angle) + y * np.sin(angle)) * rng.uniform(0.1, 0.3) + rng.uniform(0, 6))
        down, right = rng.integers(0, 64, 2)
        pixels = rng.uniform(60, 190, 3) + 60 * wave[:, :, None]
        pixels += noise[down : down + SIDE, right : right + SIDE]
        path = place(folder, label) / f"{number}.jpg"
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=92)


def write_sounds(folder: Path, count: int) -> None:
    """Write `count` sounds below `folder`, one folder for each pitch."""
    import soundfile

    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, 8 * RATE * LENGTH)
    clock = np.arange(RATE * LENGTH) / RATE
    for number in range(count):
        label = number % LABELS
        pitch = 200 * 1.15 ** (label + rng.uniform(-0.2, 0.2))
        loudness = 0.2 * np.abs(np.sin(clock * rng.uniform(0.3, 3) + rng.uniform(0, 6)))
        first = int(rng.integers(0, len(noise) - len(clock)))
        sound = loudness * np.sin(2 * np.pi * pitch * clock) + noise[first : first + len(clock)]
        soundfile.write(place(folder, label) / f"{number}.flac", sound, RATE)


WRITERS: dict[str, Callable[[Path, int], None]] = {"images": write_images, "sounds": write_sounds}


def place(folder: Path, label: int) -> Path:
    """The folder of a label."""
    found = folder / f"label {label}"
    found.mkdir(parents=True, exist_ok=True)
    return found


def add(path: Path) -> None:
    """Add items as `pathfront data add` does, without floor and expert, and print what it took."""
    from trainers.tasks.datasets.library import add_dataset

    begun = time.perf_counter()
    dataset = add_dataset(NAME, path, lambda *_: None)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "size": dataset.size, "items": dataset.manifest.items}))


def draw(kind: str, seconds: float) -> None:
    """Draw windows with each number of loaders, and print tokens per second."""
    from space.catalog import load_catalog
    from space.images import PICTURE
    from space.mixture import TaskMixture
    from space.records import ImageSetting, SoundSetting, SuiteRecord
    from space.sounds import BANDS, SOUND
    from trainers.data import Mixer, MixtureData, load_corpora

    image, sound = ImageSetting(side=SIDE, patch=16), SoundSetting(seconds=LENGTH)
    seen = {
        "images": {"image": image, "encoders": {PICTURE: 3 * image.patch**2}},
        "sounds": {"sound": sound, "encoders": {SOUND: BANDS * sound.patch}},
    }
    settings = {"name": NAME, "tasks": (NAME,), "context": CONTEXT, "batch_tokens": BATCH}
    suite = SuiteRecord.model_validate(load_catalog().suite("gato").model_dump() | settings | seen[kind])

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


def measured(folder: Path, kind: str, count: int) -> tuple[float, int]:
    """Make and add items, and print a line about it -> seconds, and the peak of the largest process."""
    WRITERS[kind](folder / "in", count)
    source = sum(path.stat().st_size for path in (folder / "in").rglob("*.*"))
    found, memory = run(folder, kind, "--add", str(folder / "in"))
    print(
        f"{count:,} {kind}, {source / MEBI:,.0f} MiB: {found['items']:,} added in {found['seconds']:.1f} s;"
        f" peak memory of the largest process {memory.largest / MEBI:.0f} MiB, of all together"
        f" {memory.together / MEBI:.0f} MiB; {found['size'] / MEBI:,.0f} MiB on the disk",
        flush=True,
    )
    return found["seconds"], memory.largest


def main() -> None:
    """Add a tenth of the items, then all of them, and draw windows."""
    options = arguments()
    if options.add is not None:
        add(options.add)
    elif options.draw:
        draw(options.kind, options.seconds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            tenth, whole = Path(folder) / "tenth", Path(folder) / "whole"
            few = measured(tenth, options.kind, max(100, options.count // 10))
            many = measured(whole, options.kind, options.count)
            print(f"ten times the {options.kind}: {many[0] / few[0]:.1f} times the seconds,", end=" ")
            print(f"{many[1] / few[1]:.2f} times the memory", flush=True)
            rates, memory = run(whole, options.kind, "--draw", "--seconds", str(options.seconds))
        told = ", ".join(f"{rate:,.0f} with {loaders}" for loaders, rate in rates.items())
        print(f"tokens per second by loaders: {told}; largest process {memory.largest / MEBI:.0f} MiB")


if __name__ == "__main__":
    main()
