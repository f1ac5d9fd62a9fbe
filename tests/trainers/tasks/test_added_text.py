"""Text of the user in every format and of any size: documents, splits, tokens, memory and damage."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow.parquet import write_table

from space.errors import StudyFileError, TaskError
from space.records import SPLITS
from trainers.tasks.datasets import documents, library, spool, text_task
from trainers.tasks.datasets.content import LeftOut
from trainers.tasks.datasets.documents import cut
from trainers.tasks.datasets.folders import Told
from trainers.tasks.datasets.library import add_dataset, open_dataset
from trainers.tasks.datasets.spool import Spool
from trainers.tasks.datasets.tasks import open_added
from trainers.tasks.datasets.text_task import AddedText, RunningText
from trainers.tasks.episodes import Episodes
from trainers.tasks.families.text import REPEATABLE, TextTask, fresh
from trainers.tokens.text import BOS

WORDS = ("the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "then", "sleeps")
PACKED = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Data sets of a test's own."""
    monkeypatch.setenv(library.ENVIRONMENT, str(tmp_path / "data"))
    return tmp_path / "data"


def add(name: str, source: Path, **options):
    told = Told(**{key: options.pop(key) for key in ("field", "side", "pairing") if key in options})
    return add_dataset(name, source, lambda *_: None, told=told, **options)


