"""Optuna's samplers, asked through a study in memory: one finished trial for each candidate.

They never see the study in SQL, where a candidate has one trial for each rung. A candidate enters with the
score of its highest rung, lifted by what others gained on the rungs above. Choices of numbers are shown to a
sampler as their rank, so that it sees their order.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from search.choose.snapshot import Candidate, Snapshot
from search.store.optuna_trials import DIRECTIONS
from space.knobs import Between, Choices
from space.ranges import is_of_architecture
from space.records import SuiteRecord
from space.study import StudyConfig

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

ASKS = {"tpe": 20, "nsga2": 20, "gp": 3}  # of a sampler, until the caller draws at random instead
NEIGHBOURS = 60  # of a suggestion that are tried before the sampler is asked again
CHANGES = 3  # knobs of an architecture in which a neighbour differs at most
POPULATION = 10
STARTUP = {
    "tpe": 5,
    "gp": 5,
    "nsga2": POPULATION,
}  # candidates with scores; with fewer, Optuna draws by chance
SEEDS = 2**32  # that numpy's RandomState takes

Parameters = Mapping[str, Between | Choices]


def distributions(parameters: Parameters) -> dict[str, str]:
    """Parameters as a study in SQL shows them, the values themselves: parameter -> distribution as JSON."""
    from optuna.distributions import CategoricalDistribution, distribution_to_json

    return {
        name: distribution_to_json(
            _number(knob) if isinstance(knob, Between) else CategoricalDistribution(knob.choices)
        )
        for name, knob in parameters.items()
    }


def has_model(sampler: str, view: Snapshot) -> bool:
    """Whether a sampler has seen enough scores to suggest by its model; by chance otherwise."""
    return len(corrected_scores(view)) >= STARTUP[sampler]


def suggestions(config: StudyConfig, suite: SuiteRecord, view: Snapshot) -> Iterator[dict[str, Any]]:
    """What the study's sampler suggests, given what the ledger holds; some may be infeasible or seen.

    A suggestion of a Gaussian process takes a second, so each is followed by its neighbours: the same but for
    one to three knobs of the architecture, of which the first that can be used is as good as another answer.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parameters = config.space.parameters(suite)
    seed = (config.search.seed * 1_000_003 + len(view.candidates)) % SEEDS
    study = optuna.create_study(directions=list(DIRECTIONS), sampler=_sampler(config.search.sampler, seed))
    space = {name: _encoded(knob) for name, knob in parameters.items()}
    _fill(study, space, parameters, view)
    rng = np.random.default_rng(seed)
    for _ in range(ASKS[config.search.sampler]):
        trial = study.ask(space)
        asked = {name: _decode(parameters[name], value) for name, value in trial.params.items()}
        yield config.space.snapped(asked)
        for changed in _neighbours(asked, parameters, rng):
            yield config.space.snapped(changed)
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _neighbours(
    asked: Mapping[str, Any], parameters: Parameters, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Parameters that differ in a few knobs of the architecture, the nearest first."""
    knobs = [name for name in parameters if is_of_architecture(name)]
    for number in range(NEIGHBOURS if knobs else 0):
        count = min(len(knobs), 1 + CHANGES * number // NEIGHBOURS)
        drawn = rng.choice(len(knobs), size=count, replace=False)
        yield {**asked, **{knobs[i]: parameters[knobs[i]].sample(rng) for i in drawn}}


def corrected_scores(view: Snapshot) -> dict[str, float]:
    """Candidate -> score of its highest rung plus the median gains of the rungs above it."""
    done = [trial for trial in view.trials if trial.state == "done" and trial.score is not None]
    scores: dict[str, dict[int, float]] = {}
    for trial in done:
        scores.setdefault(trial.candidate, {})[trial.rung] = trial.score or 0.0
    rungs = sorted({trial.rung for trial in done})
    gains = {
        upper: median(s[upper] - s[lower] for s in scores.values() if lower in s and upper in s)
        for lower, upper in pairwise(rungs)
        if any(lower in s and upper in s for s in scores.values())
    }
    return {
        candidate: by_rung[max(by_rung)] + sum(gain for rung, gain in gains.items() if rung > max(by_rung))
        for candidate, by_rung in scores.items()
    }


def _sampler(name: str, seed: int) -> "BaseSampler":
    import optuna

    if name == "tpe":
        return optuna.samplers.TPESampler(multivariate=True, n_startup_trials=STARTUP[name], seed=seed)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=seed)
    assert name == "gp", name
    return optuna.samplers.GPSampler(n_startup_trials=STARTUP[name], seed=seed)


def _fill(
    study: "Study", space: dict[str, "BaseDistribution"], parameters: Parameters, view: Snapshot
) -> None:
    """Add every candidate; a diverged one as the worst seen, one that is still training as RUNNING."""
    import optuna
    from optuna.trial import TrialState, create_trial

    scores = corrected_scores(view)
    worst = min(scores.values(), default=0.0)
    failed = {trial.candidate for trial in view.trials if trial.state == "failed" and trial.final}
    replay = isinstance(study.sampler, optuna.samplers.NSGAIISampler)
    for candidate in view.candidates:
        params = _encode(candidate, parameters)
        score = scores.get(candidate.id, worst if candidate.id in failed else None)
        values = None if score is None else [score, candidate.flops_per_token]
        if (
            replay and values is not None
        ):  # NSGA-II knows only trials that it has put into a generation itself
            study.enqueue_trial(params)
            study.tell(study.ask(space), values)
        elif not replay:
            state = TrialState.RUNNING if values is None else TrialState.COMPLETE
            study.add_trial(create_trial(state=state, params=params, distributions=space, values=values))


def _encode(candidate: Candidate, parameters: Parameters) -> dict[str, Any]:
    return {
        name: _ranks(knob).index(candidate.params[name]) if _ranks(knob) else candidate.params[name]
        for name, knob in parameters.items()
    }


def _decode(knob: Between | Choices, value: Any) -> Any:
    ranks = _ranks(knob)
    return ranks[value] if ranks else value


def _encoded(knob: Between | Choices) -> "BaseDistribution":
    """A parameter as a sampler sees it."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(knob, Between):
        return _number(knob)
    ranks = _ranks(knob)
    return IntDistribution(0, len(ranks) - 1) if ranks else CategoricalDistribution(knob.choices)


def _ranks(knob: Between | Choices) -> list[int | float]:
    """Choices of numbers in rising order; empty for anything else."""
    if isinstance(knob, Between):
        return []
    numbers = [choice for choice in knob.choices if not isinstance(choice, bool | str)]
    return sorted(numbers) if len(numbers) == len(knob.choices) else []


def _number(knob: Between) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    if knob.whole:
        return IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return FloatDistribution(float(knob.low), float(knob.high), log=knob.log)
