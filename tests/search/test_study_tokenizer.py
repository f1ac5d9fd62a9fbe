"""A study with a tokenizer of its own: from its text to its exports, here and on a new machine."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from search import api
from search.cli import main
from search.operations.tokenizers import with_tokenizer
from search.read.results import Reader
from search.store.studies import create_or_resume
from space.errors import CheckpointError, StorageError, StudyFileError
from space.study import StudyConfig
from trainers.exports.full import train_export
from trainers.exports.policy import load_policy
from trainers.tasks import tokenizer as tokenizers
from trainers.tasks.tokenizer import model_digest
from trainers.tokens.text import Tokenizer, well_formed

ROOT = Path(__file__).resolve().parents[2]
WORDS = (
    "zebras",
    "graze",
    "by",
    "the",
    "river",
    "while",
    "12",
    "old",
    "houses",
    "한국",
    "<p>",
    "café",
    "sleep",
)
HARD = [
    "",
    "  zebras  graze ",
    "한국 사람 \u1112\u1161\u11ab",
    "🙂🏽\u200d🚀 \U0010ffff",
    "a\0b\0",
    "<p><0x0A></p>\n<0x0A>\n<s></s> 07",
    "half \ud83d of it \ude42",
    "\ud83d\ude42",
]
STUDY = {
    "study": "mine",
    "suite": ["book"],
    "tokenizer": {"vocab": 360},
    "space": {"depth": 1, "width": {"choices": [16, 32]}, "experts": {"choices": [1, 2]}},
    "rungs": {"tokens": [8_192]},
    "stop": {"candidates": 2},
    "workers": 1,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a text `book` that was added, and the finished study `mine` on it."""
    home, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    (home / "book.txt").write_text(
        "\n\n".join(" ".join(rng.choice(WORDS, 60)) + "." for _ in range(120)), encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        _live_in(home, patch)
        with pytest.raises(SystemExit) as ended:
            main(["data", "add", "book", str(home / "book.txt")])
        assert ended.value.code in (None, 0)
        api.launch(STUDY, progress=False)
    return home


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    """Work in that folder."""
    _live_in(home, monkeypatch)
    return home


@pytest.fixture
def elsewhere(home, tmp_path, monkeypatch):
    """The same folder on a machine that has nothing in its cache."""
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenizers, "_READ", {})
    tokenizers._tokenizer.cache_clear()
    return tmp_path / "cache"


def _live_in(home, patch):
    patch.setenv("PATHFRONT_DATA", str(home / "data"))
    patch.setenv("PATHFRONT_CACHE", str(home / "cache"))
    patch.setenv("OMP_NUM_THREADS", "1")
    patch.setenv("PYTHONPATH", str(ROOT))
    patch.delenv("PATHFRONT_TASKS", raising=False)
    patch.chdir(home)


@pytest.fixture
def study():
    with api.open_study("mine") as study:
        yield study


def write(path, **changes):
    path.write_text(yaml.safe_dump(STUDY | changes), encoding="utf-8")
    return path


def test_the_model_is_stored_with_the_study(study):
    model = study.reader.tokenizer("mine")
    assert study.suite.tokenizer == study.config.tokenizer.sha256 == model_digest(model)
    assert study.suite.text_vocab == Tokenizer(model).size == 360
    assert len(Tokenizer(model).encode("zebras")) == 1
    assert len(study.trials()) == 2
    assert all(trial.state == "done" for trial in study.trials())


def test_an_export_has_it_and_autotokenizer_has_the_same_ids(study, elsewhere, tmp_path):
    from transformers import AutoTokenizer

    folder = study.export(tmp_path / "best", pick=0, hf=True).folder
    model = (folder / "tokenizer.model").read_bytes()
    assert model == study.reader.tokenizer("mine")
    ours = Tokenizer(model)
    for place in (folder, folder / "hf"):
        theirs = AutoTokenizer.from_pretrained(place)
        for text in HARD:  # the library takes no half of a surrogate itself
            found = ours.encode(text).tolist()
            assert theirs(well_formed(text))["input_ids"] == found
            assert theirs.decode(found) == ours.decode(found) == well_formed(text)
        assert len(theirs) == study.suite.vocab_size


