"""Sounds at length: added by label and with transcripts, searched on, exported, asked; and what is kept."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from own_data import add_all, live_in
from safetensors.numpy import load_file

from search import api
from search.commands.data_media import SECONDS as DEFAULT
from space.candidate import Architecture
from space.catalog import local_catalog
from space.cost import price
from space.errors import StudyFileError, TaskError
from space.mixture import TaskMixture
from space.records import HELD_OUT, SoundSetting, SuiteRecord
from space.sounds import SOUND, mean_patches, with_sounds
from space.study import StudyConfig
from trainers.data import Mixer, MixtureData, Share, load_corpora
from trainers.exports.policy import load_policy
from trainers.model.decoder import Decoder
from trainers.tasks.base import Audible
from trainers.tasks.contract import check_by_name
from trainers.tasks.datasets import library
from trainers.tasks.datasets.folders import Told
from trainers.tasks.datasets.library import add_dataset, open_dataset
from trainers.tasks.datasets.sound_views import cut, levels_of, loudest, random_part
from trainers.tasks.datasets.sounds import KEPT_BANDS, KEPT_RATE, SECONDS, resampled, to_levels
from trainers.tasks.fingerprint import fingerprint
from trainers.tasks.measure import measure
from trainers.tasks.registry import load_task

PITCHES = {"low": 300, "middle": 900, "high": 2500}
SETTING = SoundSetting(seconds=2, patch=8)
STUDY = {
    "study": "heard",
    "suite": ["pitches", "said"],
    "sound": {"seconds": 2, "patch": 8},
    "space": {"depth": 1, "width": {"choices": [16, 32]}, "experts": {"choices": [1, 2]}},
    "context": 64,
    "batch_tokens": 1024,
    "rungs": {"tokens": [8_192]},
    "stop": {"candidates": 2},
    "workers": 1,
}


def tone(pitch: float, seed: int, seconds: float, rate: int = KEPT_RATE) -> np.ndarray:
    """A tone under noise, (seconds * rate,)."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return 0.3 * np.sin(2 * np.pi * pitch * (1 + 0.05 * rng.standard_normal()) * time) + rng.normal(
        0, 0.02, len(time)
    )


def hum(folder: Path, each: int = 20) -> Path:
    """Tones of 0.3 to 3 seconds in three pitches, in folders of their names."""
    for label, pitch in PITCHES.items():
        (folder / label).mkdir(parents=True)
        for i in range(each):
            seconds = 0.3 + 2.7 * i / (each - 1)
            soundfile.write(folder / label / f"{i}.flac", tone(pitch, i, seconds), KEPT_RATE)
    return folder


def melodies(folder: Path, count: int = 60) -> Path:
    """One to four tones of 0.4 seconds, one after another, each with its transcript."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(count):
        rng = np.random.default_rng(i)
        names = rng.choice([*PITCHES], 1 + i % 4).tolist()
        sound = np.concatenate([tone(PITCHES[name], i, 0.4, 44_100) for name in names])
        soundfile.write(folder / f"{i}.wav", sound, 44_100)
        rows.append({"audio": f"{i}.wav", "transcript": " ".join(names)})
    (folder / "said.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def add(name: str, source: Path, **options):
    told = Told(**{key: options.pop(key) for key in ("seconds",) if key in options})
    return add_dataset(name, source, lambda *_: None, told=told, **options)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the sounds `pitches` and the transcripts `said`, that were added with the command."""
    home = tmp_path_factory.mktemp("home")
    add_all(home, {"pitches": hum(home / "pitches"), "said": melodies(home / "said")})
    return home


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    live_in(home, monkeypatch)


def suite(**changes) -> SuiteRecord:
    return StudyConfig.model_validate(STUDY | changes).check()


