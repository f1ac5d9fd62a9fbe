"""A warm start: an earlier study is copied, is a prior over what both studies vary, and may be deleted."""

from dataclasses import replace

import numpy as np
import pytest
from factories import suite
from sqlalchemy import create_engine, text
from toy_trainers import TWO_NETWORKS, toy_config

from search.choose.belief import Belief
from search.choose.copies import copy_of, copy_study, read_copy
from search.choose.earlier import EarlierStudy
from search.choose.models import models_of
from search.choose.pool import PoolSpace
from search.choose.propose import Proposer
from search.choose.sampler import Problem
from search.choose.snapshot import Candidate, Snapshot, SnapshotTrial, TaskFraction, take_snapshot
from search.database.storage import open_writer
from search.operations.warm import warmed
from search.store.studies import create_or_resume, load_study
from search.worker import run_worker
from space.errors import NotFoundError, StudyFileError
from space.knowledge import Warm
from space.study import StudyConfig

EMPTY = Snapshot((), (), 0.0)
SMALL = {"stop": {"candidates": 6}, "rungs": {"tokens": [3_000, 6_000], "eta": 2}}


def scored(config, score, count=24):
    """A study of random candidates whose scores are a function of the candidate."""
    problem = Problem(config.space, suite(), config.limits, 3, config.rungs)
    rng, candidates, trials = np.random.default_rng(3), [], []
    while len(candidates) < count:
        found = problem.feasible(config.space.sample(suite(), rng))
        if found is None:
            continue
        name, flops = found.candidate.id, found.cost.flops_per_token
        sparse = found.candidate.architecture.sparse
        candidates.append(Candidate(name, len(candidates), found.params, flops, sparse))
        value = score(found.candidate)
        tasks = {task: TaskFraction(value, 0.01) for task in suite().tasks}
        trials.append(SnapshotTrial(name, 0, "done", True, value, 0.01, flops, flops, tasks=tasks))
    return Snapshot(tuple(candidates), tuple(trials), 0.0)


def by_rate(candidate):
    """The best learning rate is 5e-3."""
    return 0.8 - 0.15 * abs(np.log(candidate.learning_rate / 5e-3))


def by_size_and_rate(candidate):
    """Larger ones are better, too."""
    return by_rate(candidate) - 0.3 + 0.2 * np.log(candidate.architecture.width / 64)


def test_a_copy_holds_the_study():
    config = toy_config(**SMALL)
    view = scored(config, by_rate)
    copy = read_copy(copy_of(config, suite(), view), "toy")
    assert (copy.config, copy.suite) == (config, suite())
    assert [(c.id, c.params, c.sparse) for c in copy.view.candidates] == [
        (c.id, c.params, c.sparse) for c in view.candidates
    ]
    assert [t.score for t in copy.view.trials] == pytest.approx([t.score for t in view.trials], abs=1e-6)
    assert copy.view.trials[0].tasks == {
        task: pytest.approx(of, abs=1e-6) for task, of in view.trials[0].tasks.items()
    }
    running = replace(view.trials[0], state="running", final=False, score=None, stderr=None)
    half = Snapshot(view.candidates, (running, *view.trials[1:]), 0.0)
    assert len(read_copy(copy_of(config, suite(), half), "toy").view.candidates) == len(view.candidates) - 1


def test_a_study_without_scores_cannot_be_copied():
    with pytest.raises(StudyFileError, match="a warm start learns from scores, and study 'toy' has none yet"):
        copy_of(toy_config(), suite(), EMPTY)


def belief_from(earlier, view, config):
    warm = Warm(study="earlier", copied=copy_of(earlier, suite(), view))
    config = config.model_copy(update={"warm": warm})
    problem = Problem(config.space, suite(), config.limits, 0, config.rungs)
    return Belief(config, problem), PoolSpace(problem), config


def test_its_scores_are_a_density_over_other_budgets_and_another_space():
    earlier = toy_config(rungs={"tokens": [20_000]}, space={"window": {"low": 0, "high": 32}})
    config = toy_config(
        space={"depth": {"low": 1, "high": 6}, "learning_rate": {"low": 1e-3, "high": 2e-2, "log": True}}
    )
    belief, space, config = belief_from(earlier, scored(earlier, by_rate), config)
    pool = space.random(np.random.default_rng(0), 300, 0.0)
    density = belief.log_density(space, pool)
    near = np.abs(space.points(pool).log_rate - np.log(5e-3))
    assert np.corrcoef(density, near)[0, 1] < -0.6
    drawn = space.points(belief.pool(space, np.random.default_rng(1), 200, 0.0)).log_rate
    assert np.abs(drawn - np.log(5e-3)).mean() < near.mean()
    stream = Proposer(config, suite()).problem.draws(np.random.default_rng(0), EMPTY)
    rates = np.log([next(stream)["learning_rate"] for _ in range(200)])
    assert np.abs(rates - np.log(5e-3)).mean() < near.mean()