def test_an_export_is_used_and_trained_where_the_study_never_was(study, elsewhere, tmp_path):
    folder = study.export(tmp_path / "best", pick=0).folder
    shutil.rmtree(elsewhere)
    tokenizers._tokenizer.cache_clear()
    policy = load_policy(folder, "cpu")
    assert isinstance(policy.generate("zebras ", max_new_tokens=3), str)
    shutil.rmtree(elsewhere)
    card = train_export(folder, 8_192, lambda tokens, loss, speed: None, device="cpu")
    assert set(card.tasks) == {"book"}
    (folder / "tokenizer.model").write_bytes(tokenizers.tokenizer_model("python-docs-512"))
    with pytest.raises(CheckpointError, match=r"an export's tokenizer\.model has the SHA-256 .* is another"):
        load_policy(folder, "cpu")


@pytest.mark.slow
def test_it_is_resumed_with_the_stored_model_where_its_text_would_give_another(
    elsewhere, run_command, tmp_path, monkeypatch
):
    for name in ("pathfront.db", "pathfront-tasks.json", "pathfront-artifacts"):
        source = Path(name)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("trainers.tasks.own_tokenizer.MOST_TEXT", 100)
    spec = write(tmp_path / "mine.yaml", stop={"candidates": 3})
    before = Reader("sqlite:///pathfront.db").tokenizer("mine")
    code, _, err = run_command("launch", spec)
    assert code == 0, err
    assert "tokenizer" not in err
    reader = Reader("sqlite:///pathfront.db")
    assert len([row for row in reader.trials("mine") if row.state == "done"]) == 3
    assert reader.tokenizer("mine") == before
    assert os.listdir(elsewhere / "tokenizers") == [f"{model_digest(before)}.model"]
    assert run_command("delete", "mine", "--yes")[0] == 0
    assert _rows("sqlite:///pathfront.db") == 0


def _rows(url):
    from sqlalchemy import create_engine, func, select

    from search.database.tables import tokenizers

    engine = create_engine(url)
    with engine.connect() as connection:
        count = connection.scalar(select(func.count()).select_from(tokenizers))
    engine.dispose()
    return count


def test_it_is_priced_without_being_trained(elsewhere, run_command, tmp_path):
    costs = {}
    for vocab in (360, 32_000):
        spec = write(tmp_path / "new.yaml", study="new", tokenizer={"vocab": vocab})
        code, out, err = run_command("launch", spec, "--dry-run", "--json", "--storage", "sqlite:///none.db")
        assert (code, err) == (0, "")
        costs[vocab] = json.loads(out)
    assert not elsewhere.exists()
    assert not Path("none.db").exists()
    extra = 32_000 - 360
    for end, width in enumerate((16, 32)):
        for name, count in (("total_params", 2 * extra * width), ("flops_per_token", 2 * extra * width)):
            assert costs[32_000][name][end] - costs[360][name][end] == count


