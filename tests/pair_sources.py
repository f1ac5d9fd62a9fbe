"""Small sets of pairs in every format that is read, made of generated pictures and tones."""

import base64
import csv
import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow
import soundfile
import zstandard
from PIL import Image
from pyarrow.parquet import write_table

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
SHAPES = ("square", "circle")
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


def picture(colour: str, shape: str, rng: np.random.Generator, side: int = 40, kind: str = "PNG") -> bytes:
    """A shape somewhere on noise, encoded."""
    pixels = rng.integers(0, 40, (side, side, 3))
    x, y = rng.integers(3 * side // 10, 7 * side // 10, 2)
    rows, columns = np.mgrid[:side, :side]
    across, down, half = abs(columns - x), abs(rows - y), side // 4
    inside = (across < half) & (down < half) if shape == "square" else across**2 + down**2 < half**2
    pixels[inside] = COLOURS[colour]
    return encoded(pixels.astype(np.uint8), kind)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, kind)
    return written.getvalue()


def scenes(count: int, seed: int = 0) -> list[tuple[bytes, str, str]]:
    """Pictures with their colours and shapes."""
    rng = np.random.default_rng(seed)
    drawn = [(str(rng.choice([*COLOURS])), str(rng.choice(SHAPES))) for _ in range(count)]
    return [(picture(colour, shape, rng), colour, shape) for colour, shape in drawn]


def captions(count: int, seed: int = 0) -> list[tuple[bytes, str]]:
    return [(image, f"a {colour} {shape}") for image, colour, shape in scenes(count, seed)]


def tone(pitch: float, seed: int, rate: int = 8000, seconds: float = 0.6, kind: str = "WAV") -> bytes:
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    written = io.BytesIO()
    sound = 0.3 * np.sin(2 * np.pi * pitch * time) + rng.normal(0, 0.02, len(time))
    soundfile.write(written, sound, rate, "PCM_16", format=kind)
    return written.getvalue()


def lines(rows, packed: str = "") -> bytes:
    return PACKED[packed](b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def questions(folder: Path, count: int = 150, seed: int = 0) -> Path:
    """Two questions about each picture, with the answers that people gave, as VQA has them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, (image, colour, shape) in enumerate(scenes(count, seed)):
        (folder / f"{i}.png").write_bytes(image)
        said = [{"answer": colour}, {"answer": f"{colour.upper()}."}, {"answer": "coloured"}]
        rows.append({"image": f"{i}.png", "question": "What colour is it?", "answers": said})
        rows.append({"image": f"{i}.png", "question": "What shape is it?", "answers": [{"answer": shape}]})
    (folder / "questions.jsonl").write_bytes(lines(rows))
    return folder / "questions.jsonl"


def _files(folder: Path, pairs) -> list[str]:
    for i, (image, _) in enumerate(pairs):
        (folder / "pictures").mkdir(exist_ok=True)
        (folder / "pictures" / f"{i:03}.png").write_bytes(image)
    return [f"pictures/{i:03}.png" for i in range(len(pairs))]


def _jsonl(folder: Path, pairs, packed: str) -> None:
    paths = _files(folder, pairs)
    rows = [{"image": path, "caption": text} for path, (_, text) in zip(paths, pairs, strict=True)]
    (folder / f"rows.jsonl{packed}").write_bytes(lines(rows, packed))


def _base64(folder: Path, pairs) -> None:
    rows = [{"img": base64.b64encode(image).decode(), "caption": text} for image, text in pairs]
    rows[1]["img"] = "data:image/png;base64," + rows[1]["img"]
    (folder / "rows.jsonl").write_bytes(lines(rows))


def _csv(folder: Path, pairs) -> None:
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file_name", "text"])
        writer.writerows([path, text] for path, (_, text) in zip(_files(folder, pairs), pairs, strict=True))


def _table(pairs, struct: bool = True) -> pyarrow.Table:
    images = [{"bytes": image, "path": None} if struct else image for image, _ in pairs]
    return pyarrow.table({"image": images, "caption": [text for _, text in pairs]})


def _saved(folder: Path, pairs) -> None:
    """As `datasets.save_to_disk` writes it, in two shards."""
    (folder / "state.json").write_text("{}")
    (folder / "dataset_info.json").write_text("{}")
    half = len(pairs) // 2
    for shard, part in enumerate((pairs[:half], pairs[half:])):
        table = _table(part)
        path = folder / f"data-{shard:05}-of-00002.arrow"
        with pyarrow.OSFile(str(path), "wb") as out, pyarrow.ipc.new_stream(out, table.schema) as stream:
            stream.write_table(table, max_chunksize=20)
    (folder / "cache-0123.arrow").write_bytes(b"what datasets computed")


def _shards(folder: Path, pairs, packed: str) -> None:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as shard:
        for i, (image, text) in enumerate(pairs):
            last = (
                ("json", json.dumps({"caption": text}).encode()) if i % 2 else ("caption.txt", text.encode())
            )
            for suffix, content in (("png", image), last):
                info = tarfile.TarInfo(f"a/{i:04}.{suffix}")
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    (folder / f"shard-000.tar{packed}").write_bytes(PACKED[packed](written.getvalue()))


FORMATS = {
    "jsonl": lambda folder, pairs: _jsonl(folder, pairs, ""),
    "jsonl.gz": lambda folder, pairs: _jsonl(folder, pairs, ".gz"),
    "jsonl.zst": lambda folder, pairs: _jsonl(folder, pairs, ".zst"),
    "base64": _base64,
    "csv": _csv,
    "parquet": lambda folder, pairs: write_table(_table(pairs), folder / "a.parquet", row_group_size=25),
    "parquet of bytes": lambda folder, pairs: write_table(_table(pairs, struct=False), folder / "a.parquet"),
    "arrow": _saved,
    "tar": lambda folder, pairs: _shards(folder, pairs, ""),
    "tar.gz": lambda folder, pairs: _shards(folder, pairs, ".gz"),
    "tar.zst": lambda folder, pairs: _shards(folder, pairs, ".zst"),
}
"""Name -> writes pairs of image and caption into a folder."""
