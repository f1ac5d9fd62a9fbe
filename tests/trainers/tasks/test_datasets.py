"""A user's folders as data sets: what is read, how it is split, what is refused, and their tasks."""

import errno
import gzip
import os
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.io import wavfile
from scipy.signal import resample_poly

from space.errors import MachineError, NotFoundError, StudyFileError, TaskError
from space.records import SPLITS
from trainers.tasks.contract import check_task
from trainers.tasks.datasets import documents
from trainers.tasks.datasets import library as datasets
from trainers.tasks.datasets.content import Item, LeftOut, assign_splits
from trainers.tasks.datasets.downloads import KNOWN, content_digest
from trainers.tasks.datasets.folders import Told
from trainers.tasks.datasets.library import add_dataset, dataset_names, open_dataset
from trainers.tasks.datasets.pictures import to_pixels
from trainers.tasks.datasets.sounds import RATE, SAMPLES, one_second, read_sound
from trainers.tasks.datasets.tasks import added_names, open_added
from trainers.tasks.families.text import REPEATABLE, paragraphs
from trainers.tasks.registry import load_task
from trainers.tasks.rules import check_reference

REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Data sets of a test's own."""
    monkeypatch.setenv(datasets.ENVIRONMENT, str(tmp_path / "data"))
    return tmp_path / "data"


def quiet(done: int, total: int, unit: str = "") -> None:
    """No progress."""


def add(name: str, source: Path, **options):
    told = Told(
        **{key: options.pop(key) for key in ("field", "side", "seconds", "pairing") if key in options}
    )
    return add_dataset(name, source, quiet, told=told, **options)