@pytest.mark.parametrize(
    ("tokenizer", "why"),
    [
        ({"vocab": 400}, "tokenizer.vocab: a study keeps its specification, and 'mine' has 360, got 400"),
        ({"file": "my.model"}, "tokenizer.file: a study keeps its specification, and 'mine' has None, got"),
        ({"file": "other.model"}, "tokenizer.file: no file '"),
        ({"file": "book.txt"}, "tokenizer.file: a SentencePiece model of type bpe that gives back any text"),
        ({"vocab": 360, "file": "my.model"}, "tokenizer: vocab or file, got file, vocab"),
        ({"vocab": 360, "sha256": 64 * "0"}, "tokenizer.sha256: a launch makes it; leave it out of the file"),
    ],
)
def test_another_tokenizer_is_refused_and_changes_nothing(here, study, run_command, tokenizer, why):
    (here / "my.model").write_bytes(study.reader.tokenizer("mine"))
    before = study.reader.config("mine")
    code, out, err = run_command("launch", write(here / "mine.yaml", tokenizer=tokenizer))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert why in err
    assert study.reader.config("mine") == before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tokenizer": {"vocab": 50_000}}, "tokenizer.vocab: the training text is enough for "),
        (
            {"tokenizer": {"vocab": 280}},
            "tokenizer.vocab: bytes and single characters of the training text are",
        ),
        (
            {"suite": ["cartpole"]},
            "tokenizer.vocab: pieces are learnt from text, and suite quick[cartpole] has",
        ),
    ],
)
def test_what_cannot_be_trained_makes_no_study(run_command, tmp_path, changes, why):
    spec = write(tmp_path / "new.yaml", study="new", **changes)
    code, out, err = run_command("launch", spec, "--storage", f"sqlite:///{tmp_path / 'new.db'}")
    assert (code, out) == (2, "")
    assert f"error: {why}" in err.splitlines()[-1]
    assert not (tmp_path / "new.db").exists()


@pytest.mark.slow
def test_a_file_of_ones_own_is_taken_and_needed_no_more(here, study, elsewhere, tmp_path, monkeypatch):
    model = study.reader.tokenizer("mine")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my.model").write_bytes(model)
    spec = write(tmp_path / "filed.yaml", study="filed", tokenizer={"file": "models/my.model"})
    filed = api.launch(spec, storage="sqlite:///filed.db", progress=False)
    assert filed.config.tokenizer.model_dump() == {
        "file": "my.model",
        "vocab": 360,
        "sha256": model_digest(model),
    }
    assert filed.reader.tokenizer("filed") == model
    (tmp_path / "models" / "my.model").unlink()
    shutil.rmtree(elsewhere)
    tokenizers._READ.clear()
    again = yaml.safe_load(spec.read_text()) | {"stop": {"candidates": 3}}
    spec.write_text(yaml.safe_dump(again))
    assert len(api.launch(spec, storage="sqlite:///filed.db", progress=False)) == 3
    with pytest.raises(StudyFileError, match="no file"):
        api.launch(spec, storage=f"sqlite:///{tmp_path / 'new.db'}", progress=False)


def test_a_damaged_or_missing_model_is_no_other(study, tmp_path):
    from sqlalchemy import create_engine, delete, update

    from search.database.tables import tokenizers as table
    from search.tokenizers import adopt_tokenizer

    shutil.copy("pathfront.db", tmp_path / "copy.db")
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    engine = create_engine(url)
    for change, why in (
        (update(table).values(model=b"words"), "the tokenizer of study 'mine' is damaged"),
        (delete(table), "and the database holds none"),
    ):
        with engine.begin() as connection:
            connection.execute(change)
        with pytest.raises(StorageError, match=why):
            adopt_tokenizer(engine, url, "mine", study.suite)
    engine.dispose()


def test_a_study_is_not_stored_without_its_model(tmp_path):
    config = StudyConfig.model_validate(STUDY)
    with pytest.raises(StudyFileError, match="tokenizer: a launch trains or reads the model"):
        create_or_resume(f"sqlite:///{tmp_path / 'new.db'}", config)


def test_a_launch_says_what_it_trains(elsewhere, capsys):
    config = StudyConfig.model_validate(STUDY | {"study": "said"})
    url = "sqlite:///none.db"
    config, suite, model = with_tokenizer(url, config, config.suite_record())
    assert "tokenizer: 100%  360 pieces of " in capsys.readouterr().err
    assert config.tokenizer.sha256 == suite.tokenizer == model_digest(model)
    assert tokenizers.tokenizer_model(suite.tokenizer) == model
    assert not Path("none.db").exists()
