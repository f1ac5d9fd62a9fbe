"""The card (README.md) of a full training."""

from space.cost import price
from space.objectives import score_words
from space.recipe import Recipe
from space.scores import Scorecard
from space.words import plus_minus


def full_card(recipe: Recipe, card: Scorecard, tokens: int) -> str:
    """Write the card of a full training, as Markdown.

    Args:
        recipe: the export's recipe.
        card: the scores.
        tokens: total input tokens of the training.
    """
    arch = recipe.candidate.architecture
    cost = price(arch, recipe.suite)
    rows = [
        f"| {name} | {recipe.suite.records[name].metric} | {task.value:.3f} | {task.n}"
        f" | {plus_minus(task.fraction, task.fraction_stderr, digits=2)}"
        f" | {recipe.candidate.mixture.weights.get(name, 0.0):.3f} | {card.spent.epochs.get(name, 0.0):.2f} |"
        for name, task in card.tasks.items()
    ]
    return "\n".join(
        [
            f"# {recipe.origin.study}, trial {recipe.origin.trial}, trained in full",
            "",
            f"Score {plus_minus(card.score, card.stderr)} on the {card.split} episodes: fraction of expert"
            f" performance, {score_words(recipe.suite)}; 95% intervals.",
            f"{card.above(0.5)} of {len(card.tasks)} tasks are above half of their expert.",
            *_compared_with_prediction(recipe, card, tokens),
            "",
            "| task | metric | value | episodes | fraction of expert | share of tokens | epochs |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"Depth {arch.depth}, width {arch.width}, {arch.features};"
            f" {cost.total_params:,} parameters, {cost.active_params:,} active;"
            f" {cost.flops_per_token:.3g} FLOPs per token.",
            f"Trained with {card.spent.training_flops:.3g} FLOPs"
            f" in {card.spent.wall_seconds:,.0f} s on {card.spent.device}.",
            "",
        ]
    )


def _compared_with_prediction(recipe: Recipe, card: Scorecard, tokens: int) -> list[str]:
    """A line that compares the score of a grown candidate with its prediction."""
    if recipe.grown is None:
        return []
    point = recipe.grown.at(tokens)
    if point is None:
        why = recipe.grown.unknown or "its predictions are for other numbers of tokens"
        return [f"Nothing was predicted at {tokens:,} tokens: {why}."]
    verdict = "within" if point.low <= card.score <= point.high else "outside"
    return [
        f"Predicted at {tokens:,} tokens: {point.score:.3f}, 90% interval {point.low:.3f} to"
        f" {point.high:.3f}; the score is {verdict} it. The prediction is for the select episodes, which are"
        " other episodes of the same tasks."
    ]