def paint(source: Path, each: int = 80, size: tuple[int, int] = (20, 24)) -> Path:
    """Noisy pictures in three colours, one folder for each."""
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (source / label).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(colour + rng.normal(0, 40, (*size, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(source / label / f"{i}.png")
    return source


def tone(pitch: float, seed: int, length: int = 3000, rate: int = RATE) -> np.ndarray:
    time = np.arange(length) / rate
    return np.sin(2 * np.pi * pitch * time) + np.random.default_rng(seed).normal(0, 0.1, length)


def save_wav(path: Path, sound: np.ndarray, rate: int = RATE, dtype: type = np.int16) -> Path:
    scale = {np.int16: 8000, np.int32: 8000 << 16, np.uint8: 30, np.float32: 0.2}[dtype]
    wavfile.write(path, rate, (sound * scale + 128 * (dtype is np.uint8)).astype(dtype))
    return path


def hum(source: Path, names) -> Path:
    """Tones, one for each name, in the pitch of its label."""
    for seed, (label, name) in enumerate(names):
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        save_wav(path, tone(400 if label == "low" else 1500, seed))
    return source


def prose(characters: int, seed: int = 0) -> str:
    rng = np.random.default_rng(seed)
    text = ""
    while len(text) < characters:
        text += " ".join(rng.choice(WORDS, 60)) + ".\n\n"
    return text


def idx(array: np.ndarray) -> bytes:
    return (
        struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
        + array.astype(np.uint8).tobytes()
    )


def scans(source: Path, before: str, count: int, suffix: str = "") -> Path:
    """A pair of IDX files whose scans are dark or light."""
    source.mkdir(exist_ok=True)
    rng = np.random.default_rng(len(before))
    labels = np.arange(count) % 2
    pixels = np.clip(60 + 120 * labels[:, None, None] + rng.normal(0, 30, (count, 28, 28)), 0, 255)
    write = gzip.compress if suffix else bytes
    (source / f"{before}-images-idx3-ubyte{suffix}").write_bytes(write(idx(pixels)))
    (source / f"{before}-labels-idx1-ubyte{suffix}").write_bytes(write(idx(labels)))
    return source


def test_images_by_label_are_resized_and_split_label_by_label(tmp_path):
    found = add("colours", paint(tmp_path / "in"))
    manifest, arrays = found.manifest, found.arrays
    assert (manifest.kind, manifest.labels, manifest.items) == ("images", ("blue", "green", "red"), 240)
    assert manifest.splits == {"train": 192, "select": 24, "report": 24}
    assert arrays["items"].shape == (240, 16, 16, 3)
    for place in range(3):
        held_out = arrays["splits"][arrays["labels"] == place]
        assert np.bincount(held_out).tolist() == [64, 8, 8]
        colour = arrays["items"][arrays["labels"] == place].mean(axis=(0, 1, 2))
        assert np.argmax(colour) == np.argmax(COLOURS[manifest.labels[place]])


def test_images_smaller_than_16_become_8x8(tmp_path):
    assert add("tiny", paint(tmp_path / "in", size=(7, 12))).arrays["items"].shape[1:] == (8, 8, 3)


def test_pixels_of_every_mode_are_whole():
    grey = np.linspace(0, 255, 32 * 32).reshape(32, 32)
    plain = to_pixels(Image.fromarray(grey.astype(np.uint8)), 16)
    deep = to_pixels(Image.fromarray((grey * 257).astype(np.uint16)), 16)
    assert plain.shape == (16, 16, 3)
    assert np.abs(plain.astype(int) - deep).max() <= 2
    assert to_pixels(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), 16).min() == 255  # nothing is seen on white
    wide = to_pixels(Image.new("L", (32, 16), 255), 16)
    assert wide[:4].max() == 0
    assert wide[4:12].min() == 255


def test_splits_of_the_source_are_kept(tmp_path):
    paint(tmp_path / "in" / "set" / "train")
    paint(tmp_path / "aside", each=20, size=(21, 21))
    (tmp_path / "aside").rename(tmp_path / "in" / "set" / "test")
    found = add("colours", tmp_path / "in")
    assert found.manifest.splits == {"train": 216, "select": 24, "report": 60}
    assert "source's own" in found.manifest.rule
    assert "every tenth for select" in found.manifest.rule


def test_what_is_the_same_is_kept_once_where_it_is_held_out(tmp_path):
    paint(tmp_path / "in" / "train")
    paint(tmp_path / "in" / "test", each=20)  # of the first label the same pictures again
    found = add("colours", tmp_path / "in").manifest
    assert found.left_out == 20
    assert found.splits == {"train": 198, "select": 22, "report": 60}


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_keep_their_test_set(tmp_path, suffix):
    scans(tmp_path / "in", "train", 200, suffix)
    found = add("scans", scans(tmp_path / "in", "t10k", 40, suffix))
    assert found.manifest.splits == {"train": 180, "select": 20, "report": 40}
    assert found.manifest.labels == ("0", "1")
    light = found.arrays["items"][found.arrays["labels"] == 1].mean()
    assert light > found.arrays["items"][found.arrays["labels"] == 0].mean() + 100


def test_damaged_idx_files_are_named(tmp_path):
    source = scans(tmp_path / "in", "train", 200)
    images, labels = (source / f"train-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1"))
    whole = labels.read_bytes()
    labels.write_bytes(idx(np.zeros(199)))
    with pytest.raises(TaskError, match="200 images and 199 labels"):
        add("scans", source)
    labels.write_bytes(whole[:-1])
    with pytest.raises(TaskError, match=r"'.*train-labels-idx1-ubyte' cannot"):
        add("scans", source)
    labels.unlink()
    with pytest.raises(TaskError, match="no 'train-labels-idx1-ubyte' beside it"):
        add("scans", source)
    labels.write_bytes(whole)
    images.write_bytes(b"\0\0")
    with pytest.raises(TaskError, match=r"'.*train-images-idx3-ubyte' cannot"):
        add("scans", source)


def test_numbered_recordings_are_split_by_their_numbers(tmp_path):
    names = [("low", f"low_{s}_{i}.wav") for s in ("ann", "bob_b") for i in range(20)]
    names += [("high", f"high_{s}_{i}.wav") for s in ("ann", "bob_b") for i in range(20)]
    found = add("pitch", hum(tmp_path / "in", names))
    assert found.manifest.labels == ("high", "low")
    assert found.manifest.splits == {"train": 40, "select": 20, "report": 20}
    assert "0 to 4" in found.manifest.rule


def test_recordings_too_few_to_split_by_number_are_split_by_hash(tmp_path):
    names = [
        (label, f"{label}_{s}_{i}.wav") for label in ("low", "high") for s in range(34) for i in range(3)
    ]
    found = add("pitch", hum(tmp_path / "in", names))
    assert found.manifest.splits["report"] == 20
    assert "by hash" in found.manifest.rule


def heard(path):
    """The loudest second that is kept of a file."""
    return np.frombuffer(read_sound(path).view, dtype=np.float16).reshape(32, 32).astype(np.float32)


def test_a_sound_is_the_same_at_any_rate_depth_and_number_of_channels(tmp_path):
    sound = tone(500, 0, 6000)
    plain = heard(save_wav(tmp_path / "a.wav", sound))
    assert plain.shape == (32, 32)
    twice = np.interp(np.arange(12000) / 2, np.arange(6000), sound)
    for other in (
        save_wav(tmp_path / "b.wav", sound, dtype=np.float32),
        save_wav(tmp_path / "c.wav", sound, dtype=np.int32),
        save_wav(tmp_path / "d.wav", np.stack([sound, sound], axis=1)),
        save_wav(tmp_path / "e.wav", sound, dtype=np.uint8),
        save_wav(tmp_path / "f.wav", twice, rate=16000),
    ):
        assert np.abs(heard(other) - plain).mean() < 0.05, other
    band = plain.mean(axis=0).argmax()
    assert heard(save_wav(tmp_path / "g.wav", tone(2000, 0))).mean(axis=0).argmax() > band


def test_sounds_of_every_format_are_the_same_task(tmp_path):
    """The same tones at other rates, in stereo: what is lost in coding is less than what tells them apart."""
    sound = tone(500, 0, 6000)
    plain = heard(save_wav(tmp_path / "a.wav", sound))
    stereo = resample_poly(np.stack([sound, sound], axis=1) * 0.2, 441, 80)
    for suffix in ("wav", "flac", "mp3", "ogg"):
        path = tmp_path / f"same.{suffix}"
        soundfile.write(path, stereo, 44_100)
        other = heard(path)
        assert np.abs(other - plain).mean() < 0.12, suffix
        assert other.mean(axis=0).argmax() == plain.mean(axis=0).argmax()


def test_nothing_above_the_highest_pitch_is_heard_as_a_lower_one(tmp_path):
    """11.5 kHz at 24 kHz would sound as 3.5 kHz if two of three samples were dropped."""
    rng = np.random.default_rng(0)
    time = np.arange(24_000) / 24_000
    low, high = (np.sin(2 * np.pi * pitch * time) for pitch in (1000, 11_500))
    noise = rng.normal(0, 1e-3, 24_000)
    save_wav(tmp_path / "low.wav", low + noise, rate=24_000)
    save_wav(tmp_path / "both.wav", low + high + noise, rate=24_000)
    alone, both = (heard(tmp_path / name) for name in ("low.wav", "both.wav"))
    assert np.abs(both - alone).mean() < 0.1


def test_folders_of_mixed_formats_are_one_set(tmp_path):
    source = hum(
        tmp_path / "in", [(label, f"{label}/{i}.wav") for label in ("low", "high") for i in range(12)]
    )
    for i, suffix in enumerate(("flac", "mp3", "ogg")):
        soundfile.write(source / "high" / f"more.{suffix}", tone(1500, 90 + i) * 0.2, RATE)
    found = add("pitches", source)
    assert (found.manifest.kind, found.manifest.items) == ("sounds", 27)


@pytest.mark.parametrize("length", [1, 100, SAMPLES - 1, SAMPLES, SAMPLES + 1, 30_000])
def test_a_sound_of_any_length_is_one_second_with_its_loudest_part(length):
    sound = np.zeros(length)
    sound[-min(length, 500) :] = 1
    second = one_second(sound)
    assert second.shape == (SAMPLES,)
    assert second.sum() == sound.sum()


def test_short_sounds_stand_in_the_middle():
    second = one_second(np.ones(1000))
    assert abs(np.flatnonzero(second).mean() - SAMPLES / 2) < 2


@pytest.mark.parametrize("suffix", ["flac", "mp3", "ogg"])
def test_a_damaged_recording_is_named(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(b"no sound at all" * 100)
    with pytest.raises(TaskError, match=rf"a sound can be read, '.*x\.{suffix}' cannot: .*; repair"):
        read_sound(path)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all"])
def test_an_unreadable_sound_is_named(tmp_path, content):
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(TaskError, match=r"'.*x\.wav' cannot"):
        read_sound(path)
    with wave.open(str(path), "wb") as empty:
        empty.setnchannels(1)
        empty.setsampwidth(2)
        empty.setframerate(RATE)
    with pytest.raises(TaskError, match="no samples"):
        read_sound(path)


def test_text_is_split_by_blocks_that_share_no_paragraph(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "one.txt").write_text(prose(150_000), encoding="utf-8")
    (source / "two.md").write_text("café ☃\n\n" * 50 + prose(150_000, 1), encoding="utf-8")
    (source / "again.txt").write_text(prose(50_000), encoding="utf-8")
    (source / "README.md").write_text("# Novels\n\n## Licence\n\nCC0 1.0\n")
    found = add("novels", source)
    assert found.manifest.licence == "CC0 1.0"
    assert found.manifest.left_out > 100
    factory = open_added("novels")
    assert factory is not None
    whole = found.arrays["text"].tobytes().decode()
    assert "café ☃" in whole
    assert "Novels" not in whole
    starts = np.r_[0, found.arrays["ends"][:-1]]
    documents = [
        found.arrays["text"][a:b].tobytes().decode()
        for a, b in zip(starts, found.arrays["ends"], strict=True)
    ]
    assert np.mean([len(text) for text in documents]) > 1800
    said = [
        {
            p
            for text, at in zip(documents, found.arrays["splits"], strict=True)
            if at == place
            for p in paragraphs(text)
        }
        for place in range(len(SPLITS))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not [p for p in said[one] & said[other] if len(p) >= REPEATABLE]
    sizes = [sum(map(len, part)) for part in said]
    assert sizes[0] / sum(sizes) == pytest.approx(0.8, abs=0.05)


def test_text_without_paragraphs_is_cut_all_the_same(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text(prose(200_000).replace("\n\n", " "), encoding="utf-8")
    assert add("line", path).manifest.splits["report"] >= 5


def test_the_order_of_items_does_not_matter():
    items = [Item(lambda: np.empty(0), f"label {i % 3}", f"item {i}") for i in range(100)]

    @settings(max_examples=20, deadline=None)
    @given(st.permutations(range(100)))
    def check(order):
        ahead, _ = assign_splits(items)
        mixed, _ = assign_splits([items[i] for i in order])
        assert np.array_equal(mixed, ahead[list(order)])

    check()


def _empty(source: Path) -> None:
    source.mkdir()


def _one_label(source: Path) -> None:
    paint(source)
    for label in ("red", "green"):
        for path in (source / label).iterdir():
            path.unlink()


def _few(source: Path) -> None:
    paint(source, each=2)


def _two_kinds(source: Path) -> None:
    paint(source, each=1)
    hum(source, [("low", "low/1.wav")])


def _unknown(source: Path) -> None:
    source.mkdir()
    (source / "data.xyz").write_bytes(b"\0")


def _broken_image(source: Path) -> None:
    paint(source)
    (source / "red" / "7.png").write_bytes((source / "red" / "7.png").read_bytes()[:200])


@pytest.mark.parametrize("kind", ["images", "sounds", "text"])
def test_items_that_cannot_be_read_are_counted_named_and_left_out_up_to_a_share(tmp_path, folder, kind):
    source = tmp_path / "in"
    if kind == "images":
        paint(source, each=9)
        names = ["red/3.png", "red/5.png", "blue/1.png", "blue/2.png"]
    elif kind == "sounds":
        hum(source, [(label, f"{label}/{i}.wav") for label in ("low", "red") for i in range(14)])
        names = ["low/1.wav", "low/2.wav", "red/1.wav", "red/2.wav"]
    else:
        source.mkdir()
        names = [f"{i}.txt" for i in range(4)]
        for i in range(27):
            (source / f"{i}.txt").write_text(prose(2_000, i))
    for name in names:
        (source / name).write_bytes(b"\xff\xfe damaged")
    (source / "notes.xyz").write_text("of no kind that is read")
    (source / "README.md").write_text("About it\n")
    kept = LeftOut(0.2)
    found = add("mine", source, left_out=kept)
    assert (kept.bad, kept.others) == (4, 1)
    assert len(kept.first_bad) == 3
    assert all(str(source) in told for told in kept.first_bad)
    assert kept.first_others == [str(source / "notes.xyz")]
    assert found.manifest.unreadable == 4
    if kind != "text":
        assert found.manifest.items == (23 if kind == "images" else 24)
    with pytest.raises(
        TaskError, match=rf"a share of 0.1 .*--max-bad.* 4 of 2[78] are; the first: .*{source}"
    ):
        add("more", source, left_out=LeftOut(0.1))
    assert [path.name for path in folder.iterdir()] == ["mine"]


def _no_label(source: Path) -> None:
    paint(source)
    (source / "red" / "7.png").rename(source / "7.png")


def _long_label(source: Path) -> None:
    paint(source)
    (source / "red").rename(source / ("long" * 13))


def _short_text(source: Path) -> None:
    source.mkdir()
    (source / "a.txt").write_text(prose(5_000))


def _not_utf8(source: Path) -> None:
    source.mkdir()
    (source / "a.txt").write_bytes("café".encode("latin-1"))


def _only_tested(source: Path) -> None:
    paint(source / "train", each=80)
    paint(source / "test", each=20, size=(22, 22))
    (source / "test" / "red").rename(source / "test" / "violet")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_empty, "has files, the folder"),
        (_one_label, "has only 'blue'"),
        (_few, "2 different items each, which 10 in all give.*1 of them for"),
        (_two_kinds, "3 files of images and 1 file of sounds; say which with --kind"),
        (_unknown, "has none among 1 file"),
        (_broken_image, r"a share of 0 .* 1 of 240 are; the first: .*'.*7\.png' cannot"),
        (_no_label, r"a folder that is its label, got '.*7\.png'"),
        (_long_label, "at most 48 bytes, got 'longlong"),
        (
            _short_text,
            "2 excerpts of 400 to 1,000 characters in each split, which some 10,000.* 5,186 characters",
        ),
        (_not_utf8, r"'.*a\.txt' is not at byte 3"),
        (_only_tested, "'violet' in .* has none"),
    ],
)
def test_what_is_no_data_set_is_refused_and_leaves_nothing(tmp_path, folder, make, words):
    make(tmp_path / "in")
    with pytest.raises(TaskError, match=words) as refusal:
        add("mine", tmp_path / "in")
    assert "\n" not in str(refusal.value)
    assert not folder.exists()


def test_the_name_of_a_task_of_an_installed_package_is_taken(tmp_path, monkeypatch):
    about = tmp_path / "site" / "robots-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: robots\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[pathfront.tasks]\nrobot-arm = robots:Arm\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(StudyFileError, match="'robot-arm' is a task of the installed package 'robots'"):
        add("robot-arm", paint(tmp_path / "in", each=9))


def test_processes_that_add_the_same_name_at_once_leave_one_whole_set(tmp_path, folder, monkeypatch):
    first, second = paint(tmp_path / "one", each=9), paint(tmp_path / "two", each=10)
    add("colours", first)
    rename = Path.rename

    def overtaken(path, target):
        done = rename(path, target)
        if target.suffix == ".old":  # the place is free, and another process is quicker
            monkeypatch.setattr(Path, "rename", rename)
            with pytest.raises(MachineError, match="one process at a time makes the data set 'colours'"):
                add("colours", paint(tmp_path / "three", each=11))
        return done

    monkeypatch.setattr(Path, "rename", overtaken)
    assert add("colours", second, replace=True).manifest.items == 30
    assert open_dataset("colours").arrays["labels"].shape == (30,)
    assert [path.name for path in folder.iterdir()] == ["colours"]


def test_a_set_that_is_replaced_between_its_manifest_and_its_arrays_is_not_called_damaged(tmp_path):
    opened = datasets.Dataset(*vars(add("colours", paint(tmp_path / "one", each=9))).values())
    add("colours", paint(tmp_path / "two", each=10), replace=True)
    with pytest.raises(TaskError, match="'colours' was replaced meanwhile; start again"):
        assert opened.arrays


def test_a_manifest_that_is_damaged_after_its_set_was_opened_is_called_damaged(tmp_path, folder):
    opened = add("colours", paint(tmp_path / "one", each=9))
    add("shades", paint(tmp_path / "two", each=10))
    (folder / "shades" / "items.bin").replace(folder / "colours" / "items.bin")
    (folder / "colours" / datasets.MANIFEST).write_text("{")
    with pytest.raises(TaskError, match="'colours' is damaged"):
        assert opened.arrays


def _images(source: Path, each: int) -> Path:
    return paint(source, each=each)


def _text(source: Path, seed: int) -> Path:
    source.mkdir()
    (source / "novel.txt").write_text(prose(60_000, seed))
    return source


@pytest.mark.parametrize("make", [_images, _text])
def test_the_code_of_a_key_covers_the_data(tmp_path, quick, make):
    """The data set is an argument of the task, so its digest needs no place of its own in the key."""
    keys = []
    for number in (30, 31):
        add("novel", make(tmp_path / str(number), number), replace=True)
        keys.append(load_task("novel", quick, train_episodes=2).cache_key())  # pyright: ignore[reportAttributeAccessIssue]
    assert {name for name in keys[0] if keys[0][name] != keys[1][name]} == {"code"}


def test_a_folder_of_data_sets_that_cannot_be_used_is_the_machines_fault(tmp_path, monkeypatch, folder):
    monkeypatch.setenv(datasets.ENVIRONMENT, "/dev/null/data")
    told = []
    with pytest.raises(MachineError, match=r"'/dev/null/data', which cannot be used.*PATHFRONT_DATA"):
        add_dataset("colours", paint(tmp_path / "one", each=9), lambda *what: told.append(what))
    assert told == []
    with pytest.raises(MachineError, match="PATHFRONT_DATA"):
        dataset_names()


def test_links_to_folders_and_files_are_followed(tmp_path):
    plain = add("plain", paint(tmp_path / "plain"))
    paint(tmp_path / "aside")
    linked = tmp_path / "linked"
    (linked / "green").mkdir(parents=True)
    (linked / "red").symlink_to(tmp_path / "aside" / "red")
    (linked / "blue").symlink_to("../aside/blue", target_is_directory=True)
    for path in (tmp_path / "aside" / "green").iterdir():
        (linked / "green" / path.name).symlink_to(path)
    found = add("linked", linked)
    assert found.manifest.labels == ("blue", "green", "red")
    assert found.manifest.sha256 == plain.manifest.sha256
    (tmp_path / "whole").symlink_to(linked)
    assert add("whole", tmp_path / "whole").manifest.sha256 == plain.manifest.sha256


def _loop(source: Path) -> None:
    (source / "red" / "again").symlink_to(source)


def _loop_of_two(source: Path) -> None:
    (source / "red" / "there").symlink_to(source / "blue")
    (source / "blue" / "back").symlink_to(source / "red")


def _link_to_itself(source: Path) -> None:
    (source / "red" / "8.png").unlink()
    (source / "red" / "8.png").symlink_to("8.png")


def _link_to_nothing(source: Path) -> None:
    (source / "violet").symlink_to(source.parent / "unmounted" / "violet")


def _pipe(source: Path) -> None:
    os.mkfifo(source / "red" / "pipe.png")


def _no_file_name(source: Path) -> None:
    (source / "red" / os.fsdecode(b"caf\xe9.png")).write_bytes((source / "red" / "1.png").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_loop, "'.*red/again' leads back to a folder that it lies in"),
        (_loop_of_two, "'.*(there/back|back/there)' leads back to a folder that it lies in"),
        (_link_to_itself, r"'.*8\.png' cannot: Too many levels of symbolic links"),
        (_link_to_nothing, "'.*violet' is a link to nothing"),
        (_pipe, r"'.*pipe\.png' is neither a file nor a folder"),
        (_no_file_name, r"UTF-8, got '.*caf\\udce9.png'"),
    ],
)
def test_what_cannot_be_followed_is_named_and_nothing_vanishes(tmp_path, folder, spoil, words):
    spoil(paint(tmp_path / "in", each=9))
    with pytest.raises(TaskError, match=words) as refusal:
        add("mine", tmp_path / "in")
    assert "\n" not in str(refusal.value)
    assert not folder.exists()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file that refuses to be read by root")