def stories(count: int, size: int = 1_500) -> list[str]:
    """Documents of some paragraphs each, no two alike."""
    rng = np.random.default_rng(count)
    return [
        "\n\n".join(" ".join(rng.choice(WORDS, 60)) + f" {i} é☃" for _ in range(max(1, size // 300)))
        for i in range(count)
    ]


def lines(texts, field: str = "text") -> bytes:
    return b"".join(json.dumps({"id": i, field: text}).encode() + b"\n" for i, text in enumerate(texts))


def task_of(name: str, suite, tokenizer) -> AddedText:
    factory = open_added(name)
    assert factory is not None
    task = factory(suite, tokenizer, None)
    assert isinstance(task, AddedText)
    return task


def texts_of(name: str) -> list[str]:
    arrays = open_dataset(name).arrays
    ends = arrays["ends"].tolist()
    return [arrays["text"][a:b].tobytes().decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)]


@pytest.mark.parametrize("packed", PACKED)
def test_plain_files_are_the_same_compressed_or_not(tmp_path, packed):
    (tmp_path / "in").mkdir()
    for i, text in enumerate(stories(60)):
        (tmp_path / "in" / f"{i:02}.txt{packed}").write_bytes(PACKED[packed](text.encode()))
    found = add("novels", tmp_path / "in")
    assert texts_of("novels") == stories(60)
    assert found.manifest.splits == {"train": 48, "select": 6, "report": 6}
    assert found.manifest.rule == "every tenth document for select and for report, by hash"


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.ndjson.zst", "a.parquet"])
def test_each_record_is_a_document_in_whatever_format(tmp_path, name):
    path, texts = tmp_path / name, stories(200)
    if name.endswith("parquet"):
        write_table(pyarrow.table({"id": list(range(200)), "body": texts}), path, row_group_size=70)
    else:
        path.write_bytes(PACKED[path.suffix if path.suffix in PACKED else ""](lines(texts, "body")))
    found = add("web", path, field="body")
    assert texts_of("web") == texts
    assert found.manifest.items == 200
    assert found.manifest.rule == "every tenth document for select and for report, by hash"
    with pytest.raises(TaskError, match=r"text in 'text' \(--field\), '.*a\..*' has id, body"):
        add("more", path)


def test_a_folder_of_shards_is_one_set_and_frames_are_read_to_the_last(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    texts = stories(300)
    frames = b"".join(PACKED[".zst"](lines(texts[i : i + 20])) for i in range(0, 100, 20))
    (source / "0.jsonl.zst").write_bytes(frames)
    (source / "1.jsonl").write_bytes(lines(texts[100:200]))
    write_table(pyarrow.table({"text": texts[200:]}), source / "2.parquet")
    assert add("web", source).manifest.items == 300
    assert texts_of("web") == texts


def test_a_document_of_many_blocks_is_of_one_split(tmp_path):
    texts = stories(60, 40_000)
    (tmp_path / "books.jsonl").write_bytes(lines(texts))
    found = add("books", tmp_path / "books.jsonl")
    assert found.manifest.items > 200
    splits = found.arrays["splits"]
    of_book: dict[str, set[int]] = {}
    for text, split in zip(texts_of("books"), splits.tolist(), strict=True):
        of_book.setdefault(text.split()[60], set()).add(split)
    assert len(of_book) == 60
    assert all(len(found) == 1 for found in of_book.values())
    counts = np.bincount([min(found) for found in of_book.values()], minlength=3)
    assert counts.tolist() == [48, 6, 6]


def test_of_very_many_documents_a_hundredth_is_held_out(tmp_path, monkeypatch):
    (tmp_path / "many.jsonl").write_bytes(lines(stories(1_000, 900)))
    monkeypatch.setattr("trainers.tasks.datasets.texts.MANY_EXCERPTS", 10)
    found = add("many", tmp_path / "many.jsonl").manifest
    assert found.splits == {"train": 980, "select": 10, "report": 10}
    assert "every hundredth document" in found.rule


BAD = {
    "no json": (b"{", r":7' does not: "),
    "no object": (b"[1]", "a JSON object"),
    "no field": (b'{"body": "x"}', r"text in 'text' \(--field\), '.*:7' has body"),
    "no text": (b'{"text": 3}', "holds int there"),
    "null": (b'{"text": null}', "holds NoneType there"),
    "nul": (rb'{"text": "a\u0000b"}', "neither NUL nor half"),
    "half": (rb'{"text": "a\ud800b"}', "neither NUL nor half"),
    "not utf-8": (b'{"text": "caf\xe9"}', r":7' does not: "),
    "deep": (b"[" * 100_000, r":7' does not: "),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_record_is_named_by_its_line_and_left_out(tmp_path, folder, bad):
    line, words = BAD[bad]
    texts = stories(200)
    path = tmp_path / "web.jsonl"
    path.write_bytes(lines(texts[:6]) + line + b"\n\n" + lines(texts[6:]))
    with pytest.raises(TaskError, match=rf"1 of 201 are; the first: .*{words}") as refusal:
        add("web", path)
    assert "\n" not in str(refusal.value)
    assert not folder.exists()
    kept = LeftOut(0.01)
    assert add("web", path, left_out=kept).manifest.unreadable == kept.bad == 1
    assert texts_of("web") == texts


def test_a_file_that_turns_bad_in_the_middle_leaves_nothing_of_itself(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for i, text in enumerate(stories(30)):
        if i not in (3, 5, 7):
            (source / f"{i:02}.txt").write_text(text)
    long = stories(1, 3_000_000)[0].encode()
    (source / "03.txt").write_bytes(long + b"\xff")
    (source / "05.txt.gz").write_bytes(gzip.compress(long)[:-20])
    (source / "07.txt.zst").write_bytes(PACKED[".zst"](long)[:-20] + bytes(20))
    kept = LeftOut(0.1)
    add("novels", source, left_out=kept)
    assert f"03.txt' is not at byte {len(long)}" in kept.first_bad[0]
    assert "05.txt.gz' cannot: " in kept.first_bad[1]
    assert "07.txt.zst' cannot: " in kept.first_bad[2]
    assert texts_of("novels") == [text for i, text in enumerate(stories(30)) if i not in (3, 5, 7)]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_records_that_end_early_stop_the_add(tmp_path, folder, name):
    path = tmp_path / name
    if name.endswith("parquet"):
        write_table(pyarrow.table({"text": stories(300)}), path)
    else:
        path.write_bytes(PACKED[path.suffix](lines(stories(300))))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(TaskError, match=rf"all (rows|lines) of a file can be read, '.*{name}' cannot: "):
        add("web", path, left_out=LeftOut(1.0))
    assert not folder.exists()


@given(st.lists(st.text(alphabet="ab \n", max_size=60), max_size=12))
def test_a_text_in_blocks_is_cut_as_if_it_were_whole(blocks):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "LONGEST_PIECE", 7)
        whole, parts = list(documents._pieces("".join(blocks))), list(cut(blocks))
        assert "".join("".join(parts).split()) == "".join("".join(blocks).split())
        assert all(part.strip() for part in parts)
        spaces = max((len(run) for run in "".join(blocks).replace("a", "b").split("b")), default=0)
        if spaces < 7:  # a longer run of white space may end up in another piece
            assert parts == whole


@given(st.lists(st.lists(st.integers(0, 30), max_size=8), max_size=8), st.integers(1, 9))
def test_a_paragraph_is_kept_at_its_first_place(tmp_path_factory, numbers, at_once):
    texts = [[f"paragraph {n} " + "x" * (REPEATABLE * (n % 3)) for n in some] for some in numbers]
    known: set[str] = set()
    expected = [text for text in (fresh("\n\n".join(some), known) for some in texts) if text]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "SORTED", at_once)
        with Spool(tmp_path_factory.mktemp("spool")) as made:
            for i, some in enumerate(texts):
                made.add(f"document {i}", iter(some))
        kept = made.kept()
        found = list(made.blocks(kept, 1_000_000))
    assert [content.decode() for content, *_ in found] == expected
    assert made.characters(kept) == sum(map(len, expected))
    assert [characters for _, characters, *_ in found] == [len(text) for text in expected]


def test_tokens_are_those_of_the_documents_on_one_core_or_several(tmp_path, monkeypatch, quick, tokenizer):
    (tmp_path / "web.jsonl").write_bytes(lines(stories(300)))
    add("web", tmp_path / "web.jsonl")
    task = task_of("web", quick, tokenizer)
    expected = Episodes.of(TextTask.demonstrations(task))
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(text_task, "SPAN", 20_000)
    for small, cores in ((10**9, 2), (0, 2)):
        monkeypatch.setattr(text_task, "FEW", small)
        monkeypatch.setattr(text_task, "cpu_count", lambda cores=cores: cores)
        (scratch := tmp_path / f"of {small}").mkdir()
        made = task._tokenised(lambda done, total, unit="": told.append((done, total)), scratch)
        assert isinstance(made, RunningText)
        for name in ("tokens", "local", "scored", "starts", "offsets"):
            assert np.array_equal(getattr(made, name), getattr(expected, name)), name
        assert told[-1][0] == told[-1][1] > 300_000
    kept = task.episodes()
    assert kept.tokens.dtype == np.uint16
    assert isinstance(kept.tokens, np.memmap)
    chunk = kept[7]
    assert chunk.tokens.dtype == np.int32
    assert chunk.tokens[0] == BOS
    assert not chunk.scored[0]
    assert chunk.scored[1:].all()
    assert tokenizer.decode(chunk.tokens[1:]) == task.texts("train")[7]


def test_excerpts_of_a_long_text_come_from_some_documents(tmp_path, monkeypatch):
    (tmp_path / "web.jsonl").write_bytes(lines(stories(300)))
    found = add("web", tmp_path / "web.jsonl")
    every = text_task.excerpts(found, "report")
    text_task.excerpts.cache_clear()
    monkeypatch.setattr(text_task, "MOST_CUT", 10_000)
    some = text_task.excerpts(found, "report")
    text_task.excerpts.cache_clear()
    assert 5 < len(some) < len(every)
    assert set(some) < set(every)


def test_a_text_that_was_added_before_is_still_read(tmp_path, folder):
    (tmp_path / "novel.txt").write_text("\n\n".join(stories(30)))
    new = add("novel", tmp_path / "novel.txt")
    arrays = {name: np.array(array) for name, array in new.arrays.items()}
    np.savez_compressed(folder / "novel" / library.ARRAYS, **arrays)
    for name in arrays:
        (folder / "novel" / f"{name}.bin").unlink()
    library._opened.cache_clear()
    old = open_dataset("novel")
    assert old is not new
    assert old.size < 50_000
    assert all(np.array_equal(old.arrays[name], array) for name, array in arrays.items())
    assert add("novel", tmp_path / "novel.txt") is old


def test_damaged_texts_are_refused_until_replaced(tmp_path, folder):
    path = tmp_path / "novel.txt"
    path.write_text("\n\n".join(stories(30)))
    add("novel", path)
    for name in ("text", "ends", "splits"):
        file = folder / "novel" / f"{name}.bin"
        whole = file.read_bytes()
        for torn in (b"", whole[:-3], whole[:5] + b"\x7f\x7f" + whole[7:], None):
            file.unlink()
            if torn is not None:
                file.write_bytes(torn)
            library._opened.cache_clear()
            with pytest.raises(TaskError, match="'novel' is damaged"):
                assert open_dataset("novel").arrays
        with pytest.raises(TaskError, match="damaged"):
            assert open_dataset("novel").size
        file.write_bytes(whole)
    library._opened.cache_clear()
    assert open_dataset("novel").arrays
    path.write_text("\n\n".join(stories(31)))
    with pytest.raises(StudyFileError, match="--replace"):
        add("novel", path)
    assert [path.name for path in folder.iterdir()] == ["novel"]


MEASURE = """
import resource, sys
from pathlib import Path
import numpy as np
from space.catalog import load_catalog
from trainers.tasks.datasets.library import add_dataset
from trainers.tasks.datasets.tasks import open_added
from trainers.tasks.tokenizer import suite_tokenizer
suite = load_catalog().suite("quick")
add_dataset("web", Path(sys.argv[1]), lambda *_: None)
open_added("web")(suite, suite_tokenizer(suite), None).episodes()
print(max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    """Sixteen times the text, in one line that is never held whole, takes at most a few spans more."""
    peaks = []
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))
    for size in (2_000_000, 32_000_000):
        path = tmp_path / f"{size}.txt"
        rng = np.random.default_rng(0)
        with path.open("w") as file:
            for _ in range(size // 100_000):
                file.write(" ".join(rng.choice(WORDS, 24_000)) + " ")
        monkeypatch.setenv(library.ENVIRONMENT, str(tmp_path / f"data-{size}"))
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=150,
        )
        peaks.append(int(done.stdout) * 1024)
    assert peaks[1] - peaks[0] < 32_000_000


def test_splits_share_nothing(tmp_path):
    texts = stories(200)
    (tmp_path / "web.jsonl").write_bytes(lines([*texts, *texts[:50]]))
    found = add("web", tmp_path / "web.jsonl")
    assert found.manifest.left_out == 50 * texts[0].count("\n\n") + 50
    of_split = [
        {
            p
            for text, at in zip(texts_of("web"), found.arrays["splits"], strict=True)
            if at == i
            for p in text.split("\n\n")
        }
        for i in range(len(SPLITS))
    ]
    assert not of_split[0] & of_split[1] | of_split[0] & of_split[2] | of_split[1] & of_split[2]
