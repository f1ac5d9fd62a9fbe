"""`fix:` in a study file: the architecture or the mixture of a candidate is kept, the rest is searched."""

import json
from pathlib import Path

import pytest
import yaml
from factories import suite
from toy_trainers import RUNGS, toy_config

from search.read.fixed import fixing
from search.read.results import Reader
from search.store.studies import create_or_resume
from search.worker import Worker, run_worker
from space.candidate import CandidateConfig
from space.knob_index import KNOBS, is_of_architecture
from space.recipe import CONFIG_FILE, Origin, Recipe
from space.study import StudyConfig, read_study

SOURCE = "toy"


@pytest.fixture
def searched(launch, url, once) -> Reader:
    """A finished study, whose trials others take parts from."""

    def study():
        launch(stop={"candidates": 4})
        run_worker(url, SOURCE, "artifacts", "one")

    once("searched", study)
    return Reader(url)


@pytest.fixture
def write(tmp_path):
    """Writes a study file `mine.yaml` with changes."""

    def to(**changes) -> Path:
        data = {
            "study": "mine",
            "rungs": {"tokens": list(RUNGS), "eta": 2},
            "search": {"sampler": "stratified", "promotion": "rank"},
            "stop": {"candidates": 4},
            "trainer": "toy_trainers:climb",
            **changes,
        }
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return to


@pytest.fixture
def export(tmp_path):
    """Writes the `config.yaml` of an export of a candidate."""

    def to(candidate: CandidateConfig, of=None) -> Path:
        folder = tmp_path / "best"
        folder.mkdir(exist_ok=True)
        origin = Origin(study=SOURCE, trial=0, rung=0, tokens=3000, score=0.5, score_stderr=0.1)
        Recipe(candidate=candidate, suite=of or suite(), origin=origin, weights_sha256=None).write(folder)
        return folder / CONFIG_FILE

    return to


def knobs_of(candidate: CandidateConfig) -> dict:
    return {name: getattr(candidate.architecture, name) for name in KNOBS if is_of_architecture(name)}


def run(url: str) -> list[CandidateConfig]:
    """Run the study `mine` in this process, and return its candidates."""
    config = read_study("mine.yaml", fixing(url))
    create_or_resume(url, config)
    Worker(url, "mine", "artifacts", "two").run()
    reader = Reader(url)
    return [reader.trial("mine", row.number).config for row in reader.trials("mine")]


@pytest.mark.parametrize("training", [False, True])
def test_the_mixture_is_searched_for_a_given_architecture(searched, write, url, training):
    trial = searched.trials(SOURCE)[-1].number
    kept = searched.trial(SOURCE, trial).config
    write(fix={"architecture": trial, "study": SOURCE, "training": training})
    found = run(url)
    assert {c.architecture for c in found} == {kept.architecture}
    assert len({json.dumps(c.mixture.weights) for c in found}) >= 3
    rates = {c.learning_rate for c in found}
    assert (rates == {kept.learning_rate}) if training else len(rates) > 1
    stored = Reader(url).config("mine")
    assert "fix" not in stored.model_dump()
    varied = set(stored.space.parameters(suite()))
    assert all(name.startswith("mixture.") or name == "learning_rate" for name in varied)
    assert ("learning_rate" in varied) != training
    assert Reader(url).status("mine").finished


def test_architectures_are_searched_for_a_given_mixture(searched, write, url):
    trial = searched.trials(SOURCE)[-1].number
    kept = searched.trial(SOURCE, trial).config
    write(fix={"mixture": trial, "study": SOURCE})
    found = run(url)
    assert len({json.dumps(c.mixture.weights) for c in found}) == 1
    assert found[0].mixture.weights == pytest.approx(kept.mixture.weights, abs=3e-6)  # rounded once more
    assert len({c.architecture for c in found}) >= 3
    space = Reader(url).config("mine").space.mixture
    assert space.fixed
    assert space.prior == kept.mixture.weights