@pytest.mark.parametrize("name", ["a.txt", "README.md", "red/3.png", "red/3.wav"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    source = tmp_path / "in"
    if name.endswith("png"):
        paint(source, each=9)
    elif name.endswith("wav"):
        hum(source, [(label, f"{label}/{i}.wav") for label in ("low", "red") for i in range(9)])
    else:
        source.mkdir()
        (source / "b.txt").write_text(prose(12_000))
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to("/proc/self/mem")
    with pytest.raises(TaskError, match=rf"can be read, '.*{name}' cannot: .*repair or remove it"):
        add("mine", source)


class CountedText(str):
    """A text that counts the characters that are copied from it."""

    copied = 0
    __slots__ = ()

    def __getitem__(self, key):
        return self._counted(str.__getitem__(self, key))

    def lstrip(self, *arguments):
        return self._counted(str.lstrip(self, *arguments))

    def _counted(self, text):
        CountedText.copied += len(text)
        return CountedText(text)


def test_a_long_line_is_cut_without_copying_it_again_and_again(monkeypatch):
    line = " ".join(WORDS) * 10_000
    monkeypatch.setattr(documents, "paragraphs", lambda text: [CountedText(text)])
    CountedText.copied = 0
    pieces = list(documents._pieces(line))
    assert len(pieces) > 200
    assert CountedText.copied < 3 * len(line)


@given(st.text(alphabet="ab \n", max_size=400))
def test_pieces_are_those_of_a_text_that_is_cut_from_its_front(text):
    def expected():
        for paragraph in paragraphs(text):
            rest = paragraph
            while len(rest) > limit:
                ends = [rest.rfind(mark, 1, limit) for mark in ("\n", " ")]
                cut = next((end for end in ends if end > 0), limit)
                if rest[:cut].strip():
                    yield rest[:cut]
                rest = rest[cut:].lstrip("\n ")
            if rest.strip():
                yield rest

    limit = 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "LONGEST_PIECE", limit)
        assert list(documents._pieces(text)) == list(expected())


@pytest.mark.parametrize(
    ("each", "splits", "rule"),
    [
        (70, {"train": 168, "select": 21, "report": 21}, "tenth"),
        (20, {"train": 36, "select": 12, "report": 12}, "fifth"),
        (3, {"train": 5, "select": 2, "report": 2}, "fifth"),
    ],
)
def test_of_few_items_more_are_held_out(tmp_path, each, splits, rule):
    found = add("colours", paint(tmp_path / "in", each=each)).manifest
    assert found.splits == splits
    assert found.rule == f"every {rule} for select and for report, by hash"


def test_a_source_with_few_to_report_keeps_its_own_and_holds_out_a_tenth(tmp_path):
    paint(tmp_path / "in" / "train", each=80)
    paint(tmp_path / "in" / "test", each=4, size=(21, 21))
    assert add("colours", tmp_path / "in").manifest.splits == {"train": 216, "select": 24, "report": 12}


def test_a_short_text_has_three_splits_and_a_task(tmp_path, quick, tokenizer):
    path = tmp_path / "short.txt"
    path.write_text(prose(12_000), encoding="utf-8")
    assert "every fifth" in add("short", path).manifest.rule
    factory = open_added("short")
    assert factory is not None
    task = factory(quick, tokenizer, None)
    assert 2 <= task.eval_episodes < 10
    assert len(task.score(task.expert_policy()[1], "report", task.reference_episodes)) >= 2


def test_a_folder_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="there is no"):
        add("mine", tmp_path / "none")


