"""The methods that are compared, as data: a sampler with its arguments, and a rule of promotion."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from . import cheap_start, known_cost_gp


@dataclass(frozen=True)
class Method:
    """A way to search.

    Attributes:
        sampler: as a study file names it; "oracle" for the oracle.
        arguments: its `sampler_args`.
        promotion: of the study, by expected gain or by rank; or MO-ASHA, as released or mended.
    """

    sampler: str
    arguments: dict[str, Any] = field(default_factory=dict)
    promotion: Literal["gain", "rank", "mo-asha", "mo-asha-mended"] = "gain"


CHEAP = f"{cheap_start.__name__}:CheapStart"
METHODS: dict[str, Method] = {
    "random": Method("random"),
    "stratified": Method("stratified"),
    "tpe": Method("tpe"),
    "nsga2": Method("nsga2"),
    "cma-es": Method("optuna.samplers:CmaEsSampler"),
    "gp": Method("gp"),
    "tpe-cheap": Method(CHEAP, {"sampler": "tpe"}),
    "nsga2-cheap": Method(CHEAP, {"sampler": "nsga2", "population_size": 6}),
    "cma-es-cheap": Method(CHEAP, {"sampler": "optuna.samplers:CmaEsSampler"}),
    "known-cost-gp": Method(f"{known_cost_gp.__name__}:KnownCostGP"),
    "mo-asha": Method("random", promotion="mo-asha"),
    "mo-asha-mended": Method("random", promotion="mo-asha-mended"),
    "mo-asha-mended-stratified": Method("stratified", promotion="mo-asha-mended"),
    "oracle": Method("oracle"),
    "pathfront": Method("pathfront"),
    "no-law": Method("pathfront", {"law": False}),
    "no-residual": Method("pathfront", {"residual": False}),
    "no-plain-gp": Method("pathfront", {"plain": False}),
    "no-cheap-start": Method("pathfront", {"cheap_start": False}),
    "no-gradient": Method("pathfront", {"gradient": False}),
    "mean-score": Method("pathfront", {"per_task": False}),
    "by-rank": Method("pathfront", promotion="rank"),
    "stratified-by-rank": Method("stratified", promotion="rank"),
}
USUAL = (
    "random",
    "stratified",
    "tpe",
    "nsga2",
    "cma-es",
    "known-cost-gp",
    "mo-asha-mended",
    "oracle",
    "pathfront",
)


def method(named: str) -> tuple[str, Method]:
    """Name and method of a key of `METHODS`, or of `NAME=SAMPLER` with arguments as JSON after a space.

    Raises:
        ValueError: there is no such method.
    """
    name, given, rest = named.partition("=")
    if not given:
        if name not in METHODS:
            raise ValueError(f"a method is one of {', '.join(METHODS)}, or NAME=SAMPLER JSON, got '{named}'")
        return name, METHODS[name]
    sampler, _, arguments = rest.partition(" ")
    return name, Method(sampler, json.loads(arguments or "{}"))
