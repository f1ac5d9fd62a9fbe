"""Images at resolution: added, searched on, exported, asked; and windows that are drawn the same anywhere."""

import json
import os
import re
import subprocess
import sys
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import numpy as np
import pytest
import torch
from own_data import add_all, live_in
from PIL import Image
from safetensors.numpy import load_file

from search import api
from search.commands.data_media import SIDE as DEFAULT
from space.candidate import Architecture
from space.cost import price
from space.errors import StudyFileError, TaskError
from space.images import PICTURE
from space.mixture import TaskMixture
from space.records import ImageSetting, SuiteRecord
from space.study import StudyConfig
from trainers.data import Mixer, MixtureData, Share, load_corpora
from trainers.evaluate import ModelPolicy
from trainers.exports.policy import load_policy
from trainers.model.decoder import Decoder
from trainers.tasks.contract import check_by_name
from trainers.tasks.datasets import kept, library
from trainers.tasks.datasets.kept import Contents
from trainers.tasks.datasets.library import add_dataset, open_dataset
from trainers.tasks.datasets.picture_views import middle, random_crop
from trainers.tasks.datasets.pictures import SIDE, opened, read_picture
from trainers.tasks.fingerprint import fingerprint
from trainers.tasks.registry import load_task

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
SETTING = ImageSetting(side=32, patch=16)
STUDY = {
    "study": "seen",
    "suite": ["colours"],
    "image": {"side": 32, "patch": 16},
    "space": {"depth": 1, "width": {"choices": [16, 32]}, "experts": {"choices": [1, 2]}},
    "context": 48,
    "batch_tokens": 768,
    "rungs": {"tokens": [6_144]},
    "stop": {"candidates": 2},
    "workers": 1,
}