@pytest.mark.parametrize("name", ["", "Mine", "a b", "a--b", "-a", "../up", "a:b", "digits", "quick"])
def test_names_that_are_none_or_taken_are_refused(tmp_path, name):
    with pytest.raises(StudyFileError, match="a data set's name"):
        add(name, tmp_path)


def test_other_content_needs_leave_to_replace(tmp_path, folder):
    first = add("colours", paint(tmp_path / "one"))
    assert add("colours", tmp_path / "one") is first
    paint(tmp_path / "two", each=70)
    with pytest.raises(StudyFileError, match=r"240 images items from '.*one'.*--replace"):
        add("colours", tmp_path / "two")
    assert open_dataset("colours") is first
    assert add("colours", tmp_path / "two", replace=True).manifest.items == 210
    assert open_dataset("colours").arrays["labels"].shape == (210,)
    assert [path.name for path in folder.iterdir()] == ["colours"]


def test_a_write_that_fails_leaves_what_there_was(tmp_path, folder, monkeypatch):
    add("colours", paint(tmp_path / "one"))
    paint(tmp_path / "two", each=70)

    def full(*_arguments, **_arrays):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("trainers.tasks.datasets.library.write_folder_atomically", full)
        with pytest.raises(MachineError, match=r"the disk of '.*data' is full.*PATHFRONT_DATA"):
            add("colours", tmp_path / "two", replace=True)
    assert sorted(path.name for path in folder.iterdir()) == [".colours.begun", "colours"]
    assert open_dataset("colours").manifest.items == 240
    assert add("colours", tmp_path / "two", replace=True).manifest.items == 210
    assert [path.name for path in folder.iterdir()] == ["colours"]