@pytest.mark.parametrize("at", ["folder", "file"])
def test_an_export_gives_its_candidate_without_any_database(searched, write, export, tmp_path, at):
    kept = searched.trial(SOURCE, searched.trials(SOURCE)[0].number).config
    path = export(kept)
    source = str(path if at == "file" else path.parent)
    write(fix={"architecture": source, "mixture": source})
    config = read_study("mine.yaml", fixing(f"sqlite:///{tmp_path / 'none.db'}"))
    assert not (tmp_path / "none.db").exists()
    params = {"learning_rate": 1e-3}
    candidate = config.space.candidate(params, suite())
    assert candidate.architecture == kept.architecture
    assert candidate.mixture.weights == pytest.approx(kept.mixture.weights, abs=3e-6)  # rounded once more
    assert knobs_of(candidate) == {name: getattr(config.space, name).values()[0] for name in knobs_of(kept)}


def test_a_fixed_mixture_may_be_capped(searched, write, url, monkeypatch):
    counted = suite().model_copy(update={"tokens": dict.fromkeys(suite().tasks, 20_000)})
    monkeypatch.setattr(StudyConfig, "suite_record", lambda self: counted)
    trial = searched.trials(SOURCE)[-1].number
    write(fix={"mixture": trial, "study": SOURCE}, space={"mixture": {"epochs": 0.1}})
    for candidate in run(url):
        assert max(candidate.mixture.weights.values()) <= 0.1 * 20_000 / 14_400


def test_the_same_file_resumes_the_study(searched, write, url):
    trial = searched.trials(SOURCE)[-1].number
    write(fix={"architecture": trial, "study": SOURCE})
    before = len(run(url))
    write(fix={"architecture": trial, "study": SOURCE}, stop={"candidates": 6})
    assert len(run(url)) > before


def test_a_dry_run_prices_what_is_left(prepared, write, pathfront):
    create_or_resume(prepared, toy_config(suite=["taxi", "digits"], stop={"candidates": 2}))
    Worker(prepared, SOURCE, "artifacts", "one").run()
    kept = Reader(prepared).trial(SOURCE, 0).config
    write(suite=["taxi", "digits"], fix={"architecture": 0, "study": SOURCE})
    code, out, err = pathfront("launch", "mine.yaml", "--dry-run", "--json", "--storage", prepared)
    assert code == 0, err
    price = json.loads(out)
    assert price["architectures"] == price["within_limits"] == 1
    own = Reader(prepared).trial(SOURCE, 0).row.flops_per_token
    assert price["flops_per_token"] == [own, own]
    assert set(price["parameters"]) == {"learning_rate", "mixture.taxi", "mixture.digits"}
    write(suite=["taxi", "digits"], fix={"mixture": 0, "study": SOURCE})
    code, out, err = pathfront("launch", "mine.yaml", "--dry-run", "--json", "--storage", prepared)
    assert code == 0, err
    assert not [name for name in json.loads(out)["parameters"] if name.startswith("mixture.")]
    assert json.loads(out)["architectures"] > 1
    assert kept.mixture.weights.keys() == {"taxi", "digits"}
    assert [row.name for row in Reader(prepared).studies()] == [SOURCE]


