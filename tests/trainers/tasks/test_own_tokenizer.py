"""A study's own tokenizer: trained on training texts alone, kept by its SHA-256, read from a file."""

import numpy as np
import pytest

from space.errors import MachineError, NotFoundError, StudyFileError, TaskError
from trainers.tasks import tokenizer as tokenizers
from trainers.tasks.families import text
from trainers.tasks.own_tokenizer import WHOLE, train_own
from trainers.tasks.registry import load_task
from trainers.tasks.tokenizer import keep_model, model_digest, read_model, suite_tokenizer, tokenizer_model
from trainers.tokens.text import Tokenizer


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PATHFRONT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tokenizers, "_READ", {})
    return tmp_path / "cache"


@pytest.fixture
def few(monkeypatch):
    """A short text with words that only one of its splits has."""
    documents = {
        "train": ["zebras graze by the river <p> 12\n" * 40, "a \ud800 b"],
        "select": ["wolves wolves wolves\n" * 40],
        "report": ["wolves wolves wolves\n" * 40],
    }
    monkeypatch.setattr(text, "texts", documents.__getitem__)


def suite_of(quick, *tasks):
    return quick.model_copy(update={"tasks": tasks})


def train(quick, *tasks, size=320):
    steps = []
    model = train_own(suite_of(quick, *tasks), size, lambda what, done, total: steps.append((done, total)))
    assert steps[-1] == (len(tasks) + 1, len(tasks) + 1)
    assert steps == sorted(steps)
    return model


def test_the_same_texts_give_the_same_model(quick, few):
    model = train(quick, "python-docs")
    assert train(quick, "python-docs") == model
    assert Tokenizer(model).size == 320
    assert set(WHOLE) <= set(Tokenizer(model).pieces())


def test_held_out_texts_teach_nothing(quick, few):
    own = Tokenizer(train(quick, "python-docs", size=330))
    assert len(own.encode("zebras")) == 1
    assert len(own.encode("wolves")) > 3


def test_words_of_other_tasks_are_learnt(quick):
    own = Tokenizer(train(quick, "shape-captions", "cartpole", size=360))
    assert len(own.encode(load_task("shape-captions", quick, None, 5).answer("train", 0))) < 3


def test_a_suite_without_text_is_refused(quick):
    with pytest.raises(
        StudyFileError, match=r"tokenizer\.vocab: pieces are learnt from text, and suite quick"
    ):
        train(quick, "cartpole")


def test_more_pieces_than_the_text_gives_are_refused(quick, few):
    why = r"tokenizer\.vocab: the training text is enough for \d+ pieces, got 4,000"
    with pytest.raises(StudyFileError, match=why):
        train(quick, "python-docs", size=4000)


def test_it_is_kept_by_its_digest(quick, few, own_cache):
    model = train(quick, "python-docs")
    name = model_digest(model)
    with pytest.raises(NotFoundError, match=f"no tokenizer {name[:12]} in '{own_cache}'"):
        tokenizer_model(name)
    assert keep_model(model) == keep_model(model) == name
    assert tokenizer_model(name) == model
    suite = quick.model_copy(update={"text_vocab": 320, "tokenizer": name})
    assert suite_tokenizer(suite).size == 320
    (own_cache / "tokenizers" / f"{name}.model").write_bytes(model[:-1])
    with pytest.raises(NotFoundError, match="no tokenizer"):
        tokenizer_model(name)
    keep_model(model)  # a damaged copy is replaced
    assert tokenizer_model(name) == model


def test_it_is_not_kept_where_nothing_can_be_written(quick, few, own_cache):
    own_cache.write_text("a file")
    with pytest.raises(MachineError):
        keep_model(train(quick, "python-docs"))


def test_prepared_data_of_two_tokenizers_lie_side_by_side(quick, few, own_cache):
    keys = set()
    for size in (310, 320):
        name = keep_model(train(quick, "python-docs", size=size))
        suite = quick.model_copy(update={"text_vocab": size, "tokenizer": name})
        keys.add(str(load_task("python-docs", suite).cache_key()))
    assert len(keys) == 2


def test_a_file_is_found_in_this_process_and_not_kept(quick, few, own_cache, tmp_path):
    path = tmp_path / "my.model"
    path.write_bytes(train(quick, "python-docs"))
    name, size = read_model(path)
    assert (size, tokenizer_model(name)) == (320, path.read_bytes())
    assert not own_cache.exists()


def test_a_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "my.model").write_text("words")
    with pytest.raises(TaskError, match=r"gives back any text .* 'my|my\.model' has no pieces"):
        read_model(tmp_path / "my.model")
    with pytest.raises(NotFoundError, match="no file"):
        read_model(tmp_path / "other.model")


def test_bits_per_byte_do_not_depend_on_the_pieces(quick, own_cache):
    """A policy that loses one nat on each byte has the same score with any tokenizer."""

    class Uniform:
        def __init__(self, own):
            self.own = own

        def begin(self, count):
            """Nothing to reset."""

        def nats(self, chunks):
            sizes = [[len(self.own.decode([3, i]).encode()) - 1 for i in chunk.tokens] for chunk in chunks]
            return [np.array(of[1:], dtype=float) for of in sizes]

    found = []
    for size in (400, 500):
        name = keep_model(train(quick, "python-docs", size=size))
        suite = quick.model_copy(update={"text_vocab": size, "tokenizer": name})
        task = load_task("python-docs", suite)
        found.append(task.score(Uniform(task.tokenizer), "select", 4))
    for values in found:
        assert values == pytest.approx(1 / np.log(2), rel=0.02)