def test_a_study_of_sounds_is_searched_exported_and_asked(run_command, home):
    study = api.launch(STUDY, progress=False)
    assert [trial.state for trial in study] == ["done", "done"]
    code, _, err = run_command("export", "heard", "--trial", "0", "-o", str(home / "best"), "--format", "hf")
    assert code == 0, err
    (weights,) = (home / "best").rglob("embedding.safetensors")
    assert load_file(weights)[f"encoders.{SOUND}.project.weight"].shape[1] == 8 * KEPT_BANDS
    policy = load_policy(home / "best", "cpu")
    for name in ("pitches", "said"):
        task = policy.task(name)
        example = task.example("report", 0)  # pyright: ignore[reportAttributeAccessIssue]
        arrays = open_dataset(name).arrays
        content, ends = ("bytes", "ends") if name == "pitches" else ("audio_content", "audio_ends")
        sounds = [
            levels_of(part) for part in np.split(np.asarray(arrays[content]), arrays[ends][:-1].tolist())
        ]
        (heard,) = [
            sound
            for sound in sounds
            if np.array_equal(cut(loudest(sound, SETTING), SETTING), example.patches[SOUND])
        ]
        assert isinstance(policy.answer(name, audio=heard), str)
    assert isinstance(policy.answer("pitches", audio=tone(300, 1, 9.0)), str)
    for name, wrong, words in (
        ("said", np.zeros(5 * KEPT_RATE), r"sounds of 2 s at most, got 5\.0 s"),
        ("said", np.zeros((30, 4)), r"float samples \(n,\) at 16000 Hz, or levels \(frames, 80\) uint8"),
        ("pitches", np.zeros(0), "float samples"),
    ):
        with pytest.raises(StudyFileError, match=words):
            policy.answer(name, audio=wrong)


def test_shares_and_lengths_are_those_of_the_sounds_that_are_heard():
    plain = suite(sound=None)
    assert SOUND not in plain.encoders
    assert "sound" not in plain.model_dump()
    heard = suite()
    assert heard.encoders == plain.encoders | {SOUND: 8 * KEPT_BANDS}
    assert heard.vocab_size == plain.vocab_size + 1
    assert SuiteRecord.model_validate_json(heard.model_dump_json()) == heard
    for name in heard.tasks:
        episodes = load_task(name, heard).episodes()
        lengths = np.array([len(episode) for episode in episodes])
        patches = np.array([len(episode.patches[SOUND]) for episode in episodes])
        assert len(set(patches.tolist())) > 3
        assert heard.lengths[name] == pytest.approx(lengths.mean(), rel=0.1)
        assert heard.patch_share[name][SOUND] == pytest.approx(patches.sum() / lengths.sum(), rel=0.1)
        shorter = suite(sound={"seconds": 2, "patch": 16})
        assert shorter.lengths[name] < heard.lengths[name]
    arch = Architecture(depth=1, width=16, experts=2, top_k=1, expert_ratio=1, head_dim=8)
    assert sum(p.numel() for p in Decoder(arch, heard).parameters()) == price(arch, heard).total_params


def test_sounds_beside_images_are_heard_at_length_too():
    """A pair of an image, a sound and a text is of the sense of sight, and its sounds count nevertheless."""
    heard = suite()
    records = heard.records | {"said": heard.records["said"].model_copy(update={"modality": "image"})}
    seen = suite(sound=None).model_copy(update={"records": records})
    assert with_sounds(seen, SETTING, local_catalog()).patch_share == heard.patch_share


def test_sounds_keep_to_the_contract():
    for name in ("pitches", "said"):
        check_by_name(name, suite(), 10)
        assert len({fingerprint(load_task(name, each)) for each in (suite(), suite(sound=None))}) == 2


