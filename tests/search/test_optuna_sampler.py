"""Pathfront's sampler in plain Optuna studies: Optuna's own contract of samplers, and what it adds to it."""

import math
import pickle
from pathlib import Path

import numpy as np
import optuna
import pytest
from benchmarks.optuna_sampler import PROBLEMS, SAMPLERS, play
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState

from search.choose.pathfront_sampler import PathfrontSampler

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class TestContract(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's contract, with the models from the second trial on."""

    @pytest.fixture
    def sampler(self):
        return lambda: PathfrontSampler(seed=0, n_startup_trials=1)


class TestContractOfTheStart(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    """Optuna's contract, with the default arguments."""

    @pytest.fixture
    def sampler(self):
        return PathfrontSampler


def run(objective, sampler, trials, directions=("minimize",), **options):
    study = optuna.create_study(directions=list(directions), sampler=sampler, **options)
    study.optimize(objective, n_trials=trials)
    return study


def bowl(trial):
    """A single objective whose least value is 0 at x = 2, y = 0.01, kind b."""
    x, y = trial.suggest_float("x", -5, 5), trial.suggest_float("y", 1e-4, 1, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b", "c"])
    return (x - 2) ** 2 + (math.log10(y) + 2) ** 2 + (kind != "b")


@pytest.mark.parametrize("problem", [pytest.param("layers", marks=pytest.mark.slow), "zdt"])
@pytest.mark.slow
def test_fronts_beat_those_of_optunas_samplers(problem):
    made = PROBLEMS[problem]()
    volumes = {
        name: np.median([made.volume(play(made, SAMPLERS[name](made, seed), 30, seed)) for seed in range(3)])
        for name in ("random", "nsga2", "tpe", "pathfront-blind", "pathfront")
    }
    others = max(volumes[name] for name in ("random", "nsga2", "tpe"))
    assert volumes["pathfront"] > volumes["pathfront-blind"] > others


def test_cheap_trials_come_first_and_cost_less():
    made = PROBLEMS["layers"]()
    costs = {
        name: np.mean([made.cost(p) for p in play(made, SAMPLERS[name](made, 0), 40, 0)])
        for name in ("random", "pathfront", "pathfront-per-trial")
    }
    assert costs["pathfront"] < 0.5 * costs["pathfront-per-trial"] < costs["random"]


@pytest.mark.parametrize(
    ("direction", "objectives"),
    [
        *(("minimize", count) for count in (1, 2, 4)),
        ("maximize", 2),
        pytest.param("minimize", 3, marks=pytest.mark.slow),
        *(pytest.param("maximize", count, marks=pytest.mark.slow) for count in (1, 3, 4)),
    ],
)
def test_any_number_of_objectives_in_either_direction(objectives, direction):
    sign = 1 if direction == "minimize" else -1

    def objective(trial):
        useful = [trial.suggest_float(f"u{i}", 0, 1) for i in range(objectives)]
        useless = sum(trial.suggest_float(f"n{i}", 0, 1) ** 2 for i in range(4))  # 0 for all of the front
        values = [sum((u - (i == k)) ** 2 for i, u in enumerate(useful)) for k in range(objectives)]
        return [sign * (value + useless) for value in values]

    def wasted(sampler):
        trials = run(objective, sampler, 40, [direction] * objectives).trials[-15:]
        return np.median([sum(t.params[f"n{i}"] ** 2 for i in range(4)) for t in trials])

    assert wasted(PathfrontSampler(seed=0)) < 0.25 * wasted(optuna.samplers.RandomSampler(seed=0))


def test_a_study_that_is_resumed_goes_on_as_if_it_had_never_stopped(tmp_path):
    whole = run(bowl, PathfrontSampler(seed=3, n_startup_trials=5), 14)
    url = f"sqlite:///{tmp_path / 'study.db'}"
    run(bowl, PathfrontSampler(seed=3, n_startup_trials=5), 9, storage=url, study_name="s")
    again = optuna.load_study(
        study_name="s", storage=url, sampler=PathfrontSampler(seed=3, n_startup_trials=5)
    )
    again.optimize(bowl, n_trials=5)
    assert [t.params for t in again.trials] == [t.params for t in whole.trials]
    other = run(bowl, PathfrontSampler(seed=4, n_startup_trials=5), 3)
    assert other.trials[0].params != whole.trials[0].params


def test_a_copy_by_pickle_goes_on_alike_and_a_new_seed_does_not():
    study = run(bowl, PathfrontSampler(seed=0, n_startup_trials=3), 6)
    copies = [pickle.loads(pickle.dumps(study.sampler)) for _ in range(3)]
    copies[2].reseed_rng()
    trial = optuna.create_trial(state=TrialState.RUNNING)
    space = study.sampler.infer_relative_search_space(study, trial)
    study.add_trial(trial)
    found = [copy.sample_relative(study, study.trials[-1], space) for copy in copies]
    assert found[0] == found[1] != found[2]


def line(trial):
    return (trial.suggest_float("x", 0, 1) - 0.6) ** 2


@pytest.mark.parametrize("state", [TrialState.FAIL, TrialState.PRUNED])
def test_running_trials_are_counted_in_and_failed_and_pruned_ones_ignored(state):
    def second(ended):
        study = run(line, PathfrontSampler(seed=0, n_startup_trials=4), 5)
        first = study.ask()
        place = first.relative_params["x"]  # stored when it is suggested, before the objective asks for it
        if ended:
            study.tell(first, state=state)
        study.sampler = PathfrontSampler(seed=0, n_startup_trials=4)  # as in another process
        return abs(study.ask().relative_params["x"] - place)

    assert second(ended=False) > 10 * second(ended=True)


def test_no_point_of_a_small_space_is_tried_twice_until_all_are():
    space = {"a": IntDistribution(0, 3), "b": CategoricalDistribution(["x", "y"])}
    study = optuna.create_study(sampler=PathfrontSampler(seed=0, n_startup_trials=2))
    for number in range(8 + 2):
        trial = study.ask(space)
        if number == 5:
            study.tell(trial, state=TrialState.FAIL)
        elif number != 6:  # stays running
            study.tell(trial, trial.params["a"])
    modelled = [tuple(t.params.values()) for t in study.trials[2:]]
    fresh = {tuple(t.params.values()) for t in study.trials[:2]}
    assert len(set(modelled[: 8 - len(fresh)]) | fresh) == 8


def test_threads_share_a_study(tmp_path):
    study = optuna.create_study(sampler=PathfrontSampler(seed=0, n_startup_trials=4))
    study.optimize(bowl, n_trials=16, n_jobs=4)
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 16
    assert len({tuple(t.params.values()) for t in study.trials}) == 16


def test_constraints_are_learnt():
    def objective(trial):
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        trial.set_constraint("sum", x + y - 0.8)
        return x + y, x - y

    study = run(objective, PathfrontSampler(seed=0, n_startup_trials=8), 40, ["maximize", "maximize"])
    late = [t.params["x"] + t.params["y"] for t in study.trials[-20:]]
    assert np.quantile(late, 0.8) < 0.82  # the front is at 0.8; of random trials two thirds are above
    assert max(total for total in late if total <= 0.8) > 0.79


def test_without_a_feasible_trial_one_is_sought():
    def objective(trial):
        x = [trial.suggest_float(f"x{i}", 0, 1) for i in range(4)]
        trial.set_constraint("near", sum((each - 0.4) ** 2 for each in x) - 0.02)  # 0.2% of the space
        return x[0]

    study = run(objective, PathfrontSampler(seed=0, n_startup_trials=5), 40)
    assert any(t.constraints["near"] <= 0 for t in study.trials)


def test_infinite_and_extreme_values_do_not_hide_the_others():
    def objective(trial):
        loss = bowl(trial)
        return loss if trial.params["x"] > -1 else math.inf if trial.params["kind"] == "a" else 1e12

    assert run(objective, PathfrontSampler(seed=0), 40).best_value < 0.1


def test_parameters_that_were_enqueued_are_kept_and_the_others_fit_them():
    def objective(trial):
        return (trial.suggest_float("x", 0, 1) - trial.suggest_float("y", 0, 1)) ** 2

    study = run(objective, PathfrontSampler(seed=0), 25)
    study.enqueue_trial({"x": 0.85})
    study.enqueue_trial({"x": 0.15})
    study.optimize(objective, n_trials=2)
    assert [t.params["x"] for t in study.trials[-2:]] == [0.85, 0.15]
    assert max(t.value for t in study.trials[-2:]) < 0.01


@pytest.mark.parametrize(
    ("low", "high", "places"),
    [
        (0.7, 0.7, np.linspace(0, 0.4, 5)),  # the best place has been tried at the low rung only
        (0.3, 0.7, np.linspace(0, 1, 6)),  # the low rung prefers another place
    ],
)
def test_low_rungs_are_told_from_high_ones(low, high, places):
    study = optuna.create_study(direction="maximize", sampler=PathfrontSampler(seed=0))
    space = {"x": FloatDistribution(0, 1)}
    tried = [(0, x, -((x - low) ** 2)) for x in np.linspace(0, 1, 11)]
    tried += [(1, x, 3 - (x - high) ** 2) for x in places]
    for rung, x, value in tried:
        attrs, params = {"rung": rung}, {"x": x}
        study.add_trial(
            optuna.create_trial(params=params, distributions=dict(space), value=value, user_attrs=attrs)
        )
    assert study.ask(space).params["x"] == pytest.approx(0.7, abs=0.15)


def test_promotion_works_with_it(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from plain_optuna import search

    study = search(PathfrontSampler(seed=0), 40)
    assert {trial.user_attrs["rung"] for trial in study.trials} == {0, 1, 2}
    assert all(trial.state == TrialState.COMPLETE for trial in study.trials)


def test_the_example_finds_small_models_and_good_ones(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from plain_sampler import search

    front = search(25).best_trials
    assert min(trial.params["features"] for trial in front) <= 8
    assert max(trial.values[0] for trial in front) > 0.9
    assert len(front) >= 8


@pytest.mark.parametrize(
    ("directions", "cost", "message"),
    [
        (["minimize"], lambda p: p["x"], "two objectives, of which the second is minimised"),
        (["minimize", "maximize"], lambda p: p["x"], "two objectives, of which the second is minimised"),
        (["minimize", "minimize"], lambda p: p["z"], "and asks for 'z'; give it a default"),
        (["minimize", "minimize"], lambda p: p["x"] - 5, "gives numbers above 0, got"),
        (
            ["minimize", "minimize"],
            lambda p: 2 * p["x"],
            "exactly, got .* where trial 0 has .*; leave out `cost`",
        ),
    ],
)
def test_a_cost_that_does_not_fit_is_an_error(directions, cost, message):
    def objective(trial):
        x = trial.suggest_float("x", 0.1, 1)
        return [x, x][: len(directions)]

    with pytest.raises(ValueError, match=message):
        run(objective, PathfrontSampler(cost, seed=0), 3, directions)


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]])
def test_wrong_directions_are_an_error_before_anything_is_trained(directions):
    def objective(trial):
        pytest.fail("a trial was run")

    with pytest.raises(ValueError, match="of which the second is minimised"):
        run(objective, PathfrontSampler(lambda p: p["x"], seed=0), 1, directions)


def test_a_cost_that_is_no_function_is_an_error():
    with pytest.raises(ValueError, match="cost is a function of the parameters, got 5"):
        PathfrontSampler(5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "arguments", [{"seed": -1}, {"n_startup_trials": 0}, {"cost_power": -1}, {"cost_power": math.nan}]
)
def test_arguments_out_of_range_are_errors(arguments):
    with pytest.raises(ValueError, match="n_startup_trials is at least 1"):
        PathfrontSampler(**arguments)
