"""The card (README.md) of an export: scores, cost, place on the front, and the commands that use it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from search.read.rows import FrontRow, TrialDetail
from space.cost import price
from space.description import describe
from space.objectives import COSTS, DEFAULT, score_words
from space.recipe import (
    CARD_FILE,
    CONFIG_FILE,
    HF_FOLDER,
    REFERENCES_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    Growth,
    Recipe,
)
from space.scores import at_floor, tasks_above
from space.words import counted, interval

SHOWN = ("flops_per_token", "total_params")  # in a column of their own


def card(
    recipe: Recipe,
    detail: TrialDetail,
    front: Sequence[FrontRow],
    folder: Path,
    trainer: str | None = None,
    threshold: float = 0.0,
) -> str:
    """Write the card as Markdown.

    Args:
        recipe: the export's recipe.
        detail: the exported trial.
        front: its study's front, best score first.
        folder: the export's folder, for the commands on the card.
        trainer: the study's own trainer; None if it is Pathfront's.
        threshold: below which scores are of no interest to the study.
    """
    origin = recipe.origin
    return "\n".join(
        [
            f"# Trial {origin.trial} of study `{origin.study}`",
            "",
            f"A {_kind(recipe)} over {counted(len(recipe.suite.tasks), 'task')} of suite"
            f" `{recipe.suite.name}`, exported at rung {origin.rung} ({origin.tokens:,} tokens) with its"
            " decayed weights.",
            "",
            *_confirmed(detail),
            *_scores(recipe, detail),
            *_cost(recipe, detail),
            *_place(detail, front, threshold),
            *(_commands(recipe, folder) if trainer is None else _whose(trainer)),
            *_files(),
        ]
    )


def grown_card(recipe: Recipe, detail: TrialDetail, folder: Path) -> str:
    """Write the card of a grown model, which is not trained yet, as Markdown.

    Args:
        recipe: the export's recipe, with `grown`.
        detail: the trial that was grown.
        folder: the export's folder, for the commands on the card.
    """
    origin, grown = recipe.origin, recipe.grown
    assert grown is not None
    name = shlex.quote(str(folder))
    return "\n".join(
        [
            f"# Trial {origin.trial} of study `{origin.study}`, grown {grown.factor:.3g} times",
            "",
            f"A {_kind(recipe)} over {counted(len(recipe.suite.tasks), 'task')} of suite"
            f" `{recipe.suite.name}`, **without weights yet**: the shape of a searched candidate"
            f" ({detail.row.description.label}), grown to {grown.factor:.3g} times its FLOPs per token.",
            "",
            *_prediction(recipe, grown),
            *_grown_cost(recipe, grown),
            "## Use it",
            "",
            "```",
            f"pathfront train {name} --tokens {recipe.tokens_to_train}      # train it, resumable",
            f"pathfront eval {name} --split report     # then score it",
            "```",
            "",
            *_files(weights=False),
        ]
    )


def _prediction(recipe: Recipe, grown: Growth) -> list[str]:
    origin = recipe.origin
    lines = [
        "## What to expect",
        "",
        f"The searched candidate reached {interval(origin.score, origin.score_stderr)} of the expert (95%)"
        f" on the select episodes, at rung {origin.rung} ({origin.tokens:,} tokens and their decay branch).",
        "",
    ]
    if grown.unknown is not None:
        return [*lines, f"There is no prediction for the larger model: {grown.unknown}.", ""]
    lines += [
        "Predicted for the larger model from the curves of the whole study, on the same episodes: a"
        " saturating power law of size and tokens, plus the candidate's own deviation from it. These scores"
        " are not measured. The interval assumes that the law extrapolates beyond the sizes and tokens of the"
        " study; if it does not, more than one training in ten ends outside of it.",
        "",
        "| tokens | training FLOPs | predicted score | 90% interval |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {p.tokens:,} | {p.training_flops:.3g} | {p.score:.3f} | [{p.low:.3f}, {p.high:.3f}] |"
        for p in grown.predicted
    ]
    return [*lines, ""]


def _each(recipe: Recipe) -> str:
    devices = recipe.suite.devices
    return f" on each of {devices} devices" if devices > 1 else ""


def _grown_cost(recipe: Recipe, grown: Growth) -> list[str]:
    cost = price(recipe.candidate.architecture, recipe.suite)
    return [
        "## Cost",
        "",
        f"- {grown.flops:,.0f} FLOPs per token, {grown.from_flops:,.0f} before (forward, context"
        f" {recipe.suite.context}, uniform mixture, head at every position)",
        f"- {cost.active_params:,} active of {cost.total_params:,} parameters",
        f"- {cost.training_bytes / 2**20:,.1f} MiB to train in fp32 with AdamW{_each(recipe)},"
        f" {cost.cache_bytes_per_sequence / 2**10:,.1f} KiB of keys and values a sequence",
        f"- {recipe.candidate.optimizer} at learning rate {recipe.candidate.learning_rate:g} as searched:"
        " the rate at a base width, from which each parameter's rate follows by its shape, so it fits this"
        " size",
        f"- {recipe.precision}, seed {recipe.seed}; the mixture is the searched one",
        "",
    ]


def _kind(recipe: Recipe) -> str:
    made = describe(recipe.candidate)
    return f"{'sparse' if made.sparse else 'dense'} decoder ({made.label})"


def _confirmed(detail: TrialDetail) -> list[str]:
    """The confirmed mean of the trial's candidate, and the score that it was selected at beside it."""
    found = detail.confirmed
    if found is None or found.score is None:
        return []
    seeds = "seed" if found.done == 1 else "seeds"
    text = (
        f"**{mean_words(found.score, found.score_stderr, found.interval)}** of the expert, the mean over"
        f" {found.done} fresh {seeds} that the search did not use, on the **report** episodes, which it did"
        " not see"
    )
    if found.interval is not None:
        text += " (95% interval by Student's t, from the variation between seeds)"
    lines = ["## Confirmed score", "", f"{text}.", ""]
    if found.selected_score is not None:
        gap = found.selected_score - found.score
        lines[-2] += (
            f" The search selected it at {found.selected_score:.3f}, which is {abs(gap):.3f}"
            f" {'more' if gap >= 0 else 'less'}: the best of many scores are the lucky ones."
        )
    if found.control_of is not None:
        lines[-2] += f" It is the uniform mixture at the architecture of candidate {found.control_of}."
    return lines