def test_damaged_data_are_refused_until_replaced(tmp_path, folder):
    add("colours", paint(tmp_path / "one"))
    arrays, manifest = (folder / "colours" / name for name in ("items.bin", datasets.MANIFEST))
    whole, told = arrays.read_bytes(), manifest.read_text()

    def refused(words: str) -> None:
        datasets._opened.cache_clear()
        with pytest.raises(TaskError, match=words):
            assert open_dataset("colours").arrays

    for torn in (b"", whole[:1000], whole[:500] + bytes(20) + whole[520:]):
        arrays.write_bytes(torn)
        refused("'colours' is damaged")
    arrays.unlink()
    refused("'colours' is damaged")
    arrays.write_bytes(whole)
    manifest.write_text(told.replace('"red"', '"rot"'))
    refused("'colours' is damaged")
    manifest.write_text(told.replace('"schema_version": 1', '"schema_version": 2'))
    refused("schema version 1, 'colours' has 2")
    manifest.write_text("{")
    refused("'colours' is damaged")
    with pytest.raises(TaskError, match="--replace"):
        add("colours", tmp_path / "one")
    assert add("colours", tmp_path / "one", replace=True).arrays["labels"].shape == (240,)


def test_names_lead_to_tasks(tmp_path):
    assert added_names() == dataset_names() == []
    assert open_added("colours") is None
    add("colours", paint(tmp_path / "one"))
    assert added_names() == ["colours"]
    with pytest.raises(NotFoundError, match="did you mean 'colours'"):
        open_dataset("colors")


