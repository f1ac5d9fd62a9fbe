"""Candidates that a person gives: to be tried first (`start:` in a study file), or while a study runs.

A candidate is given by some of its knobs and its mixture, or by an exported `config.yaml`. Such a file is
read when the study is launched, so that the stored study holds everything.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ValidationError

from space.candidate import Architecture, CandidateConfig
from space.cost import price
from space.errors import NotFoundError, PathfrontError, StudyFileError, nearest
from space.knob_index import KNOBS, is_of_architecture
from space.knobs import Scalar, scalar
from space.knowledge import require_value
from space.lowering import lower
from space.mixture import shares_to_logits
from space.mixture_space import Shares
from space.parsing import explain, read_yaml
from space.ranges import MIXTURE_PREFIX, Limits, SearchSpace
from space.records import SuiteRecord

MIXTURE = "mixture"
TOLERANCE = 5e-4  # of a share: a given mixture is rounded by as much
TRIES, LOWERED = 200, 10  # draws of what a given candidate leaves open; those whose cost is lowered
CORRECTIONS = 40  # of the log-ratios of a given mixture, under a cap on repetition
MOST_SPELLINGS = 10_000  # of a dense model, whose exported knobs may be others than the space's
HOLDS_ALL = "mixture: the mixture of the space is fixed at {}, got {}"


def _given_value(value: Any) -> Any:
    """A value of a knob, or weights by task or domain.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, Mapping):
        return {str(name): float(scalar(weight)) for name, weight in value.items()}
    return scalar(value)


StartPoint = dict[str, Annotated[Scalar | dict[str, float], BeforeValidator(_given_value)]]


def read_given(
    data: Mapping[str, Any], folder: Path, refused: Callable[[str], PathfrontError]
) -> dict[str, Any]:
    """A study file's content whose `start` holds mappings in place of paths of exported configurations.

    Args:
        data: the content of the file.
        folder: that the paths are relative to.
        refused: makes the error to raise from one line.

    Raises:
        PathfrontError: made by `refused`: there is no such file, or it holds no candidate.
    """
    start = data.get("start")
    if not isinstance(start, list):
        return dict(data)
    points = []
    for place, given in enumerate(start):
        if not isinstance(given, str | Mapping):
            raise refused(f"start[{place}]: a mapping of knobs, or the path of a config.yaml, got {given!r}")
        try:
            points.append(read_point(folder / given) if isinstance(given, str) else given)
        except (StudyFileError, NotFoundError) as error:
            raise refused(f"start[{place}]: {error}") from None
    return {**data, "start": points}


def read_point(path: Path) -> dict[str, Any]:
    """Read a candidate: an export's folder or its `config.yaml`, or a YAML file with knobs and a mixture.

    Raises:
        NotFoundError: there is no such file.
        StudyFileError: it holds no candidate.
    """
    path = path / "config.yaml" if path.is_dir() else path
    if not path.is_file():
        raise NotFoundError(f"no file '{path}'")
    data = read_yaml(path, lambda why: StudyFileError(f"{path}: {why}"))
    if not isinstance(data, Mapping):
        raise StudyFileError(
            f"{path}: a mapping of knobs, or an export's configuration, got {type(data).__name__}"
        )
    if "candidate" not in data:
        return dict(data)
    try:
        candidate = CandidateConfig.model_validate(data["candidate"])
    except ValidationError as error:
        raise StudyFileError(f"{path}: candidate.{explain(error, CandidateConfig)}") from None
    return as_point(candidate)


def as_point(candidate: CandidateConfig) -> dict[str, Any]:
    """A candidate as a mapping of all knobs and the mixture."""
    of = {
        name: getattr(candidate.architecture if is_of_architecture(name) else candidate, name)
        for name in KNOBS
    }
    return {**of, MIXTURE: dict(candidate.mixture.weights)}


def check_start(
    start: Sequence[StartPoint],
    space: SearchSpace,
    suite: SuiteRecord,
    limits: Limits,
    tokens: int | None = None,
) -> None:
    """Check that each candidate of `start` can be built in a space, within the limits.

    Args:
        start: what is given of each.
        space: that should hold them.
        suite: its tasks.
        limits: on their costs.
        tokens: input tokens of a whole training; needed only for a cap on repetition.

    Raises:
        StudyFileError: one cannot; the line begins with its key.
    """
    for place, point in enumerate(start):
        check_point(point, space, suite, limits, f"start[{place}]", tokens)


