"""The results of shrinking an export, and the card of the new export."""

import shlex
from typing import Self

from pydantic import computed_field

from space.candidate import Architecture
from space.cost import price
from space.recipe import CARD_FILE, CONFIG_FILE, REFERENCES_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Recipe
from space.records import Frozen, SuiteRecord
from space.scores import Scorecard
from space.words import plus_minus
from trainers.exports.speed import Speed, Speeds


class Size(Frozen):
    """The size of a decoder.

    Attributes:
        expert_width: hidden channels of one expert.
        flops_per_token: FLOPs of a forward pass.
        network_flops_per_token: FLOPs of the experts, including shared experts and dense layers.
        total_params: all parameters.
        active_params: parameters that one token uses.
    """

    expert_width: int
    flops_per_token: float
    network_flops_per_token: int
    total_params: int
    active_params: int

    @classmethod
    def of(cls, arch: Architecture, suite: SuiteRecord) -> Self:
        """The size of an architecture on a suite."""
        cost = price(arch, suite)
        return cls(
            expert_width=arch.expert_width,
            flops_per_token=cost.flops_per_token,
            network_flops_per_token=cost.network_flops_per_token,
            total_params=cost.total_params,
            active_params=cost.active_params,
        )


class Estimate(Frozen):
    """A fraction of expert performance with its standard error."""

    value: float
    stderr: float

    def __str__(self) -> str:
        """With its 95% interval."""
        return plus_minus(self.value, self.stderr)


class Rating(Frozen):
    """Scores of one decoder: the mean over domains, each domain, each task."""

    score: Estimate
    domains: dict[str, Estimate]
    tasks: dict[str, Estimate]

    @classmethod
    def of(cls, suite: SuiteRecord, card: Scorecard) -> Self:
        """The scores of a scorecard; a domain's standard error is that of the mean over its tasks."""
        errors: dict[str, list[float]] = {domain: [] for domain in card.domains}
        for name, task in card.tasks.items():
            errors[suite.records[name].domain].append(task.fraction_stderr)
        return cls(
            score=Estimate(value=card.score, stderr=card.stderr),
            domains={
                domain: Estimate(
                    value=value, stderr=sum(e**2 for e in errors[domain]) ** 0.5 / len(errors[domain])
                )
                for domain, value in card.domains.items()
            },
            tasks={
                name: Estimate(value=task.fraction, stderr=task.fraction_stderr)
                for name, task in card.tasks.items()
            },
        )