def test_a_study_learns_from_its_own_scores_how_much_the_earlier_one_is_worth():
    """The models expect what it expects while there are few scores, and less if these contradict it."""
    config = toy_config()
    slopes = {}
    for name, sign in {"agrees": 1, "contradicts": -1}.items():
        for count in (4, 24):
            own = scored(config, lambda c, sign=sign: 0.5 + sign * (by_rate(c) - 0.5), count)
            _, _, warm = belief_from(config, scored(config, by_rate), config)
            problem = Proposer(warm, suite()).problem
            models = models_of(problem)
            points = models.space.points(models.space.random(np.random.default_rng(0), 200, 0.0))
            surrogate = models.surrogate(own)
            with_, without = (
                surrogate.predict(p).mixed_mean for p in (points, replace(points, earlier=None))
            )
            x = points.earlier - points.earlier.mean()
            slopes[name, count] = float(x @ (with_ - without) / (x @ x))
            assert np.corrcoef(points.earlier, -abs(points.log_rate - np.log(5e-3)))[0, 1] > 0.6
    assert slopes["agrees", 24] > slopes["agrees", 4] > 0.2
    assert slopes["contradicts", 24] < slopes["contradicts", 4] < 0.2


def test_what_an_earlier_study_expects_is_as_large_as_what_it_knows():
    """A Gaussian process expects little where it knows little; that must not be shrunk once more."""
    config = toy_config()
    belief, space, _ = belief_from(config, scored(config, by_rate), config)
    pool = space.random(np.random.default_rng(0), 300, 0.0)
    points = space.points(pool)
    log_flops = points.log_flops
    true = -0.15 * np.abs(points.log_rate - np.log(5e-3))
    x = np.column_stack((np.ones(len(pool)), log_flops, log_flops**2))
    true -= x @ np.linalg.lstsq(x, true, rcond=None)[0]
    expected = belief.earlier.above(space, pool)
    assert 0.5 < np.polyfit(expected, true, 1)[0] < 5  # score over score
    assert np.corrcoef(expected, true)[0, 1] > 0.7


def test_uncertain_predictions_count_less():
    """Scores that follow nothing say less than those that follow the learning rate."""
    rng = np.random.default_rng(0)
    config = toy_config()
    spreads = []
    for score in (by_rate, lambda candidate: float(rng.uniform(0.3, 0.7))):
        belief, space, _ = belief_from(config, scored(config, score), config)
        pool = space.random(np.random.default_rng(0), 300, 0.0)
        spreads.append(belief.log_density(space, pool).std())
    assert spreads[1] < spreads[0]


def warm_study(earlier, score, **changes):
    """A study with `pathfront` that begins with an earlier one, and the earlier one's belief and space."""
    config = toy_config(search={"sampler": "pathfront"}, **changes)
    belief, space, config = belief_from(earlier, scored(earlier, score), config)
    return Proposer(config, suite()), belief, space


def begun(proposer, count):
    """The first candidates of a study, all of them still being trained, and the rules that proposed them."""
    view, rules = EMPTY, []
    while len(view.candidates) < count:
        found = proposer.propose(view)
        rules.append(found.origin)
        name, flops = found.candidate.id, found.cost.flops_per_token
        sparse = found.candidate.architecture.sparse
        added = Candidate(name, len(rules) - 1, found.params, flops, sparse, found.origin)
        trial = SnapshotTrial(name, 0, "running", False, None, None, flops, flops)
        view = Snapshot((*view.candidates, added), (*view.trials, trial), 0.0)
    return view, rules


def test_the_first_candidates_are_those_that_it_expects_most_of():
    proposer, belief, space = warm_study(toy_config(), by_size_and_rate)
    view, rules = begun(proposer, 6)
    assert rules == ["believed; the likeliest at its cost by the earlier study"] * 4 + ["control"] * 2
    cold, rules = begun(Proposer(toy_config(search={"sampler": "pathfront"}), suite()), 6)
    assert rules == ["control"] * 2 + ["pathfront start"] * 4
    expected, drawn = (
        belief.earlier.above(space, space.encode([candidate.params for candidate in of.candidates])[0])
        for of in (view, cold)
    )
    assert expected.mean() > 0.02
    assert drawn.mean() < 0
    flops = [candidate.flops_per_token for candidate in view.candidates]
    assert max(flops) > 2 * min(flops)  # along the front, not one of its points six times


def test_its_own_candidates_are_compared_as_this_study_would_have_them():
    earlier = toy_config(space={"window": {"low": 0, "high": 32}})
    config = toy_config(space={"depth": {"low": 2, "high": 3}, "mixture": {"fixed": True}})
    view = scored(earlier, by_rate)
    belief, space, _ = belief_from(earlier, view, config)
    pool = belief.earlier.candidates(space, np.random.default_rng(0))
    assert 0 < len(pool) <= len(view.candidates)
    for index in range(len(pool)):
        params = space.params(pool, index)
        near = [c.params for c in view.candidates if c.params["learning_rate"] == params["learning_rate"]]
        assert near, params
        assert params["depth"] == np.clip(near[0]["depth"], 2, 3)
        assert "window" not in params


