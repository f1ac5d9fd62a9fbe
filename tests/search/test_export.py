"""Exports: what is in the folder, what is refused, and that nothing is left behind."""

import hashlib
import json
import os
import re
from pathlib import Path
from urllib.parse import urlparse

import pytest
from factories import make_study, suite
from sqlalchemy import create_engine, select, update

from search.database import tables
from search.export.write import choose, export, picked
from search.pareto import knee
from search.read.results import Reader
from space.errors import CheckpointError, NotFoundError, StorageError, StudyFileError
from space.recipe import Recipe
from trainers.model.decoder import Decoder
from trainers.train import save_weights

FILES = {"config.yaml", "model.safetensors", "tokenizer.model", "references.json", "README.md"}
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}  # what transformers reads


def tokenizer(_) -> bytes:
    return b"sentencepiece"


@pytest.fixture
def reader(tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    make_study(url, trials=24, running=1, artifacts=tmp_path / "artifacts")
    reader = Reader(url)
    yield reader
    reader.close()


def weights_of(detail) -> Path:
    return Path(urlparse(detail.checkpoints[0].uri).path)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name not in ("studies.db", "artifacts"))


def test_an_export_holds_all_that_training_needs(reader, tmp_path):
    folder = tmp_path / "deep" / "best"
    detail = export(reader, "quick", folder, tokenizer)
    assert {path.name for path in folder.iterdir()} == FILES
    recipe = Recipe.read(folder)
    assert recipe.candidate == detail.config
    assert recipe.suite == reader.suite("quick")
    assert recipe.origin.trial == reader.front("quick")[0].trial
    weights = (folder / "model.safetensors").read_bytes()
    assert weights == weights_of(detail).read_bytes()
    assert recipe.weights_sha256 == hashlib.sha256(weights).hexdigest()
    assert (folder / "tokenizer.model").read_bytes() == b"sentencepiece"
    references = json.loads((folder / "references.json").read_text())
    assert references["docs"]["references"]["report"]["expert"]["mean"] == 2.3
    assert left_behind(tmp_path / "deep") == ["best"]


def test_the_card_says_scores_cost_place_and_commands(reader, tmp_path):
    folder = tmp_path / "my best"
    detail = export(reader, "quick", folder, tokenizer, pick="knee")
    card = (folder / "README.md").read_text()
    for task, score in detail.tasks.items():
        low, high = (score.fraction + sign * 1.96 * score.fraction_stderr for sign in (-1, 1))
        row = next(line for line in card.splitlines() if line.startswith(f"| {task} |"))
        assert f"{score.fraction:.3f} [{low:.3f}, {high:.3f}]" in row
    assert f"{detail.row.flops_per_token:,.0f} FLOPs per token" in card
    assert f"of {len(reader.front('quick'))} on the front" in card
    assert f"pathfront train '{folder}' --tokens {10 * detail.row.tokens} " in card
    assert f"pathfront eval '{folder}'" in card


def test_picks(reader):
    front = reader.front("quick")
    assert choose(reader, "quick").row.number == front[0].trial
    bend = knee([(row.score, row.flops_per_token) for row in front])
    assert picked(front, "knee").trial == front[bend].trial
    limit = front[-1].flops_per_token
    assert choose(reader, "quick", max_flops=limit).row.number == front[-1].trial
    assert choose(reader, "quick", trial=5).row.number == 5


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ({"pick": "bst"}, StudyFileError, "--pick is best or knee, got 'bst'; did you mean 'best'?"),
        ({"pick": "best", "trial": 3}, StudyFileError, "--trial names the trial itself: leave --pick out"),
        ({"max_flops": 1e6, "trial": 3}, StudyFileError, "leave --max-flops out"),
        ({"trial": 24}, StudyFileError, "only a done trial can be exported, and trial 24 is running"),
        ({"trial": 99}, NotFoundError, "has no trial 99"),
        ({"max_flops": 10.0}, NotFoundError, "has no done trial within 10 FLOPs per token"),
    ],
)
def test_choices_that_mean_nothing_are_refused(reader, tmp_path, choice, error, message):
    with pytest.raises(error) as raised:
        export(reader, "quick", tmp_path / "new", tokenizer, **choice)
    assert message in str(raised.value)
    assert left_behind(tmp_path) == []


def test_an_existing_folder_is_left_alone(reader, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    with pytest.raises(StudyFileError, match="goes into a new folder"):
        export(reader, "quick", folder, tokenizer)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "never"])
def test_damaged_weights_are_refused_and_nothing_is_left(reader, tmp_path, damage):
    detail = choose(reader, "quick")
    path = weights_of(detail)
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[100] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "gone":
        path.unlink()
    else:
        engine = create_engine(reader.url)
        with engine.begin() as connection:
            connection.execute(update(tables.checkpoints).values(kind="trunk"))
        engine.dispose()
    with pytest.raises(StorageError if damage == "gone" else CheckpointError) as error:
        export(reader, "quick", tmp_path / "new", tokenizer)
    assert "\n" not in str(error.value)
    assert left_behind(tmp_path) == []


def test_a_failure_half_way_leaves_nothing(reader, tmp_path):
    def fails(_) -> bytes:
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        export(reader, "quick", tmp_path / "new", fails)
    assert left_behind(tmp_path) == []


def test_the_suite_of_an_export_is_the_one_frozen_with_the_study(reader, tmp_path):
    export(reader, "quick", tmp_path / "new", tokenizer)
    assert Recipe.read(tmp_path / "new").suite == suite()