class Scores(Frozen):
    """Scores on the report episodes: of the parent, after pruning, and after retraining."""

    parent: Rating
    pruned: Rating
    retrained: Rating

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Rows of a table: a name and its three scores, for all domains, each domain and each task."""
        stages = (self.parent, self.pruned, self.retrained)
        columns = [[("all domains", it.score), *it.domains.items(), *it.tasks.items()] for it in stages]
        rows = zip(*columns, strict=True)
        return [(row[0][0], *(str(estimate) for _, estimate in row)) for row in rows]


class Shrunk(Frozen):
    """The result of shrinking an export.

    Attributes:
        folder: the new export.
        parent: the parent's size.
        child: the child's size.
        parent_tokens: input tokens that the parent was trained on.
        tokens: input tokens that the child was retrained on.
        training_flops: FLOPs of the retraining, including the parent's forward passes.
        wall_seconds: seconds of the retraining.
        device: the device it ran on.
        speeds: measured speeds of parent and child, alternating.
        scores: scores on the report episodes.
    """

    folder: str
    parent: Size
    child: Size
    parent_tokens: int
    tokens: int
    training_flops: int
    wall_seconds: float
    device: str
    speeds: Speeds
    scores: Scores

    @computed_field
    @property
    def kept_channels(self) -> float:
        """Share of the hidden channels that were kept."""
        return self.child.expert_width / self.parent.expert_width

    @computed_field
    @property
    def kept_score(self) -> float | None:
        """Score after retraining over the parent's; None if the parent's is not above 0."""
        before = self.scores.parent.score.value
        return self.scores.retrained.score.value / before if before > 0 else None

    @property
    def sizes(self) -> list[tuple[str, float, float]]:
        """Name, parent and child of each counted size."""
        names = {
            "hidden channels of an expert": "expert_width",
            "FLOPs per token": "flops_per_token",
            "of these in the experts": "network_flops_per_token",
            "parameters": "total_params",
            "active parameters": "active_params",
        }
        return [(name, getattr(self.parent, key), getattr(self.child, key)) for name, key in names.items()]

    @property
    def timings(self) -> list[tuple[str, Speed]]:
        """Name and speed of each measurement."""
        return [("forward", self.speeds.forward), ("forward and backward", self.speeds.training)]

    @property
    def summary(self) -> str:
        """The result as one sentence."""
        before, after = self.scores.parent.score, self.scores.retrained.score
        kept = "" if self.kept_score is None else f", {self.kept_score:.1%} of it"
        flops = self.child.network_flops_per_token / self.parent.network_flops_per_token
        return (
            f"score {before} before and {after} after{kept}, with {self.kept_channels:.4g} of the channels,"
            f" {flops:.4g} of the experts' FLOPs and"
            f" {self.child.flops_per_token / self.parent.flops_per_token:.3f} of all"
        )


def shrunk_card(recipe: Recipe, shrunk: Shrunk) -> str:
    """Write the card of a shrunk export, as Markdown.

    Args:
        recipe: the new export's recipe.
        shrunk: the result.
    """
    origin = recipe.origin
    sizes = [
        f"| {name} | {before:,.0f} | {after:,.0f} | {after / before:.3f} |"
        for name, before, after in shrunk.sizes
    ]
    timings = [
        f"| {name} | {speed.parent:,.0f} | {speed.child:,.0f} | {speed} |" for name, speed in shrunk.timings
    ]
    scores = [f"| {' | '.join(row)} |" for row in shrunk.scores.rows]
    return "\n".join(
        [
            f"# Trial {origin.trial} of study `{origin.study}`, shrunk",
            "",
            f"{shrunk.summary[0].upper()}{shrunk.summary[1:]}.",
            "",
            f"Of {shrunk.parent.expert_width} hidden channels of each expert, {shrunk.child.expert_width} are"
            " kept: those whose loss would change the outputs most, their columns fitted to make up for the"
            f" rest. The parent was trained on {shrunk.parent_tokens:,} tokens; the child learned from it on"
            f" {shrunk.tokens:,} more ({shrunk.training_flops:.3g} FLOPs, {shrunk.wall_seconds:,.0f} s on"
            f" {shrunk.device}).",
            "",
            "## Cost",
            "",
            "| counted | parent | child | ratio |",
            "|---|---|---|---|",
            *sizes,
            "",
            "| tokens per second | parent | child | times as fast (quartiles) |",
            "|---|---|---|---|",
            *timings,
            "",
            "## Scores",
            "",
            "Fraction of expert performance on the **report** episodes, 95% intervals.",
            "",
            "| | parent | pruned | retrained |",
            "|---|---|---|---|",
            *scores,
            "",
            *_use(shrunk.folder),
        ]
    )


def _use(folder: str) -> list[str]:
    name = shlex.quote(folder)
    return [
        "## Use it",
        "",
        "```",
        f"pathfront eval {name}                 # score the weights that are here",
        f"pathfront shrink {name}               # shrink them once more",
        f"pathfront train {name} --tokens 50M   # train this architecture from its first step",
        "```",
        "",
        f"`{CONFIG_FILE}` is the recipe, its parent included; `{WEIGHTS_FILE}` the retrained weights;"
        f" `{TOKENIZER_FILE}` and `{REFERENCES_FILE}` are the parent's; `{CARD_FILE}` is this card.",
        "",
    ]
