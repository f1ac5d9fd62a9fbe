"""Pairs of the user: every format, what is recognised and refused, groups and splits, and their tasks."""

import io
import json

import numpy as np
import pyarrow
import pytest
from pair_sources import FORMATS, captions, encoded, lines, picture, questions, scenes, tone
from PIL import Image
from pyarrow.parquet import write_table

from space.errors import StudyFileError, TaskError
from space.images import PICTURE
from space.records import SPLITS, ImageSetting
from trainers.data import Corpus
from trainers.tasks.contract import check_task
from trainers.tasks.datasets import library
from trainers.tasks.datasets.content import LeftOut
from trainers.tasks.datasets.folders import Told
from trainers.tasks.datasets.kept import Contents
from trainers.tasks.datasets.library import add_dataset, open_dataset
from trainers.tasks.datasets.pair_episodes import PairEpisodes
from trainers.tasks.datasets.pair_rows import PairRows, plain
from trainers.tasks.datasets.pair_task import ExactPairs, LikelyPairs
from trainers.tasks.datasets.pairing import Pairing, recognise
from trainers.tasks.datasets.pictures import opened
from trainers.tasks.datasets.sounds import KEPT_BANDS
from trainers.tasks.datasets.tasks import open_added
from trainers.tasks.episodes import Episodes
from trainers.tasks.fingerprint import fingerprint
from trainers.tasks.interface import QuestionInterface
from trainers.tasks.measure import measure_own
from trainers.tokens.text import STOP

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Data sets of a test's own."""
    monkeypatch.setenv(library.ENVIRONMENT, str(tmp_path / "data"))
    return tmp_path / "data"


def add(name, source, **options):
    told = Told(
        **{key: options.pop(key) for key in ("field", "side", "seconds", "pairing") if key in options}
    )
    return add_dataset(name, source, lambda *_: None, told=told, **options)


def task_of(name, suite, tokenizer, train_episodes=None):
    factory = open_added(name)
    assert factory is not None
    return factory(suite, tokenizer, train_episodes)


def pairs_of(dataset):
    rows = PairRows(dataset.arrays)
    return [(rows.question(i), rows.answers(i)) for i in range(len(rows))]


def written(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(rows))
    return path


def prompts(count, seed=0, words=20):
    """Questions in words with answers in words, no two alike."""
    rng = np.random.default_rng(seed)
    return [
        {"prompt": f"{i}: {' '.join(rng.choice(WORDS, 8))}", "completion": " ".join(rng.choice(WORDS, words))}
        for i in range(count)
    ]