def check_point(
    point: StartPoint,
    space: SearchSpace,
    suite: SuiteRecord,
    limits: Limits,
    key: str,
    tokens: int | None = None,
) -> dict[str, Any]:
    """Check a given candidate.

    Args:
        point: what is given.
        space: that should hold it.
        suite: its tasks.
        limits: on its cost.
        key: with which the line of an error begins.
        tokens: as in `check_start`.

    Returns:
        The parameters that it holds; see `held`.

    Raises:
        StudyFileError: it does not fit.
    """
    try:
        params = held(point, space, suite, tokens)
        filled = drawn_around(params, space, suite, limits, np.random.default_rng(0))
        if filled is None:
            raise StudyFileError(_why_not(params, space, suite, limits))
    except StudyFileError as error:
        text = str(error)
        dotted = text.partition(":")[0] in (*KNOBS, *point) or text.startswith(f"{MIXTURE}.")
        raise StudyFileError(f"{key}.{text}" if dotted else f"{key}: {text}") from None
    return params


def held(
    point: StartPoint, space: SearchSpace, suite: SuiteRecord, tokens: int | None = None
) -> dict[str, Any]:
    """The parameters of a space that a given candidate holds; the others are drawn.

    Args:
        point: what is given.
        space: that should hold it.
        suite: its tasks.
        tokens: as in `check_start`.

    Raises:
        StudyFileError: it names no knob, or the space does not hold a value; the line begins with the knob.
    """
    params: dict[str, Any] = {}
    misfits: dict[str, str] = {}
    for name, value in point.items():
        if name == MIXTURE:
            continue
        if name not in KNOBS:
            raise StudyFileError(f"{name}: unknown knob{nearest(name, [*KNOBS, MIXTURE])}")
        try:
            if isinstance(value, Mapping):
                raise ValueError(f"one value, got {dict(value)}")
            params[name] = require_value(name, value, space)
        except ValueError as error:
            misfits[name] = str(error)
    if misfits:
        params |= _respelt(point, misfits, space, suite)
    varying = space.parameters(suite)
    params = {name: value for name, value in params.items() if name in varying}
    if MIXTURE in point:
        params |= _logits(point[MIXTURE], space, suite, tokens)
    return params


def _respelt(
    point: StartPoint, misfits: Mapping[str, str], space: SearchSpace, suite: SuiteRecord
) -> dict[str, Scalar]:
    """Values of the space for knobs of a whole candidate that the space spells otherwise.

    An export names a network by its one spelling: in a dense model, the router's knobs have their defaults.

    Raises:
        StudyFileError: there are none; the line begins with the first knob.
    """
    name, why = next(iter(misfits.items()))
    refused = StudyFileError(f"{name}: {why}")
    of_architecture = [knob for knob in KNOBS if is_of_architecture(knob)]
    if not set(of_architecture) <= point.keys() or not set(misfits) <= set(of_architecture):
        raise refused
    names = dict.fromkeys([*misfits, *(knob for knob in of_architecture if KNOBS[knob].routing)])
    respelt = [knob for knob in names if knob != "expert_ratio"]
    values = [getattr(space, knob).values() for knob in respelt]
    if any(of is None for of in values) or math.prod(len(of) for of in values) > MOST_SPELLINGS:
        raise refused
    try:
        wanted = Architecture.model_validate({knob: point[knob] for knob in of_architecture})
    except ValueError:
        raise refused from None
    network = wanted.canonical_for(suite.context)
    ratios = [point["expert_ratio"], *(space.expert_ratio.values() or ())]
    for *combination, ratio in itertools.product(*values, dict.fromkeys(ratios)):
        found = {**dict(zip(respelt, combination, strict=True)), "expert_ratio": ratio}
        knobs = {knob: point[knob] for knob in of_architecture} | found
        if space.architecture(knobs, suite.context) == network:
            return found
    raise refused


def _logits(weights: Any, space: SearchSpace, suite: SuiteRecord, tokens: int | None) -> dict[str, float]:
    """The parameters of a given mixture.

    Raises:
        StudyFileError: it is none of this suite's, or the space does not hold it.
    """
    if not isinstance(weights, Mapping):
        raise StudyFileError(f"{MIXTURE}: weights by task or domain, got {weights!r}")
    shares = _shares(weights, suite)
    mixture, of_space = space.mixture, space.mixture.shares(suite, tokens)
    params: dict[str, float] = {}
    if mixture.parameters(suite):
        params = _nearest_logits(shares, of_space, mixture.spread)
    found = of_space.mixture(params).weights
    off = max(suite.tasks, key=lambda task: abs(found[task] - shares[task]))
    if abs(found[off] - shares[off]) > TOLERANCE:
        cap = "" if mixture.epochs is None else f", at most {mixture.epochs:g} passes over a task's data"
        by = ", one log-ratio for each domain" if of_space.groups.kind == "domain" else ""
        raise StudyFileError(
            f"{MIXTURE}.{off}: the space holds mixtures within its floor {mixture.floor:g} and spread"
            f" {mixture.spread:g}{by}{cap}; the nearest one has {found[off]:.4f}, got {shares[off]:.4f}"
        )
    return params