@pytest.fixture
def trained(reader):
    """The best trial of the study, with weights that a decoder can have."""
    detail = choose(reader, "quick")
    path = weights_of(detail)
    save_weights(Decoder(detail.config.architecture, suite()), detail.config, path)
    engine = create_engine(reader.url)
    file = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
    with engine.begin() as connection:
        mine = tables.checkpoints.c.uri == detail.checkpoints[0].uri
        connection.execute(update(tables.checkpoints).where(mine).values(**file))
    engine.dispose()
    return detail


def card_names_hf(folder: Path) -> int:
    return (folder / "README.md").read_text().count("`hf/`")


def loads(folder: Path) -> bool:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    return model.config.vocab_size == suite().vocab_size


@pytest.mark.usefixtures("trained")
def test_a_study_is_exported_for_transformers_too(reader, pathfront, tmp_path):
    code, out, said = pathfront("export", "quick", "--format", "hf", "-o", "best", "--storage", reader.url)
    assert (code, said) == (0, "")
    assert "from_pretrained('best/hf')" in out
    assert {path.name for path in (tmp_path / "best").iterdir()} == FILES | TOKENIZER | {"hf"}
    assert card_names_hf(tmp_path / "best") == 1
    assert loads(tmp_path / "best" / "hf")


@pytest.mark.usefixtures("trained")
def test_an_export_gets_a_folder_for_transformers_later(reader, pathfront, tmp_path):
    export(reader, "quick", tmp_path / "best", tokenizer)
    code, _, said = pathfront("export", "best", "--format", "hf", "-o", "elsewhere/hf")
    assert (code, said) == (0, "")
    assert card_names_hf(tmp_path / "best") == 0
    code, _, said = pathfront("export", "best", "--format", "hf")
    assert (code, said) == (0, "")
    assert card_names_hf(tmp_path / "best") == 1
    hf = sorted(path.name for path in (tmp_path / "best" / "hf").iterdir())
    assert hf == sorted(path.name for path in (tmp_path / "elsewhere" / "hf").iterdir())
    assert {"config.json", "embedding.safetensors", "megatron.args", "torchtitan.toml"} < set(hf)
    code, _, said = pathfront("export", "best", "--format", "hf")
    assert code == 2
    assert said == "error: an export goes into a new folder, and 'best/hf' exists; choose another with -o\n"
    code, _, said = pathfront("export", "best", "--format", "hf", "--trial", 3, "-o", "other")
    assert code == 2
    assert "'best' is an export of one trial" in said
    assert left_behind(tmp_path) == ["best", "elsewhere"]
    assert loads(tmp_path / "best" / "hf")


@pytest.mark.parametrize(
    "command",
    [
        ("export", "quick", "-o"),
        ("export", "quick", "--scale", "10x", "-o"),
        ("transfer", "quick", "--csv"),
        ("table", "write", "quick", "-o"),
        ("table", "record", "quick", "-o"),
    ],
    ids=" ".join,
)
def test_a_place_that_cannot_be_written_is_one_line_before_any_work(reader, pathfront, tmp_path, command):
    (tmp_path / "file").write_text("in the way")
    code, out, said = pathfront(*command, "file/new", "--storage", reader.url)
    assert (code, out, said) == (1, "", "error: 'file/new' cannot be written: Not a directory\n")
    assert [study.name for study in reader.studies()] == ["quick"]


A_FILE = "a table is one file, and 'there' is a folder; choose another with -o"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("export quick -o", "an export goes into a new folder, and 'there' exists; choose another with -o"),
        (
            "transfer quick --csv",
            "the tables go into a new folder, and 'there' exists; choose another with --csv",
        ),
        ("table write quick -o", A_FILE),
        ("table record quick -o", A_FILE),
    ],
)
def test_a_place_that_is_taken_is_one_line_before_any_work(reader, pathfront, tmp_path, command, why):
    (tmp_path / "there").mkdir()
    assert pathfront(*command.split(), "there", "--storage", reader.url) == (2, "", f"error: {why}\n")
    assert [study.name for study in reader.studies()] == ["quick"]


def test_an_export_to_a_full_disk_names_its_place(reader, pathfront, small_disk):
    with pytest.raises(OSError, match="No space"):
        (small_disk / "fill").write_bytes(bytes(2**17))
    (small_disk / "fill").write_bytes(bytes(2**16 - 2**13))
    code, out, said = pathfront("export", "quick", "-o", "disk/best", "--storage", reader.url)
    assert (code, out) == (1, "")
    assert re.fullmatch(rf"error: '{small_disk}/best(/[a-z.]+)?': No space left on device\n", said)
    assert os.listdir(small_disk) == ["fill"]


def test_damaged_weights_leave_an_export_as_it_was(reader, pathfront, tmp_path):
    export(reader, "quick", tmp_path / "best", tokenizer)  # bytes that no decoder can read
    code, _, said = pathfront("export", "best", "--format", "hf")
    assert code == 1
    assert said.count("\n") == 1
    assert {path.name for path in (tmp_path / "best").iterdir()} == FILES
    assert card_names_hf(tmp_path / "best") == 0


def test_an_architecture_without_a_class_is_refused_and_nothing_is_left(trained, reader, pathfront, tmp_path):
    engine = create_engine(reader.url)
    with engine.begin() as connection:
        mine = tables.candidates.c.candidate == trained.row.candidate
        config = connection.execute(select(tables.candidates.c.config).where(mine)).scalar_one()
        config["architecture"] |= {"experts": 4, "top_k": 2, "shared_experts": 1, "qk_norm": True}
        connection.execute(update(tables.candidates).where(mine).values(config=config))
    engine.dispose()
    code, out, said = pathfront(
        "export", "quick", "--format", "hf", "-o", "deep/best", "--storage", reader.url
    )
    assert (code, out) == (2, "")
    assert "got shared_experts 1 and qk_norm true" in said
    assert said.count("\n") == 1
    assert left_behind(tmp_path) == []