def test_windows_are_a_function_of_seed_and_step_with_any_number_of_loaders():
    class At:
        global_step = 3

    heard = suite()
    mixer = Mixer(load_corpora(heard), TaskMixture.uniform(heard.tasks), heard, 5)
    data = MixtureData(mixer, Share(), loaders=2)
    data.trainer = At()  # pyright: ignore[reportAttributeAccessIssue]
    for step, batch in zip(range(3, 6), data.train_dataloader(), strict=False):
        ours = mixer.batch(step)
        _, pixels = batch.patches[SOUND]
        assert torch.equal(batch.tokens, ours.tokens)
        assert torch.equal(pixels, ours.patches[SOUND].pixels)
    whole = mixer.batch(3).patches[SOUND].pixels
    assert not torch.equal(whole[:20], mixer.batch(4).patches[SOUND].pixels[:20])


@pytest.mark.parametrize(("seconds", "frames"), [(0.001, 1), (0.1, 9), (1.0, 99), (2.5, 249), (30.0, 2999)])
def test_a_sound_has_a_frame_for_each_hundredth_of_a_second(seconds, frames):
    levels = to_levels(tone(440, 0, seconds) * 1000, KEPT_RATE, SECONDS)
    assert levels.dtype == np.uint8
    assert levels.shape == (pytest.approx(frames, abs=1), KEPT_BANDS)
    assert levels.max() == 255


def test_a_tone_is_heard_at_its_pitch_at_any_rate_and_in_pieces_as_at_once():
    """The band that is loudest is that of the pitch; long sounds are transformed in pieces."""
    edges = 700 * (
        np.exp(np.linspace(*(1127 * np.log(1 + np.array((20, 8000)) / 700)), KEPT_BANDS + 2) / 1127) - 1
    )
    for pitch, rate in ((300, 16_000), (1000, 44_100), (5000, 48_000), (3000, 8_000)):
        time = np.arange(rate * 12) / rate
        levels = to_levels(np.sin(2 * np.pi * pitch * time), rate, SECONDS)
        assert (levels.argmax(axis=1)[5:-5] == np.abs(edges[1:-1] - pitch).argmin()).all(), pitch
        assert np.ptp(levels[5:-5].astype(int), axis=0).max() <= 30
    assert SECONDS == DEFAULT


def test_what_lies_above_half_the_rate_is_not_heard():
    time = np.arange(48_000) / 48_000
    low, high = (np.sin(2 * np.pi * pitch * time) for pitch in (1000, 15_000))
    alone, both = (resampled(sound, 48_000, 16_000) for sound in (low, low + high))
    assert np.abs(both - alone)[500:-500].max() < 0.01


def test_of_a_long_sound_the_loudest_part_is_scored_and_any_part_is_trained_on():
    levels = np.zeros((1000, KEPT_BANDS), dtype=np.uint8)
    levels[:, 0] = np.arange(1000) // 4
    levels[600:650, 5] = 250
    part = loudest(levels, SETTING)
    assert part.shape == (200, KEPT_BANDS)
    assert (part[:, 5] > 0).sum() == 50
    rng = np.random.default_rng(0)
    parts = [random_part(levels, SETTING, rng) for _ in range(30)]
    assert {each.shape for each in parts} == {(200, KEPT_BANDS)}
    assert len({each.tobytes() for each in parts}) == 30
    short = levels[:37]
    assert np.array_equal(loudest(short, SETTING), short)
    patches = cut(short, SETTING)
    assert patches.shape == (5, 8 * KEPT_BANDS)
    assert (patches[4].reshape(8, KEPT_BANDS)[5:] == patches.min()).all()


def test_sounds_of_pairs_that_are_too_long_are_named_and_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    source = melodies(tmp_path / "said")
    left_out = library.LeftOut(0.5)
    found = add("some", source, seconds=1.0, left_out=left_out)
    assert (left_out.bad, found.manifest.items) == (30, 30)
    assert re.search(r"a sound of a pair lasts 1 s at most \(--seconds\), '.*said.jsonl:3' lasts 1\.2 s",
                     left_out.first_bad[0])  # fmt: skip
    assert found.manifest.seconds == 1.0
    with pytest.raises(TaskError, match="may be unreadable"):
        add("none", source, seconds=1.0)