def speech(folder, count=60):
    """Tones whose transcripts name them, two by each speaker."""
    folder.mkdir()
    names = {"low": 300, "middle": 900, "high": 2000}
    rows = []
    for i in range(count):
        name = [*names][i % 3]
        (folder / f"{i}.flac").write_bytes(tone(names[name], i, kind="FLAC"))
        rows.append({"audio": f"{i}.flac", "sentence": f"a {name} tone", "speaker": i // 2})
    return written(folder / "speech.jsonl", rows)


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_same_pairs(tmp_path, name):
    (tmp_path / "in").mkdir()
    pairs = captions(60)
    FORMATS[name](tmp_path / "in", pairs)
    left_out = LeftOut()
    found = add("pictures", tmp_path / "in", left_out=left_out)
    assert found.manifest.kind == "pairs"
    assert found.manifest.splits == {"train": 36, "select": 12, "report": 12}
    assert found.manifest.rule == "every fifth image or sound for select and for report, by hash"
    assert (found.manifest.facts["metric"], left_out.others) == ("exact", 0)
    assert pairs_of(found) == [("", [text]) for _, text in pairs]
    ends = found.arrays["image_ends"].tolist()
    content = found.arrays["image_content"].tobytes()
    for first, stop, (image, _) in zip([0, *ends[:-1]], ends, pairs, strict=True):
        kept = np.asarray(Image.open(io.BytesIO(content[first:stop])))
        np.testing.assert_array_equal(kept, np.asarray(Image.open(io.BytesIO(image)).convert("RGB")))
    assert found.arrays["image_seen"].shape == (60, 16, 16, 3)
    assert found.manifest.sha256 == add("again", tmp_path / "in").manifest.sha256


@pytest.fixture
def sources(tmp_path):
    """A source of each type of pairs."""
    write_table(
        pyarrow.table({"image": [i for i, _ in captions(150)], "text": [t for _, t in captions(150)]}),
        tmp_path / "captions.parquet",
    )
    return {
        "captions": tmp_path / "captions.parquet",
        "questions": questions(tmp_path / "vqa", 100),
        "transcripts": speech(tmp_path / "speech", 90),
        "prompts": written(tmp_path / "prompts.jsonl", prompts(200)),
    }


TYPES = {
    "captions": ("image", "exact", {"image": "image", "answer": "text"}),
    "questions": ("image", "exact", {"image": "image", "question": "question", "answer": "answers"}),
    "transcripts": ("audio", "bits", {"audio": "audio", "answer": "sentence"}),
    "prompts": ("text", "bits", {"question": "prompt", "answer": "completion"}),
}


@pytest.mark.parametrize("name", TYPES)
def test_each_type_of_pairs_is_a_task_that_keeps_to_the_contract(sources, name, quick, tokenizer, vocabulary):
    sense, metric, fields = TYPES[name]
    found = add(name, sources[name])
    facts = dict(found.manifest.facts)
    facts.pop("why")
    assert facts == {**fields, "metric": metric}
    task = task_of(name, quick, tokenizer)
    assert isinstance(task, ExactPairs if metric == "exact" else LikelyPairs)
    assert (task.name, task.family, task.domain, task.modality) == (name, "added", sense, sense)
    check_task(lambda: task_of(name, quick, tokenizer, 10), vocabulary, quick.context)
    measured = measure_own(task)
    assert measured.patch_share.keys() == {sense} - {"text"}
    floor, expert = measured.record.checked("report")
    assert (expert.mean > 0.5) if metric == "exact" else (expert.mean < floor.mean - 0.1)


@pytest.mark.parametrize("name", TYPES)
def test_episodes_in_files_are_those_that_the_task_demonstrates(sources, name, quick, tokenizer):
    add(name, sources[name])
    task = task_of(name, quick, tokenizer)
    kept, made = task.episodes(), Episodes.of(task.demonstrations())
    assert isinstance(kept, PairEpisodes)
    assert task.is_prepared()
    for field in ("tokens", "local", "scored", "starts", "offsets"):
        np.testing.assert_array_equal(getattr(kept, field), getattr(made, field), field)
    index = np.random.default_rng(0).integers(0, len(kept.tokens), 500)
    for encoder in kept.placeholders:
        np.testing.assert_allclose(
            kept.patches_at(encoder, index), made.patches_at(encoder, index), atol=0.01
        )
        assert kept.patches_at(encoder, index[:0]).shape == (0, quick.encoders[encoder])
    assert len(Corpus.of(name, kept)) == len(made.tokens)
    assert fingerprint(task) == fingerprint(task_of(name, quick, tokenizer))
    assert fingerprint(task) != fingerprint(task_of(name, quick, tokenizer, 5))


@pytest.mark.parametrize("name", ["transcripts", "prompts"])
def test_likelihood_is_asked_for_the_sequence_that_training_shows(sources, name, quick, tokenizer):
    add(name, sources[name])
    task = task_of(name, quick, tokenizer)
    for index in range(5):
        shown = task.demonstration(index)
        ((asked, fresh),) = task._windows("train", index)
        np.testing.assert_array_equal(asked.tokens, shown.tokens[:-1])
        np.testing.assert_array_equal(asked.local, shown.local[:-1])
        assert shown.tokens[-1] == STOP
        assert fresh == shown.scored.sum() - 1 == len(tokenizer.encode(task.answer("train", index)))


def test_a_long_answer_is_scored_in_windows_that_follow_the_question(tmp_path, quick, tokenizer, vocabulary):
    rows = prompts(40, words=400)
    rows[0]["prompt"] = " ".join(WORDS * 60)
    add("long", written(tmp_path / "a.jsonl", rows))
    task = task_of("long", quick, tokenizer)
    check_task(lambda: task_of("long", quick, tokenizer, 20), vocabulary, quick.context)
    places = {tuple(task._rows.answers(task._place(s, i))): (s, i) for s in SPLITS for i in range(40)}
    split, index = places[(rows[0]["completion"],)]
    question = task.session(split, index).observe()
    assert len(question) <= quick.context // 2
    assert tokenizer.decode(question.tokens).endswith(rows[0]["prompt"][-40:])
    windows = list(task._windows(split, index))
    assert len(windows) > 3
    assert max(len(chunk) for chunk, _ in windows) <= quick.context + 1
    assert sum(new for _, new in windows) == len(tokenizer.encode(rows[0]["completion"]))
    for chunk, _ in windows[1:]:
        np.testing.assert_array_equal(chunk.tokens[: len(question)], question.tokens)
    starts = np.flatnonzero(task.demonstration(0).starts)
    assert len(starts) > 3


def test_answers_are_compared_apart_from_case_space_and_marks_and_each_accepted_one_is_right(
    tmp_path, quick, tokenizer
):
    assert plain("  It's  RED. ") == plain("it s red")
    assert plain("3.5") == "3.5" != plain("35")
    assert plain("?!") == "?!"
    add("vqa", questions(tmp_path / "vqa", 60))
    task = task_of("vqa", quick, tokenizer)
    index = next(i for i in range(20) if "colour" in task.example("report", i).prompt)
    for said, value in ((task.answer("report", index), 1), ("Coloured!", 1), ("yellow", 0)):
        session = task.session("report", index)
        session.act(tokenizer.encode(said))
        assert session.value == value, said


def test_the_interface_asks_as_the_sessions_do(sources, quick, tokenizer):
    add("questions", sources["questions"])
    task = task_of("questions", quick, tokenizer)
    interface = QuestionInterface(task)
    place = task._place("report", 0)
    image = task.dataset.arrays["image_seen"][task.dataset.arrays["image"][place]]
    asked = interface.question(task.example("report", 0).prompt, image, None, None)
    shown = task.session("report", 0).observe()
    np.testing.assert_array_equal(asked.tokens, shown.tokens)
    np.testing.assert_allclose(asked.patches["image"], shown.patches["image"], atol=1e-6)
    assert interface.answer(tokenizer.encode("red")) == "red"


@pytest.mark.parametrize(
    ("name", "metric"), [("captions", "exact"), ("captions", "bits"), ("questions", "exact")]
)
def test_images_are_seen_at_the_resolution_of_a_study(sources, name, metric, quick, tokenizer):
    add(name, sources[name], pairing=Pairing(metric=metric))
    setting = ImageSetting(side=32, patch=16)
    sharp = quick.model_copy(
        update={"image": setting, "encoders": quick.encoders | {PICTURE: 3 * setting.patch**2}}
    )
    task = task_of(name, sharp, tokenizer)
    check_task(lambda: task_of(name, sharp, tokenizer, 10), task.vocabulary, sharp.context)
    example = task.example("report", 0)
    assert {encoder: patches.shape for encoder, patches in example.patches.items()} == {PICTURE: (4, 768)}
    kept, made = task.episodes(), Episodes.of(task.demonstrations())
    np.testing.assert_array_equal(kept.tokens, made.tokens)
    index = np.random.default_rng(0).integers(0, len(kept.tokens), 500)
    np.testing.assert_allclose(kept.patches_at(PICTURE, index), made.patches_at(PICTURE, index), atol=0.01)
    place = task._place("report", 0)
    files = Contents(task.dataset.arrays["image_content"], task.dataset.arrays["image_ends"])
    image = opened(files[int(task.dataset.arrays["image"][place])])
    asked = QuestionInterface(task).question(example.prompt, np.asarray(image.convert("RGB")), None, None)
    np.testing.assert_allclose(asked.patches[PICTURE], example.patches[PICTURE], atol=1e-6)
    plain_key = task_of(name, quick, tokenizer).cache_key()
    assert task.cache_key() != plain_key


def test_a_resolution_that_does_not_fit_is_refused(sources, quick, tokenizer):
    add("captions", sources["captions"], side=32)
    for side, words in ((64, "at most the side"), (32, "a context holds")):
        setting = ImageSetting(side=side, patch=16)
        sizes = {"encoders": quick.encoders | {PICTURE: 768}, "context": 16, "image": setting}
        with pytest.raises(TaskError, match=words):
            task_of("captions", quick.model_copy(update=sizes), tokenizer)


def test_a_medium_is_kept_once_and_its_questions_share_a_split(tmp_path):
    found = add("vqa", questions(tmp_path / "vqa", 60))
    assert found.manifest.items == 120
    assert len(found.arrays["image_seen"]) == 60
    of_image: dict[int, set[int]] = {}
    for image, split in zip(found.arrays["image"].tolist(), found.arrays["splits"].tolist(), strict=True):
        of_image.setdefault(image, set()).add(split)
    assert all(len(splits) == 1 for splits in of_image.values())


def test_images_that_a_model_cannot_tell_apart_share_a_split(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for i in range(40):
        pixels = np.kron(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8), np.ones((2, 2, 1), np.uint8))
        for kind in ("PNG", "WEBP"):
            written_ = io.BytesIO()
            Image.fromarray(pixels).save(written_, kind, lossless=True)
            (tmp_path / f"{i}.{kind.lower()}").write_bytes(written_.getvalue())
            rows.append({"image": f"{i}.{kind.lower()}", "caption": f"picture {i} as {kind}"})
    found = add("same", written(tmp_path / "rows.jsonl", rows))
    assert len(found.arrays["image_seen"]) == 80
    assert (found.arrays["splits"][::2] == found.arrays["splits"][1::2]).all()


def test_rows_of_one_group_are_never_in_different_splits(tmp_path):
    source = speech(tmp_path / "speech")
    found = add("speech", source, pairing=Pairing(group_by="speaker"))
    splits = found.arrays["splits"]
    assert (splits[::2] == splits[1::2]).all()
    assert set(splits.tolist()) == {0, 1, 2}
    assert "every fifth speaker" in found.manifest.rule
    assert not (add("other", source).arrays["splits"][::2] == splits[::2]).all()


def test_splits_come_from_a_field_or_from_names(tmp_path):
    rows = prompts(60)
    named = {"train": rows[:40], "validation": rows[40:50], "test": rows[50:]}
    for split, part in named.items():
        written(tmp_path / "files" / f"{split}-00000-of-00001.jsonl", part)
        written(tmp_path / "folders" / split / "rows.jsonl", part)
    field = [{**row, "split": split} for split, part in named.items() for row in part]
    written(tmp_path / "field" / "rows.jsonl", field)
    for name in ("files", "folders", "field"):
        found = add(name, tmp_path / name)
        assert found.manifest.splits == {"train": 40, "select": 10, "report": 10}
        assert found.manifest.rule == "the source's own"
    test_only = add("only", tmp_path / "files" / "test-00000-of-00001.jsonl")
    assert test_only.manifest.splits == {"train": 6, "select": 2, "report": 2}
    half = add(
        "half", written(tmp_path / "half.jsonl", [row for row in field if row["split"] != "validation"])
    )
    assert half.manifest.splits["report"] == 10
    assert half.manifest.rule == "the source's own; every fifth question for select, by hash"


def test_a_repeated_pair_is_kept_once_and_a_group_follows_its_held_out_part(tmp_path):
    rows = [{**row, "split": "train"} for row in prompts(40)]
    rows += [{**row, "split": split} for split in ("validation", "test") for row in prompts(10, seed=5)]
    rows += [{**rows[0], "split": "test"}, {**rows[1], "completion": "another", "split": "test"}]
    rows += [{**row, "split": "validation"} for row in prompts(5, seed=9)]
    found = add("repeats", written(tmp_path / "rows.jsonl", rows))
    assert found.manifest.left_out == 11
    assert found.manifest.splits == {"train": 38, "select": 5, "report": 13}


BAD = {
    "no json": (b"{", r":4' does not: "),
    "no object": (b"[1]", "a JSON object"),
    "no question": ({"image": "0.png", "answers": "x"}, "'question' holds text, '.*:4' holds nothing"),
    "no answer": ({"image": "0.png", "question": "?", "answers": []}, "has an answer in 'answers', '.*:4'"),
    "empty": ({"image": "0.png", "question": "?", "answers": [" "]}, "'.*:4' holds nothing there"),
    "nul": ({"image": "0.png", "question": "?", "answers": "a\0b"}, "neither NUL nor half"),
    "number": ({"image": 3, "question": "?", "answers": "x"}, "a path, bytes or base64, '.*:4' holds int"),
    "no image": ({"question": "?", "answers": "x"}, "'image' holds a path.*':4|:4' holds nothing"),
    "no file": ({"image": "no.png", "question": "?", "answers": "x"}, "'.*no.png', which is not there"),
    "no picture": ({"image": "questions.jsonl", "question": "?", "answers": "x"}, "an image can be read"),
    "no split": ({"image": "0.png", "question": "?", "answers": "x", "split": "a"}, "'split' holds train"),
}


@pytest.mark.parametrize("name", BAD)
def test_rows_that_cannot_be_read_are_counted_and_named_up_to_a_share(tmp_path, folder, name):
    bad, message = BAD[name]
    source = questions(tmp_path / "vqa", 30)
    rows = source.read_bytes().splitlines()
    rows.insert(3, bad if isinstance(bad, bytes) else json.dumps(bad).encode())
    source.write_bytes(b"\n".join(rows))
    with pytest.raises(TaskError, match=rf"1 of 61 are; the first: .*{message}"):
        add("vqa", source)
    assert not folder.exists()
    left_out = LeftOut(0.05)
    found = add("vqa", source, left_out=left_out)
    assert (found.manifest.items, found.manifest.unreadable, left_out.bad) == (60, 1, 1)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.parquet", b"PAR1"),
        ("a.arrow", b"\xff\xff\xff\xff"),
        ("a.tar", b"x" * 700),
        ("a.csv", b"a,b\n\xff,1"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, folder, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=rf"all records of a file can be read, '.*{name}' cannot: "):
        add("broken", tmp_path / name, kind="pairs")
    assert not folder.exists()


def test_a_shard_that_is_cut_off_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    FORMATS["tar"](tmp_path / "in", captions(20))
    shard = tmp_path / "in" / "shard-000.tar"
    shard.write_bytes(shard.read_bytes()[:30_000])
    with pytest.raises(TaskError, match="all records of a file can be read"):
        add("cut", tmp_path / "in")


def test_sources_without_pairs_are_refused(tmp_path, folder):
    source = written(tmp_path / "a.jsonl", [{"id": i, "body": "x"} for i in range(30)])
    with pytest.raises(TaskError, match=r"no field with a usual name for an answer among id, body; name"):
        add("none", source, kind="pairs")
    with pytest.raises(TaskError, match=r"'speaker' is not in '.*:1' with id, body"):
        add("none", source, kind="pairs", pairing=Pairing(group_by="speaker"))
    with pytest.raises(TaskError, match=r"train needs some, of '.*' select has 1 of 3"):
        add("few", written(tmp_path / "b.jsonl", prompts(3)))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0.png").write_bytes(captions(1)[0][0])
    with pytest.raises(TaskError, match="pairs are in JSON lines, CSV, Parquet, Arrow or tar files"):
        add("none", tmp_path / "pictures", kind="pairs")
    assert not folder.exists()


FIELDS = {
    "instruction": (
        {"instruction": "a", "input": "b", "output": "c", "text": "d"},
        ({"question": "instruction + input", "answer": "output"}),
    ),
    "vqa": (
        {"question_id": 1, "Image": b"", "question": "a", "answers": [], "multiple_choice_answer": "b"},
        {"image": "Image", "question": "question", "answer": "answers"},
    ),
    "nemo": (
        {"audio_filepath": "a", "duration": 1, "text": "b"},
        {"audio": "audio_filepath", "answer": "text"},
    ),
    "audio folder": (
        {"file_name": "a.mp3", "transcription": "b"},
        {"audio": "file_name", "answer": "transcription"},
    ),
    "chat": ({"prompt": "a", "response": "b"}, {"question": "prompt", "answer": "response"}),
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_recognised_by_usual_names(name):
    record, facts = FIELDS[name]
    assert recognise(record, Pairing(), "here").facts == facts


def test_fields_are_those_that_the_user_names(tmp_path):
    rows = [{"a": str(i), "b": f"{i} b", "text": "c", "prompt": "d"} for i in range(40)]
    wanted = Pairing(question="b", answer="a", metric="exact")
    found = add("mine", written(tmp_path / "a.jsonl", rows), kind="pairs", pairing=wanted)
    assert pairs_of(found)[3] == ("3 b", ["3"])
    assert found.manifest.facts == {
        "question": "b", "answer": "a", "metric": "exact", "why": "as --metric says"
    }  # fmt: skip
    other = add("bits", tmp_path / "a.jsonl", kind="pairs", pairing=Pairing(question="b", answer="a"))
    assert other.manifest.facts["metric"] == "bits"
    assert "are right for 0% of the held-out pairs, less than 80%" in other.manifest.facts["why"]
    assert other.manifest.sha256 != found.manifest.sha256
    with pytest.raises(StudyFileError, match="keeps its content"):
        add("mine", tmp_path / "a.jsonl", kind="pairs", pairing=Pairing(question="b", answer="a"))


def test_texts_of_records_stay_texts(tmp_path):
    rows = [{"text": " ".join(np.random.default_rng(i).choice(WORDS, 200)), "prompt": "x"} for i in range(60)]
    assert add("texts", written(tmp_path / "a.jsonl", rows)).manifest.kind == "text"
    rows = [{**row, "image": "https://example.org/a.png"} for row in rows]
    assert add("pages", written(tmp_path / "b.jsonl", rows)).manifest.kind == "text"


def test_instructions_have_their_input_below_and_each_caption_is_a_pair(tmp_path):
    rows = [{"instruction": f"do {i}", "input": "this" * (i % 2), "output": f"done {i}"} for i in range(40)]
    found = add("orders", written(tmp_path / "a.jsonl", rows))
    assert pairs_of(found)[:2] == [("do 0", ["done 0"]), ("do 1\nthis", ["done 1"])]
    for i, (image, *_) in enumerate(scenes(30)):
        (tmp_path / f"{i}.png").write_bytes(image)
    rows = [{"image": f"{i}.png", "captions": [f"one of {i}", f"two of {i}"]} for i in range(30)]
    found = add("captions", written(tmp_path / "b.jsonl", rows))
    assert pairs_of(found)[:2] == [("", ["one of 0"]), ("", ["two of 0"])]
    assert (found.manifest.items, len(found.arrays["image_seen"])) == (60, 30)


def test_large_media_are_kept_smaller(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(picture("red", "square", rng, 400))
        (tmp_path / f"{i}.wav").write_bytes(tone(300 + 20 * i, i, 44_100, 32 if i == 0 else 0.5))
    rows = [{"image": f"{i}.png", "audio": f"{i}.wav", "caption": f"{i}"} for i in range(20)]
    found = add("large", written(tmp_path / "a.jsonl", rows), seconds=32)
    first = found.arrays["image_content"][: found.arrays["image_ends"][0]].tobytes()
    with Image.open(io.BytesIO(first)) as image:
        assert (image.size, image.format) == ((256, 256), "JPEG")
    assert found.arrays["audio_ends"][0] == pytest.approx(32 * 100 * KEPT_BANDS, rel=0.01)


def test_grey_deep_and_turned_pictures_are_read(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    turned = io.BytesIO()
    half = np.zeros((40, 40, 3), np.uint8)
    half[:20] = 255
    Image.fromarray(half).save(turned, "JPEG", exif=exif)
    contents = [
        turned.getvalue(),
        encoded(half[:, :, 0], "PNG"),
        encoded(half[:, :, 0] * np.uint16(200), "TIFF"),
    ]
    contents += [encoded(np.full((20, 20, 3), 3 * i, np.uint8)) for i in range(17)]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.png").write_bytes(content)
    rows = [{"image": f"{i}.png", "caption": f"{i}"} for i in range(20)]
    seen = add("odd", written(tmp_path / "a.jsonl", rows)).arrays["image_seen"]
    assert seen[0, :, -1].mean() > 250 > 5 > seen[0, :, 0].mean()
    for other in (1, 2):
        assert seen[other, 0].mean() > 250 > 5 > seen[other, -1].mean()


def test_damage_is_found_and_the_set_is_opened_as_it_was_written(tmp_path, folder):
    found = add("vqa", questions(tmp_path / "vqa", 30))
    assert open_dataset("vqa").size == found.size > 30_000
    path = folder / "vqa" / "image_content.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    library._opened.cache_clear()
    with pytest.raises(TaskError, match="'vqa' is damaged"):
        _ = open_dataset("vqa").arrays