def test_where_it_knows_nothing_candidates_are_drawn(monkeypatch):
    monkeypatch.setattr(EarlierStudy, "_row", lambda self, key, space: None)  # it could build none of them
    proposer, _, _ = warm_study(toy_config(), by_rate)
    assert begun(proposer, 4)[1] == ["control"] * 2 + ["pathfront start"] * 2


def test_nothing_in_common_is_one_line():
    earlier = toy_config(
        space=TWO_NETWORKS | {"experts": 1, "learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}}
    )
    view = scored(earlier, by_rate, count=8)
    with pytest.raises(
        StudyFileError, match=r"^warm\.study: both studies vary at least one knob.*'earlier' has none"
    ):
        belief_from(earlier, view, toy_config(space=TWO_NETWORKS))


@pytest.fixture
def earlier(launch, url, once):
    """A study `toy` with scores, and the specification of a new one."""

    def study():
        launch(**SMALL)
        run_worker(url, "toy")

    once("small", study)
    return toy_config(**SMALL, search={"sampler": "pathfront"}).model_copy(update={"study": "next"})


class TestLaunch:
    @pytest.mark.slow
    def test_the_stored_study_needs_the_earlier_one_no_more(self, earlier, url, pathfront, rows):
        config = warmed(earlier, "toy", url)
        create_or_resume(url, config)
        before = Proposer(config, suite()).propose(EMPTY)
        code, _, said = pathfront("delete", "toy", "--storage", url, "--yes")
        assert code == 0, said
        again = warmed(earlier, None, url)
        assert again == earlier  # the key is left out, so the study keeps its own
        engine = open_writer(url, create=False)
        stored = load_study(engine, url, "next").config
        engine.dispose()
        assert stored.warm == config.warm
        after = Proposer(stored, suite()).propose(EMPTY)
        assert before is not None
        assert after is not None
        assert before.candidate.id == after.candidate.id
        assert run_worker(url, "next") >= 6

    def test_a_study_under_way_keeps_its_copy(self, earlier, url):
        config = warmed(earlier, "toy", url)
        create_or_resume(url, config)
        run_worker(url, "next")
        engine = create_engine(url)
        with engine.begin() as connection:
            connection.execute(text("UPDATE pf_trials SET score = 0.5 WHERE study = 'toy'"))
        engine.dispose()
        assert warmed(earlier, "toy", url).warm == config.warm
        engine = open_writer(url, create=False)
        assert copy_study(engine, url, "toy") != config.warm.copied  # type: ignore[union-attr]
        assert take_snapshot(engine, "next", 0).candidates
        engine.dispose()
        with pytest.raises(
            StudyFileError, match=r"^warm\.study: a study keeps its specification, and 'next' has 'toy'"
        ):
            warmed(earlier, "other", url)

    @pytest.mark.parametrize(
        ("changes", "named", "error", "line"),
        [
            ({}, "missing", NotFoundError, "no study 'missing'"),
            ({}, "next", StudyFileError, r"^warm\.study: a warm start is from another study"),
            (
                {"warm": Warm(study="toy", copied="x")},
                None,
                StudyFileError,
                r"^warm\.copied: a launch makes it",
            ),
            ({"warm": Warm(study="a")}, "b", StudyFileError, r"^warm\.study: --warm-from names the same"),
        ],
    )
    def test_a_mistake_is_one_line(self, earlier, url, changes, named, error, line):
        with pytest.raises(error, match=line) as refused:
            warmed(earlier.model_copy(update=changes), named, url)
        assert "\n" not in str(refused.value)

    def test_the_file_may_name_it(self, earlier, url):
        named = StudyConfig.model_validate(earlier.model_dump(mode="json") | {"warm": {"study": "toy"}})
        assert warmed(named, None, url).warm == warmed(earlier, "toy", url).warm

    def test_a_launch_without_scores_or_storage_is_refused(self, launch, url, pathfront, tmp_path):
        launch(**SMALL)
        (tmp_path / "next.yaml").write_text("study: next\nrungs: {tokens: [20_000]}\nstop: {candidates: 2}\n")
        code, _, said = pathfront("launch", "next.yaml", "--warm-from", "toy", "--storage", url, "--dry-run")
        assert code == 2
        assert said == "error: a warm start learns from scores, and study 'toy' has none yet\n"
        gone = f"sqlite:///{tmp_path / 'gone.db'}"
        assert pathfront("launch", "next.yaml", "--warm-from", "toy", "--storage", gone, "--dry-run")[0] == 3
        assert not (tmp_path / "gone.db").exists()
