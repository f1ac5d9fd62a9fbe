"""What does it take to add a text of a given size: seconds, memory, room on the disk?

    python tests/benchmarks/big_text.py --megabytes 100
    python tests/benchmarks/big_text.py --megabytes 1000 --format jsonl.zst

A text of words drawn with the frequencies of a language is written, a tenth of it first and then all. Each is
added in a process of its own. A line for each gives seconds and peak memory of reading and of tokenising, and
the room that text and tokens take. The last line has the ratios: of seconds it should be ten, of memory one.
"""

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

FORMATS = ("txt", "jsonl", "jsonl.gz", "jsonl.zst", "parquet")
DOCUMENT = 3_000  # bytes
VOCABULARY, LETTERS = 50_000, "etaoinshrdlucmfwypvbgkqjxz"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--format", choices=FORMATS, default="jsonl")
    parser.add_argument("--add", type=Path, help=argparse.SUPPRESS)  # what a process of its own does
    return parser.parse_args()


def made(size: int) -> Iterator[str]:
    """Documents of some `DOCUMENT` bytes, `size` bytes in all."""
    rng = np.random.default_rng(0)
    shares = 1 / np.arange(1, len(LETTERS) + 1)
    lengths = rng.integers(2, 10, VOCABULARY)
    words = ["".join(rng.choice(list(LETTERS), n, p=shares / shares.sum())) for n in lengths]
    frequencies = 1 / np.arange(1, VOCABULARY + 1)
    bounds = np.cumsum(frequencies / frequencies.sum())
    done = 0
    while done < size:
        drawn = np.searchsorted(bounds, rng.random(480)).clip(0, VOCABULARY - 1)
        text = [" ".join(words[i] for i in part) + "." for part in drawn.reshape(8, -1)]
        document = "\n\n".join(text)
        done += len(document)
        yield document


def write(path: Path, size: int) -> None:
    """Write a text in the format of the file's name."""
    if path.suffix == ".parquet":
        write_parquet(path, size)
        return
    with path.open("wb") as raw, opened(path, raw) as file:
        for document in made(size):
            if ".jsonl" in path.name:
                file.write(json.dumps({"text": document}).encode() + b"\n")
            else:
                file.write(document.encode() + b"\n\n")


def opened(path: Path, raw: BinaryIO) -> BinaryIO:
    """A file to write to, compressed as its name says."""
    if path.suffix == ".gz":
        return gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1)  # pyright: ignore[reportReturnType]
    if path.suffix == ".zst":
        from zstandard import ZstdCompressor

        return ZstdCompressor().stream_writer(raw)  # pyright: ignore[reportReturnType]
    return raw


def write_parquet(path: Path, size: int) -> None:
    """Write a Parquet file, a thousand rows at a time."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = pyarrow.schema([("text", pyarrow.string())])
    rows: list[str] = []
    with ParquetWriter(path, schema) as writer:
        for document in made(size):
            rows.append(document)
            if len(rows) == 1000:
                writer.write_table(pyarrow.table({"text": rows}, schema))
                rows = []
        if rows:
            writer.write_table(pyarrow.table({"text": rows}, schema))


def peak() -> int:
    """The largest memory that this process or one that it started has had so far, in bytes."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(each).ru_maxrss for each in who)


def add(path: Path) -> None:
    """Add a text as `pathfront data add` does, without floor and expert, and print what it took."""
    from trainers.tasks.cache import cache_folder
    from trainers.tasks.datasets.library import add_dataset
    from trainers.tasks.datasets.text_task import AddedText
    from trainers.tasks.measure import own_suite
    from trainers.tasks.registry import load_task

    base, begun = peak(), time.perf_counter()
    dataset = add_dataset("big", path, lambda *_: None)
    read, read_peak = time.perf_counter(), peak()
    task = load_task("big", own_suite())
    assert isinstance(task, AddedText)
    episodes = task.tokenise(lambda *_: None)
    tokenised = time.perf_counter()
    print(
        json.dumps(
            {
                "read": read - begun,
                "tokenised": tokenised - read,
                "base": base,
                "read_peak": read_peak,
                "tokenised_peak": peak(),
                "tokens": len(episodes.tokens),
                "text_size": dataset.size,
                "tokens_size": sum(file.stat().st_size for file in cache_folder().iterdir()),
            }
        )
    )


def measured(folder: Path, megabytes: int, suffix: str) -> dict[str, float]:
    """Make and add a text in a process of its own, and print a line about it."""
    path = folder / f"big-{megabytes}.{suffix}"
    write(path, megabytes * 10**6)
    places = {f"PATHFRONT_{name}": str(folder / f"{name}-{megabytes}") for name in ("DATA", "CACHE")}
    done = subprocess.run(
        [sys.executable, __file__, "--add", str(path)],
        env=os.environ | places,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    million = {name: value / 1e6 for name, value in found.items()}
    print(
        f"{megabytes:,} MB as {suffix}, {path.stat().st_size / 1e6:,.0f} MB: read in {found['read']:.1f} s,"
        f" tokenised in {found['tokenised']:.1f} s; peak memory {million['read_peak']:.0f} MB and"
        f" {million['tokenised_peak']:.0f} MB ({million['base']:.0f} MB before); {million['tokens']:.1f}M"
        f" tokens; on the disk {million['text_size']:.0f} MB of text and {million['tokens_size']:.0f} MB of"
        " tokens",
        flush=True,
    )
    return found


def main() -> None:
    """Add a tenth of a text, then all of it."""
    options = arguments()
    if options.add is not None:
        add(options.add)
        return
    with tempfile.TemporaryDirectory() as folder:
        tenth, whole = (
            measured(Path(folder), max(1, options.megabytes // part), options.format) for part in (10, 1)
        )
    seconds = [sum(found[name] for name in ("read", "tokenised")) for found in (whole, tenth)]
    print(f"ten times the text: {seconds[0] / seconds[1]:.1f} times the seconds,", end=" ")
    print(f"{whole['tokenised_peak'] / tenth['tokenised_peak']:.2f} times the memory")


if __name__ == "__main__":
    main()
