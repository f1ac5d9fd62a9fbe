"""Does a study of four candidates run on a large text, a set of images and a set of captions?

    python tests/benchmarks/big_study.py      # 100 MB of text, 5,000 images, 5,000 captions
    python tests/benchmarks/big_study.py --megabytes 1000 --images 100000 --captions 20000

The sets are those of `big_text.py` and `big_items.py`; captions name colour and direction of stripes. Each is
added by the command, then a study of four tiny candidates at `image: {side: 224, patch: 16}` is launched. It
prints what the commands print, and the seconds of each.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import big_items
import big_text
import numpy as np
from PIL import Image

COLOURS = {"red": (200, 60, 60), "green": (60, 180, 60), "blue": (60, 60, 200), "grey": (130, 130, 130)}
WAYS = {"level": 0.0, "rising": np.pi / 4, "upright": np.pi / 2, "falling": 3 * np.pi / 4}
STUDY = """\
study: big
suite: [big-text, big-images, big-captions]
image: {side: 224, patch: 16}
context: 256
batch_tokens: 2048
space: {depth: 2, width: {choices: [32, 48]}, experts: {choices: [1, 4]}}
rungs: {tokens: [100_000]}
stop: {candidates: 4}
"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=100, help="of text")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--captions", type=int, default=5000)
    return parser.parse_args()


def write_captions(folder: Path, count: int) -> None:
    """Write `count` images of coloured stripes, and a file of records with their captions."""
    rng = np.random.default_rng(1)
    side = big_items.SIDE
    y, x = np.mgrid[:side, :side]
    folder.mkdir()
    with (folder / "captions.jsonl").open("w") as records:
        for number in range(count):
            colour, way = rng.choice([*COLOURS]), rng.choice([*WAYS])
            angle = WAYS[way] + rng.normal(0, 0.1)
            wave = np.sin((y * np.cos(angle) + x * np.sin(angle)) * rng.uniform(0.1, 0.3) + rng.uniform(0, 6))
            pixels = np.array(COLOURS[colour]) + 50 * wave[:, :, None] + rng.normal(0, 10, (side, side, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{number}.jpg")
            records.write(
                json.dumps({"image": f"{number}.jpg", "caption": f"{colour} stripes, {way}"}) + "\n"
            )


def run(folder: Path, *words: str) -> None:
    """Run a command of Pathfront in a folder, and print how long it took."""
    places = {f"PATHFRONT_{name}": str(folder / name.lower()) for name in ("DATA", "CACHE")}
    begun = time.perf_counter()
    command = [sys.executable, "-m", "search.cli", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ | places, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    print(f"{' '.join(words)}: {time.perf_counter() - begun:.0f} s", flush=True)


def main() -> None:
    """Make the sets, add them, search on them."""
    options = arguments()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        big_text.write(folder / "text.jsonl", options.megabytes * 10**6)
        run(folder, "data", "add", "big-text", "text.jsonl")
        big_items.write_images(folder / "images", options.images)
        run(folder, "data", "add", "big-images", "images")
        write_captions(folder / "captions", options.captions)
        run(folder, "data", "add", "big-captions", "captions")
        (folder / "big.yaml").write_text(STUDY)
        run(folder, "launch", "big.yaml")


if __name__ == "__main__":
    main()