def mean_words(score: float, stderr: float | None, ends: tuple[float, float] | None) -> str:
    """A mean with its own interval, else with that of its standard error."""
    if ends is None:
        return interval(score, stderr or 0.0)
    return f"{score:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _scores(recipe: Recipe, detail: TrialDetail) -> list[str]:
    origin, split = recipe.origin, detail.row.split
    above = tasks_above(detail.tasks)
    episodes, rest = "**select** episodes, which the search itself saw", ""
    if split == "report":
        episodes = "**report** episodes, which no search has seen"
    else:
        rest = " `pathfront eval` scores the report episodes, which no search has seen."
    lines = [
        "## Scores",
        "",
        f"Fraction of expert performance of these weights on the {episodes}: overall"
        f" **{interval(origin.score, origin.score_stderr)}** ({score_words(recipe.suite)}, 95% interval);"
        f" above half of the expert on {above} of {counted(len(detail.tasks), 'task')}.{rest}",
        "",
        "| task | domain | share of tokens | measured | floor | expert | of the expert (95%) | episodes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, score in sorted(detail.tasks.items(), key=lambda item: -item[1].fraction):
        record = recipe.suite.records[task]
        floor, expert = record.checked(split)
        share = recipe.candidate.mixture.weights.get(task, 0.0)
        lines.append(
            f"| {task} | {record.domain} | {share:.1%} | {score.value:.4g} {record.unit} | {floor.mean:.4g}"
            f" | {expert.mean:.4g} | {interval(score.fraction, score.fraction_stderr)} | {score.n} |"
        )
    domains = ", ".join(f"{domain} {value:.3f}" for domain, value in sorted(detail.domains.items()))
    return [*lines, "", f"Mean over each domain's tasks: {domains}.", ""]


def _cost(recipe: Recipe, detail: TrialDetail) -> list[str]:
    row, cost = detail.row, price(recipe.candidate.architecture, recipe.suite)
    return [
        "## Cost",
        "",
        f"- {row.flops_per_token:,.0f} FLOPs per token (forward, context {recipe.suite.context}, uniform"
        " mixture, head at every position)",
        f"- {row.active_params:,} active of {row.total_params:,} parameters",
        f"- {cost.training_bytes / 2**20:,.1f} MiB to train in fp32 with AdamW{_each(recipe)},"
        f" {cost.cache_bytes_per_sequence / 2**10:,.1f} KiB of keys and values a sequence",
        f"- this rung: {row.training_flops:.3g} training FLOPs, {row.wall_seconds:.1f} s of training and"
        f" {detail.evaluation_seconds:.1f} s of scoring on {detail.device}",
        f"- {recipe.candidate.optimizer} at learning rate {recipe.candidate.learning_rate:g},"
        f" {recipe.precision}, seed {recipe.seed}",
        "",
    ]


def _why_not(detail: TrialDetail, threshold: float) -> str:
    """Why a candidate above its floor is not on the front."""
    confirmed = None if detail.confirmed is None else detail.confirmed.score
    means = (confirmed, detail.mean_score, detail.row.score)  # the front goes by the first that there is
    score = next((mean for mean in means if mean is not None), None)
    if score is not None and score < threshold:
        return f"its score is below the study's threshold of {threshold:g}"
    costs = [name for name in detail.row.objectives if name in COSTS]
    what = "FLOPs" if tuple(costs) == DEFAULT.costs else " and ".join(COSTS[name].words for name in costs)
    return f"another candidate is better at no more {what}"


def _place(detail: TrialDetail, front: Sequence[FrontRow], threshold: float) -> list[str]:
    own = (detail.row.candidate, detail.row.rung)  # of a repeated candidate the front names the first seed
    places = [(row.candidate, row.rung) for row in front]
    lines = ["## Its place on the front", ""]
    if own in places:
        place = places.index(own) + 1
        lines.append(f"Number {place} of {len(front)} on the front, best score first; it is marked.")
    elif at_floor(detail.row.score, detail.row.stderr):
        lines.append(
            f"Not on the front of {len(front)}: its score is not above the floor by a standard error."
        )
    else:
        lines.append(f"Not on the front of {len(front)}: {_why_not(detail, threshold)}.")
    if detail.seeds > 1 and detail.mean_score is not None and detail.mean_stderr is not None:
        lines.append(
            f"Its score there is the mean over {detail.seeds} seeds,"
            f" {interval(detail.mean_score, detail.mean_stderr)} (95%)."
        )
    others = [name for name in detail.row.objectives if name in COSTS and name not in SHOWN]
    more = "".join(f" {COSTS[name].heading} |" for name in others)
    lines += [
        "",
        f"| trial | score (95%) | confirmed | FLOPs per token | total parameters | rung |{more}",
        f"|---|---|---|---|---|---|{'---|' * len(others)}",
    ]
    for row in front:
        mark = "**" if (row.candidate, row.rung) == own else ""
        confirmed = counted(row.seeds, "seed") if row.split == "report" else "no"
        lines.append(
            f"| {mark}{row.trial}{mark} | {mean_words(row.score, row.score_stderr, row.interval)}"
            f" | {confirmed} | {row.flops_per_token:,.0f} | {row.total_params:,} | {row.rung} |"
            + "".join(f" {row.costs[name]:,.0f} |" for name in others)
        )
    return [*lines, ""]


def _commands(recipe: Recipe, folder: Path) -> list[str]:
    name = shlex.quote(str(folder))
    return [
        "## Use it",
        "",
        "```",
        f"pathfront train {name} --tokens {recipe.tokens_to_train}      # train it in full, resumable,"
        " with a card of its own",
        f"pathfront eval {name} --split report     # score the weights that are here",
        "```",
        "",
    ]


def _whose(trainer: str) -> list[str]:
    return [
        "## Use it",
        "",
        f"The weights were saved by `{trainer}` and are for its own network. `pathfront train` and"
        " `pathfront eval` only know Pathfront's own decoder.",
        "",
    ]


def _files(weights: bool = True) -> list[str]:
    return [
        "## Files",
        "",
        f"- `{CONFIG_FILE}`: architecture, mixture, learning rate, suite; all that `train` needs",
        *([f"- `{WEIGHTS_FILE}`: decayed weights"] if weights else []),
        f"- `{TOKENIZER_FILE}`: SentencePiece model of the text; in `tokenizer.json` for transformers",
        f"- `{REFERENCES_FILE}`: floor and expert of each task, as measured and frozen",
        f"- `{CARD_FILE}`: this card",
        "",
    ]


def with_hf(card: str) -> str:
    """Add the folder for transformers to the list of files on a card, if it is not there yet."""
    line = f"- `{HF_FOLDER}/`: the same network for transformers; see its own `{CARD_FILE}`"
    return card if line in card else f"{card.rstrip()}\n{line}\n"