def _nearest_logits(wanted: Mapping[str, float], shares: Shares, spread: float) -> dict[str, float]:
    """Parameters of the mixture of a space that is nearest to one.

    A cap hides how large a share was before it, so with one the log-ratios are corrected step by step until
    the tasks below their caps have what is wanted.

    Args:
        wanted: task -> share.
        shares: of the space.
        spread: largest absolute log-ratio.
    """
    groups, tasks = shares.groups, shares.tasks
    target = np.array([wanted[task] for task in tasks])
    prior = groups.sums(np.array([[shares.prior[task] for task in tasks]]))[0]
    part = groups.sums(np.maximum(target - shares.floor, 1e-9)[None])[0]
    z = shares_to_logits(part / part.sum(), prior, spread)

    def named() -> dict[str, float]:
        return {MIXTURE_PREFIX + name: ratio for name, ratio in zip(groups.names, z.tolist(), strict=True)}

    for _ in range(CORRECTIONS if shares.caps is not None else 0):
        assert shares.caps is not None
        weights = shares.mixture(named()).weights
        below = (target < shares.caps - TOLERANCE)[None]
        found = groups.sums(np.array([[weights[task] for task in tasks]]) * below)[0]
        ratio = groups.sums(target[None] * below)[0] / np.where(found > 0, found, 1.0)
        z = np.clip(z + np.where(found > 0, np.log(np.maximum(ratio, 1e-9)), 0.0), -spread, spread)
    return named()


def _shares(weights: Mapping[str, float], suite: SuiteRecord) -> dict[str, float]:
    """Each task's share, 1 in sum.

    Raises:
        StudyFileError: a name is neither a task nor a domain, or a task has no weight.
    """
    domains: dict[str, list[str]] = {}
    for task in suite.tasks:
        domains.setdefault(suite.records[task].domain, []).append(task)
    shares: dict[str, float] = {}
    for name, weight in weights.items():
        members = [name] if name in suite.tasks else domains.get(name)
        if members is None:
            raise StudyFileError(
                f"{MIXTURE}.{name}: neither a task nor a domain of suite '{suite.name}'"
                + nearest(name, [*suite.tasks, *domains])
            )
        if weight < 0:
            raise StudyFileError(f"{MIXTURE}.{name}: a weight is at least 0, got {weight:g}")
        for task in members:
            shares[task] = shares.get(task, 0.0) + weight / len(members)
    missing = [task for task in suite.tasks if task not in shares]
    if missing:
        raise StudyFileError(
            f"{MIXTURE}: every task has a weight, by its name or its domain, missing '{missing[0]}'"
        )
    total = sum(shares.values())
    if total <= 0:
        raise StudyFileError(f"{MIXTURE}: at least one weight is above 0, got {dict(weights)}")
    return {task: shares[task] / total for task in suite.tasks}


def drawn_around(
    params: Mapping[str, Any],
    space: SearchSpace,
    suite: SuiteRecord,
    limits: Limits,
    rng: np.random.Generator,
    drawn: Mapping[str, Any] | None = None,
) -> dict[str, Any] | None:
    """Parameters of a candidate that can be built within the limits and holds some values.

    Args:
        params: parameters that are held.
        space: what the others are drawn from.
        suite: the tasks.
        limits: on the cost.
        rng: random numbers.
        drawn: other parameters to try first; by default random ones.

    Returns:
        All parameters; None if none are found in `TRIES` draws.
    """
    varying = {name: knob for name, knob in space.varying.items() if name not in params}

    def excess(knobs: Mapping[str, Any]) -> float:
        architecture = space.architecture(knobs, suite.context)
        return math.inf if architecture is None else limits.excess(price(architecture, suite))

    for trial in range(TRIES):
        whole = {**(space.sample(suite, rng) if drawn is None else drawn), **params}
        drawn = None
        whole = {**whole, **space.snapped_but(whole, params)}
        if excess(whole) <= 1:
            return whole
        if not varying:
            return None
        if trial >= LOWERED:
            continue
        lowered = lower(whole, varying, lambda p: {**p, **space.snapped_but(p, params)}, excess, rng)
        if excess(lowered) <= 1:
            return lowered
    return None


def _why_not(params: Mapping[str, Any], space: SearchSpace, suite: SuiteRecord, limits: Limits) -> str:
    """Why no candidate holds some parameters."""
    architecture = None
    if set(space.varying) <= params.keys():
        architecture = space.architecture(params, suite.context)
    if architecture is not None:
        return (
            f"a candidate is within the limits, and this one has {limits.broken(price(architecture, suite))}"
        )
    values = ", ".join(f"{n} {v}" for n, v in params.items() if not n.startswith(MIXTURE_PREFIX))
    return f"no candidate with {values} can be built within the limits"