def test_a_study_that_hears_less_than_the_longest_transcript_is_refused(run_command, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(STUDY | {"sound": {"seconds": 1}}))
    code, out, err = run_command("launch", path, "--dry-run")
    assert (code, out) == (2, "")
    assert re.search(
        r"length of the longest sound of pairs, of data set 'said' 1\.6, got 1, which 30 of 60 sounds exceed;"
        r" raise it", err.splitlines()[-1]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sound": {"seconds": 0}}, "sound.seconds"),
        ({"sound": {"second": 3}}, "sound.second.*did you mean 'seconds'"),
        ({"suite": ["digits"]}, "sound: one task at least is a data set of sounds or of pairs with sounds"),
        (
            {"sound": {"seconds": 10}},
            r"'pitches' \d+ tokens \(125 patches\), got context 64; raise it, or lower",
        ),
    ],
)
def test_settings_that_do_not_fit_are_one_line(run_command, tmp_path, changes, words):
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(STUDY | changes))
    code, out, err = run_command("launch", path, "--dry-run")
    assert (code, out) == (2, "")
    assert re.search(words, err.splitlines()[-1])
    assert "Traceback" not in err


def test_a_set_of_an_earlier_version_has_one_second_and_asks_for_whole_sounds(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_DATA", str(tmp_path / "data"))
    found = add("pitches", hum(tmp_path / "in"))
    arrays = {name: np.array(found.arrays[name]) for name in ("items", "labels", "splits")}
    np.savez_compressed(found.folder / library.ARRAYS, **arrays)
    for path in found.folder.glob("*.bin"):
        path.unlink()
    told = json.loads((found.folder / library.MANIFEST).read_text())
    told["sha256"] = library._digest("sounds", found.manifest.labels, arrays, {})
    del told["seconds"]
    (found.folder / library.MANIFEST).write_text(json.dumps(told))
    task = load_task("pitches", suite(sound=None), train_episodes=3)
    assert task.episodes()[0].patches["audio"].shape == (8, 128)
    assert len(task.sound_frames()) == 0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(
        TaskError, match=r"one second of each, of an earlier version.*data add pitches .*--replace"
    ):
        load_task("pitches", suite())
    measured = local_catalog()
    measured["pitches"] = measured["pitches"].model_copy(update={"frames": ()})
    other = tmp_path / "tasks.json"
    other.write_text(json.dumps({name: each.model_dump(mode="json") for name, each in measured.items()}))
    monkeypatch.setenv("PATHFRONT_TASKS", str(other))
    with pytest.raises(StudyFileError, match="measured before whole sounds were kept; add it again"):
        suite()


def test_the_mean_number_of_patches_counts_what_is_cut_and_what_is_filled():
    assert mean_patches((1, 8, 9, 200, 5000), SETTING) == (1 + 1 + 2 + 25 + 25) / 5


def test_a_specialist_hears_whole_sounds_and_is_scored_on_the_same_episodes():
    plain = suite(sound=None)
    for name in ("pitches", "said"):
        task = load_task(name, plain)
        assert isinstance(task, Audible)
        whole = task.at_length()
        frames = int(task.sound_frames().max())
        heard = [whole.example("report", i) for i in range(12)]  # pyright: ignore[reportAttributeAccessIssue]
        small = [task.example("report", i) for i in range(12)]  # pyright: ignore[reportAttributeAccessIssue]
        assert [each.answer for each in heard] == [each.answer for each in small]
        counts = {len(each.patches[SOUND]) for each in heard}
        assert len(counts) > 2
        assert max(counts) <= -(-frames // 8)
        asked = []

        def specialist(of, asked=asked):
            asked.append(of)
            return of.expert_policy()[1]

        alone, both = measure(task), measure(task, specialist)
        assert SOUND in asked[0].suite.encoders
        for split in HELD_OUT:
            assert both.references[split].expert.mean == pytest.approx(alone.references[split].expert.mean)
