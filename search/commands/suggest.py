"""`pathfront suggest`: print what a worker would start next, and why."""

from typing import TYPE_CHECKING, Annotated

import typer

from search.commands.options import Json, Storage, Study

if TYPE_CHECKING:
    from search.read.suggestions import Suggested
    from space.study import StudyConfig

NAME = "suggest"
EXAMPLES = ["pathfront suggest quick", "pathfront suggest quick -n 3 --json | jq '.[].expected'"]
MOST = 100
KINDS = {
    "proposal": "a new candidate",
    "promotion": "a promotion",
    "enqueued": "a candidate that was enqueued",
    "repeat": "a repetition with another seed",
}


def run(
    study: Study,
    number: Annotated[
        int, typer.Option("-n", "--number", min=1, max=MOST, metavar="N", help="Trials to print.")
    ] = 1,
    storage: Storage = None,
    json: Json = False,
) -> None:
    """Print the next trial that a worker would start, and why.

    Its score at the top rung is predicted with a 90% interval. Nothing is written. Further trials are those
    that would follow if the first ones were running.
    """
    from search.commands import output
    from search.database.storage import resolve_url
    from search.read.results import Reader
    from search.read.suggestions import suggest

    reader = Reader(resolve_url(storage))
    found = suggest(reader, study, number)
    if json:
        output.print_json(found)
        return
    config = reader.config(study)
    for place, suggested in enumerate(found):
        _print(suggested, config, place + 1)
    if not found:
        output.say(
            f"study '{study}' would start nothing now: its stop rule is reached, or trials are under way"
        )


def _print(suggested: "Suggested", config: "StudyConfig", place: int) -> None:
    from search.commands import output
    from space.description import describe
    from space.objectives import COSTS, DEFAULT

    rungs = len(config.rungs.tokens)
    ahead = " ahead of the quotas" if suggested.ahead else ""
    print(
        f"{place}. {KINDS[suggested.kind]}{ahead}: {suggested.candidate},"
        f" to rung {suggested.rung} of {rungs - 1}, {output.short(suggested.flops_per_token)} FLOPs per token"
    )
    if tuple(suggested.costs) != DEFAULT.costs:
        said = ", ".join(COSTS[name].value(amount) for name, amount in suggested.costs.items())
        print(f"   objectives: the score, {said}")
    for title, value in describe(suggested.config).facts.items():
        print(f"   {title.lower()}: {value}")
    shares = sorted(suggested.config.mixture.weights.items(), key=lambda item: -item[1])
    print(f"   mixture: {', '.join(f'{task} {share:.1%}' for task, share in shares)}")
    reason = f"; {suggested.reason}" if suggested.reason else ""
    print(f"   proposed by: {suggested.rule}{reason}")
    expected = suggested.expected
    if expected is None:
        print("   predicted score: none, there are too few scores for the models")
        return
    print(
        f"   predicted score at the top rung: {expected.score:.3f}, 90% interval"
        f" [{expected.low:.3f}, {expected.high:.3f}]; the law weighs {expected.law_weight:.2f}"
    )
    likelier = f"{expected.belief:.3g} times as likely by the priors as usual at its cost"
    belief = f", {likelier}" if expected.belief != 1 else ""
    logs = " times ".join(
        f"log {'FLOPs' if name in DEFAULT.costs else COSTS[name].column}" for name in suggested.costs
    )
    print(
        f"   expected gain of the front: {expected.gain:.4g} (score times {logs}),"
        f" probability of divergence {1 - expected.survives:.1%}{belief}"
    )