@pytest.fixture
def sources(tmp_path):
    """A folder of each kind."""
    names = [(label, f"{label}/{i}.wav") for label in ("low", "high") for i in range(100)]
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text(prose(130_000), encoding="utf-8")
    return {
        "images": paint(tmp_path / "images"),
        "sounds": hum(tmp_path / "sounds", names),
        "text": tmp_path / "text",
    }


@pytest.mark.parametrize("kind", ["images", "sounds", "text"])
def test_added_tasks_keep_to_the_contract(sources, kind, quick, tokenizer, vocabulary):
    add(kind, sources[kind])
    factory = open_added(kind)
    assert factory is not None
    check_task(lambda: factory(quick, tokenizer, 10), vocabulary, quick.context)
    task = factory(quick, tokenizer, None)
    assert (task.name, task.family) == (kind, "added")
    check_reference(task, "select", task.reference_episodes)
    check_reference(task, "report", task.reference_episodes)


def test_training_sees_every_item_and_then_varies_it(sources, quick, tokenizer):
    add("images", sources["images"])
    factory = open_added("images")
    assert factory is not None
    task = factory(quick, tokenizer, None)
    episodes = task.episodes()
    assert len(episodes) == 1920
    first = {episode.patches["image"].tobytes() for episode in episodes[:192]}
    assert len(first) == 192
    assert len({episode.patches["image"].tobytes() for episode in episodes}) > 1800
    assert np.array_equal(episodes[5].tokens, episodes[192 + 5].tokens)