def paint(folder: Path, each: int = 20, size: tuple[int, int] = (64, 48)) -> Path:
    """Noisy pictures in three colours, width and height as given, in folders of their names."""
    rng = np.random.default_rng(0)
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for i in range(each):
            pixels = np.clip(colour + rng.normal(0, 40, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


def add(name: str, source: Path, **options):
    return add_dataset(name, source, lambda *_: None, **options)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the images `colours`, 60 of 64x48, that were added with the command."""
    home = tmp_path_factory.mktemp("home")
    add_all(home, {"colours": paint(home / "in")})
    return home


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    live_in(home, monkeypatch)


def suite(**changes) -> SuiteRecord:
    return StudyConfig.model_validate(STUDY | changes).check()


def test_a_study_at_resolution_is_searched_exported_and_asked(run_command, home):
    study = api.launch(STUDY, progress=False)
    assert [trial.state for trial in study] == ["done", "done"]
    code, _, err = run_command("export", "seen", "--pick", "best", "-o", str(home / "best"), "--format", "hf")
    assert code == 0, err
    (kept,) = (home / "best").rglob("embedding.safetensors")
    assert load_file(kept)[f"encoders.{PICTURE}.project.weight"].shape[1] == 16 * 16 * 3
    policy = load_policy(home / "best", "cpu")
    task, asked = policy.task("colours"), ModelPolicy(policy.decoder)
    dataset = open_dataset("colours")
    files = Contents(dataset.arrays["bytes"], dataset.arrays["ends"])
    for index in range(4):
        session = task.session("report", index)  # pyright: ignore[reportAttributeAccessIssue]
        asked.begin(1)
        (ids,) = asked.act([0], [session.observe()], [session])
        shown = [
            np.asarray(opened(files[int(place)]))
            for place in dataset.places("report")
            if np.array_equal(
                task.patches(opened(files[int(place)]))[PICTURE],  # pyright: ignore[reportAttributeAccessIssue]
                session.observe().patches[PICTURE],
            )
        ]
        assert len(shown) == 1
        answer = policy.answer("colours", image=shown[0])
        assert answer == policy.answer("colours", image=shown[0] / 255) == task.tokenizer.decode(ids)  # pyright: ignore[reportAttributeAccessIssue]
    for wrong, words in (
        ({"image": np.zeros((4, 4, 2))}, r"sees images \(height, width, 3\), got"),
        ({"image": np.full((9, 9), 7.0)}, r"floats in \[0, 1\]"),
        ({"text": "which", "image": np.zeros((9, 9))}, "is asked with image, and nothing else"),
    ):
        with pytest.raises(StudyFileError, match=words):
            policy.answer("colours", **wrong)


def test_the_suite_has_pictures_only_where_the_study_says_so():
    plain = suite(image=None)
    assert PICTURE not in plain.encoders
    assert "image" not in plain.model_dump()
    seen = suite()
    assert seen.encoders == plain.encoders | {PICTURE: 768}
    assert seen.vocab_size == plain.vocab_size + 1
    assert seen.image == SETTING
    assert SuiteRecord.model_validate_json(seen.model_dump_json()) == seen
    episodes = load_task("colours", seen).episodes()
    lengths = [len(episode) for episode in episodes]
    assert seen.lengths["colours"] == pytest.approx(np.mean(lengths), rel=0.1)
    assert seen.patch_share["colours"][PICTURE] == pytest.approx(4 / np.mean(lengths), rel=0.1)
    arch = Architecture(depth=1, width=16, experts=2, top_k=1, expert_ratio=1, head_dim=8)
    assert sum(p.numel() for p in Decoder(arch, seen).parameters()) == price(arch, seen).total_params
    fewer = price(arch, suite(image={"side": 16, "patch": 16}))
    assert price(arch, seen).flops_per_token > fewer.flops_per_token


def test_pictures_keep_to_the_contract():
    check_by_name("colours", suite(), 10)
    assert len({fingerprint(load_task("colours", each)) for each in (suite(), suite(image=None))}) == 2


def test_windows_are_a_function_of_seed_and_step_with_any_number_of_loaders(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("PATHFRONT_DATA", "/nowhere")
        ensure_running()  # what forks loaders was started by a training with other data

    class At:
        global_step = 3

    seen = suite()
    mixer = Mixer(load_corpora(seen), TaskMixture.uniform(seen.tasks), seen, 5)
    data = MixtureData(mixer, Share(), loaders=2)
    data.trainer = At()  # pyright: ignore[reportAttributeAccessIssue]
    for step, batch in zip(range(3, 6), data.train_dataloader(), strict=False):
        ours = mixer.batch(step)
        at, pixels = batch.patches[PICTURE]
        assert torch.equal(batch.tokens, ours.tokens)
        assert torch.equal(at, ours.patches[PICTURE].at)
        assert torch.equal(pixels, ours.patches[PICTURE].pixels)
    shares = [mixer.batch(3, Share(i, 2)).patches[PICTURE].pixels for i in range(2)]
    whole = mixer.batch(3).patches[PICTURE].pixels
    assert sorted(torch.cat(shares).sum(1).tolist()) == sorted(whole.sum(1).tolist())
    assert not torch.equal(whole[:100], mixer.batch(4).patches[PICTURE].pixels[:100])


def test_every_drawing_crops_a_picture_anew_and_evaluation_never():
    episodes = load_task("colours", suite()).episodes()
    one = np.arange(episodes.offsets[0], episodes.offsets[1])
    twice = episodes.drawn_at(PICTURE, np.concatenate([one, one[:2]]), (0, 1, 2))
    again = episodes.drawn_at(PICTURE, one, (0, 1, 2))
    assert np.array_equal(twice[:4], again)
    assert twice.shape == (6, 768)
    assert not np.array_equal(twice[4:], again[:2])
    assert not np.array_equal(again, episodes.drawn_at(PICTURE, one, (0, 1, 3)))
    still = episodes[0].patches[PICTURE]
    assert np.array_equal(still, episodes[0].patches[PICTURE])
    assert np.array_equal(
        episodes[7].patches[PICTURE], load_task("colours", suite()).demonstrations()[7].patches[PICTURE]
    )


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (32, 32), (20, 100), (500, 300)])
def test_what_is_seen_is_the_middle_and_never_larger_than_life(size):
    wide, high = size
    pixels = np.full((high, wide, 3), (250, 0, 0), dtype=np.uint8)
    left, top, shorter = (wide - min(size)) // 2, (high - min(size)) // 2, min(size)
    pixels[top : top + shorter, left : left + shorter] = (0, 250, 0)
    seen = middle(Image.fromarray(pixels), SETTING)
    shown = min(32, shorter)
    assert seen.shape == (32, 32, 3)
    green = (seen == (0, 250, 0)).all(axis=2)
    edge = (32 - shown) // 2
    assert green[edge + 2 : edge + shown - 2, edge + 2 : edge + shown - 2].all()  # smoothing reaches 2 pixels
    assert (seen == 128).all(axis=2).sum() == 32**2 - shown**2
    rng, crops = np.random.default_rng(0), []
    for _ in range(8):
        crops.append(random_crop(Image.fromarray(pixels), SETTING, rng))
        assert (crops[-1] == 128).all(axis=2).sum() == 32**2 - shown**2
    assert len({crop.tobytes() for crop in crops}) > (1 if wide != high else 0)


def test_half_of_the_crops_are_mirrored_unless_the_study_forbids_it():
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:, 20:] = 255
    image, still = Image.fromarray(pixels), SETTING.model_copy(update={"flip": False})
    for setting, most in ((SETTING, 60), (still, 0)):
        rng = np.random.default_rng(0)
        crops = [random_crop(image, setting, rng).astype(float) for _ in range(100)]
        mirrored = sum(crop[:, :4].mean() > crop[:, -4:].mean() for crop in crops)
        assert most * 2 / 3 <= mirrored <= most


def test_files_are_upright_opaque_and_no_larger_than_asked(tmp_path):
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (400, 600, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    photo.save(tmp_path / "photo.jpg", exif=exif)
    Image.new("RGBA", (300, 200), (9, 9, 9, 0)).save(tmp_path / "clear.png")
    photo.crop((0, 0, 40, 30)).save(tmp_path / "small.png")
    kept_files = {path.name: read_picture(path, 128, 16) for path in tmp_path.iterdir()}
    images = {name: opened(np.frombuffer(each.content, np.uint8)) for name, each in kept_files.items()}
    assert {name: (image.format, image.size) for name, image in images.items()} == {
        "photo.jpg": ("JPEG", (128, 192)),
        "clear.png": ("PNG", (192, 128)),
        "small.png": ("PNG", (40, 30)),
    }
    assert np.asarray(images["clear.png"]).min() == 255
    assert np.array_equal(np.asarray(images["small.png"]), np.asarray(photo)[:30, :40])
    assert SIDE == DEFAULT


def test_processes_make_the_same_set_as_one(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    source = paint(tmp_path / "in")
    (source / "red" / "3.png").write_bytes(b"damaged")
    (source / "red" / "4.png").write_bytes((source / "red" / "5.png").read_bytes())
    alone = add("alone", source, left_out=library.LeftOut(0.1))
    monkeypatch.setattr(kept, "ALONE", 10)
    monkeypatch.setattr(kept, "cpu_count", lambda: 2)
    shared = add("shared", source, left_out=library.LeftOut(0.1))
    assert (alone.manifest.items, alone.manifest.unreadable, alone.manifest.left_out) == (58, 1, 1)
    assert shared.manifest.sha256 == alone.manifest.sha256
    for name in ("bytes", "items"):
        assert isinstance(shared.arrays[name], np.memmap)


def test_a_set_of_an_earlier_version_shows_thumbnails_and_asks_for_files(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    found = add("colours", paint(tmp_path / "in"))
    folder, thumbnails = found.folder, suite(image=None)
    arrays = {name: np.array(found.arrays[name]) for name in ("items", "labels", "splits")}
    np.savez_compressed(folder / library.ARRAYS, **arrays)
    for path in folder.glob("*.bin"):
        path.unlink()
    told = json.loads((folder / library.MANIFEST).read_text())
    told["sha256"] = library._digest("images", found.manifest.labels, arrays, {})
    del told["side"]
    (folder / library.MANIFEST).write_text(json.dumps(told))
    assert load_task("colours", thumbnails, train_episodes=3).episodes()[0].patches["image"].shape == (4, 192)
    with pytest.raises(
        TaskError, match=r"only thumbnails of an earlier version.*data add colours .*--replace"
    ):
        load_task("colours", suite())
    assert add("colours", tmp_path / "in", replace=True).manifest.side == 256
    assert load_task("colours", suite()).name == "colours"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": {"side": 40}}, "image: side is a multiple of patch, got side 40 and patch 16"),
        ({"image": {"side": 2048}}, "image.side"),
        ({"image": {"sides": 32}}, "image.sides.*did you mean 'side'"),
        ({"suite": ["digits"]}, "image: one task at least is a data set of images or of pairs with images"),
        ({"image": {"side": 224}}, r"'colours' \d+ tokens \(196 patches\), got context 48; raise it"),
        ({"image": {"side": 272}, "context": 512}, "--side 272 --replace"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(run_command, tmp_path, changes, words):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(STUDY | {"batch_tokens": 1024} | changes))
    code, out, err = run_command("launch", path, "--dry-run")
    assert (code, out) == (2, "")
    assert re.search(words, err.splitlines()[-1])
    assert "Traceback" not in err


def test_reading_pictures_gives_their_memory_back(tmp_path):
    """Ten times the pictures take no more memory of the process that adds them, beyond their list."""
    peaks = []
    for count in (40, 400):
        rng = np.random.default_rng(0)
        for label in ("dark", "light"):
            (tmp_path / f"{count}" / label).mkdir(parents=True)
            for i in range(count // 2):
                pixels = rng.integers(0, 128, (160, 160, 3), dtype=np.uint8) + 127 * (label == "light")
                Image.fromarray(pixels).save(tmp_path / f"{count}" / label / f"{i}.jpg", quality=95)
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / f"{count}")],
            env=os.environ | {"PATHFRONT_DATA": str(tmp_path / f"data-{count}")},
            capture_output=True,
            text=True,
            check=True,
        )
        size, peak = map(int, done.stdout.split())
        peaks.append((size, peak))
    assert peaks[1][0] > 8 * peaks[0][0] > 0
    assert peaks[1][1] - peaks[0][1] < 4_000_000 < peaks[1][0]


MEASURE = """
import resource, sys
from pathlib import Path
from trainers.tasks.datasets.kept import Contents
from trainers.tasks.datasets.library import add_dataset
found = add_dataset("many", Path(sys.argv[1]), lambda *_: None)
print(found.size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""