REFUSED = {
    "a knob twice": (
        {"fix": {"architecture": 0, "study": SOURCE}, "space": {"depth": {"low": 1, "high": 2}}},
        "space.depth: fix.architecture gives its value, and the file gives one as well",
    ),
    "a rate twice": (
        {"fix": {"architecture": 0, "study": SOURCE, "training": True}, "space": {"learning_rate": 1e-3}},
        "space.learning_rate: fix.training gives its value",
    ),
    "a prior twice": (
        {"fix": {"mixture": 0, "study": SOURCE}, "space": {"mixture": {"prior": "uniform"}}},
        "space.mixture.prior: fix.mixture gives its value",
    ),
    "nothing": ({"fix": {}}, "fix: architecture or mixture is needed, got neither"),
    "no mapping": ({"fix": 3}, "fix: "),
    "no study": ({"fix": {"architecture": 0}}, "fix: the number of a trial needs its study, got none"),
    "training alone": (
        {"fix": {"mixture": 0, "study": SOURCE, "training": True}},
        "fix: training goes with an architecture, got none",
    ),
    "unknown key": (
        {"fix": {"architekture": 0, "study": SOURCE}},
        "fix.architekture: unknown key; did you mean 'architecture'?",
    ),
    "no number": ({"fix": {"architecture": -1, "study": SOURCE}}, "fix.architecture: "),
    "half a number": ({"fix": {"architecture": 1.5, "study": SOURCE}}, "fix.architecture: "),
    "no mixture": (
        {"fix": {"mixture": 0, "study": SOURCE}, "space": {"mixture": "uniform"}},
        "space.mixture: a mapping of keys to values, got 'uniform'",
    ),
    "limits": (
        {"fix": {"architecture": 0, "study": SOURCE}, "limits": {"total_params": 10}},
        "limits: at least one architecture of the space is within them, got none of 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_wrong_is_one_line_and_creates_nothing(searched, write, url, pathfront, name, dry):
    changes, message = REFUSED[name]
    write(**changes)
    code, out, err = pathfront("launch", "mine.yaml", "--storage", url, *(["--dry-run"] if dry else []))
    assert (code, out) == (2, "")
    assert err.startswith(f"error: mine.yaml: {message}")
    assert err.count("\n") == 1
    assert [row.name for row in Reader(url).studies()] == [SOURCE]


@pytest.mark.parametrize(
    ("fix", "message"),
    [
        ({"architecture": 99, "study": SOURCE}, "study 'toy' has no trial 99"),
        ({"architecture": 0, "study": "toi"}, "no study 'toi'"),
        ({"mixture": "nowhere"}, "'nowhere' has none"),
    ],
)
def test_what_is_missing_is_exit_3(searched, write, url, pathfront, fix, message):
    write(fix=fix)
    code, out, err = pathfront("launch", "mine.yaml", "--storage", url)
    assert (code, out) == (3, "")
    assert message in err
    assert err.count("\n") == 1
    assert [row.name for row in Reader(url).studies()] == [SOURCE]


def test_a_database_that_is_not_there_is_not_made(toy_suite, write, pathfront, tmp_path):
    write(fix={"architecture": 0, "study": SOURCE})
    code, _, err = pathfront("launch", "mine.yaml", "--storage", f"sqlite:///{tmp_path / 'none.db'}")
    assert code == 3
    assert err.count("\n") == 1
    assert not (tmp_path / "none.db").exists()


def test_a_mixture_of_other_tasks_is_refused(searched, write, url, export, pathfront):
    kept = searched.trial(SOURCE, 0).config
    few = dict(list(kept.mixture.weights.items())[:7])
    total = sum(few.values())
    renamed = {"docs": "novels"}
    for weights, words in (
        ({task: share / total for task, share in few.items()}, "lacks 'tones'"),
        (
            {renamed.get(t, t): share for t, share in kept.mixture.weights.items()},
            "has 'novels', which is none",
        ),
    ):
        other = kept.model_copy(update={"mixture": type(kept.mixture).of(weights)})
        write(fix={"mixture": str(export(other))})
        code, _, err = pathfront("launch", "mine.yaml", "--storage", url, "--dry-run")
        assert code == 2
        assert "fix.mixture: a mixture of the 8 tasks of suite 'quick'" in err
        assert words in err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  depth: ", "  depth: 9999999 #", "depth"),
        ("  router: softmax", "  router: magic", "router"),
    ],
)
def test_a_value_outside_of_the_declared_ones_is_refused(
    searched, write, url, export, pathfront, old, new, message
):
    path = export(searched.trial(SOURCE, 0).config)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    write(fix={"architecture": str(path)})
    code, _, err = pathfront("launch", "mine.yaml", "--storage", url, "--dry-run")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


def test_a_file_without_the_section_is_read_as_ever(write, tmp_path, toy_suite):
    path = write()
    assert read_study(str(path), fixing("sqlite:///none.db")) == read_study(str(path))