def test_new_content_makes_new_episodes(sources, tmp_path, quick, tokenizer):
    add("images", sources["images"])
    old = open_added("images")
    add("images", paint(tmp_path / "two", each=70), replace=True)
    new = open_added("images")
    assert old is not None
    assert new is not None
    before, after = (len(factory(quick, tokenizer, None).episodes()) for factory in (old, new))
    assert (before, after) == (1920, 1680)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data, ../shared/data, are not here")
def test_spoken_digits_have_their_official_split_and_a_strong_expert(quick, tokenizer):
    source = REAL / "free-spoken-digit-dataset"
    assert content_digest(source / "recordings") == KNOWN["spoken-digits"].content_sha256
    found = add("spoken-digits", source)
    assert found.manifest.splits == {"train": 2400, "select": 300, "report": 300}
    assert found.manifest.labels == tuple("0123456789")
    factory = open_added("spoken-digits")
    assert factory is not None
    task = factory(quick, tokenizer, 100)
    assert task.score(task.expert_policy()[1], "report", 300).mean() > 0.98
    assert found.size < 17_000_000


@pytest.mark.skipif(not REAL.is_dir(), reason="the real data, ../shared/data, are not here")
def test_tiny_shakespeare_is_better_told_by_its_ngram_than_by_its_letters(quick, tokenizer):
    add("tiny-shakespeare", REAL / "tinyshakespeare" / "input.txt")
    factory = open_added("tiny-shakespeare")
    assert factory is not None
    task = factory(quick, tokenizer, None)
    expert = task.score(task.expert_policy()[1], "report", 100).mean()
    floor = task.score(task.floor_policies()["unigram"], "report", 100).mean()
    assert expert < 2.2 < 4 < floor
