"""`pathfront launch --dry-run`: what a study will cost, and nothing is written."""

from typing import TYPE_CHECKING

from search.commands import output
from space.words import counted

if TYPE_CHECKING:
    from search.forecast import Forecast, Speed
    from space.study import StudyConfig


def print_price(config: "StudyConfig", workers: int | None, url: str, artifacts: str, json: bool) -> None:
    """Print what a study will cost.

    Args:
        config: the study.
        workers: trials side by side; None for what the study file says.
        url: the storage, where earlier trials tell the speed; it need not exist.
        artifacts: where checkpoints would go.
        json: whether to print JSON alone.

    Raises:
        StudyFileError: the study breaks a rule.
        StorageError: the storage is there and cannot be read.
    """
    from search.forecast import DEFAULT_SPEED, forecast
    from search.storage import shown

    device, count = _plan(config, workers)
    measured = _measured(url, device)
    priced = forecast(config, count, device, measured or DEFAULT_SPEED[device])
    if json:
        output.print_json(priced)
        return
    _print(priced)
    print(f"storage: {shown(url)}")
    print(f"artifacts: {artifacts}")


def _plan(config: "StudyConfig", workers: int | None) -> tuple[str, int]:
    """On what the study would run, and how many trials side by side; as on one GPU where it needs one."""
    from search.engines.devices import gpus
    from search.engines.local import plan

    if config.device == "cuda" and not gpus():
        output.say("this machine shows no GPU: priced as on a machine with one")
        return "cuda", workers or config.trials_per_gpu
    return plan(config, workers)


def _measured(url: str, device: str) -> "Speed | None":
    """The speed of earlier trials in the storage, if there are any."""
    from search.results import Reader
    from space.errors import NotFoundError

    try:
        return Reader(url).throughput(device)
    except NotFoundError:
        return None


def _print(price: "Forecast") -> None:
    def span(least: float, most: float, unit: str = "") -> str:
        return f"{output.short(least)}{unit} to {output.short(most)}{unit}"

    print(f"study {price.study}: {counted(price.tasks, 'task')} of suite {price.suite}")
    drawn = "" if price.drawn_from is None else f" (drawn from {price.drawn_from:,} combinations of knobs)"
    possible = counted(price.architectures, "architecture")
    print(
        f"candidates possible: {price.within_limits:,} of {possible}{drawn} within the limits, times mixtures"
        f" and learning rates (varied: {counted(len(price.parameters), 'parameter')})"
    )
    print(f"FLOPs per token: {span(*price.flops_per_token)}")
    print(f"parameters: {span(*price.total_params)}, active {span(*price.active_params)}")
    print(f"memory to train one: {span(*price.training_bytes, 'B')}")
    output.print_table(
        [">rung", ">tokens", ">trials", ">tokens a trial"],
        [
            (str(rung.rung), output.short(rung.tokens), str(rung.trials), output.short(rung.tokens_per_trial))
            for rung in price.rungs
        ],
    )
    print(
        f"in all: {counted(price.trials, 'trial')} of {counted(price.candidates, 'candidate')},"
        f" {output.short(price.training_tokens)} tokens,"
        f" at most {output.short(price.training_flops)} training FLOPs"
    )
    speed = price.speed
    source = (
        f"measured on {counted(speed.trials, 'trial')} here"
        if speed.trials
        else "defaults: nothing measured yet"
    )
    print(
        f"expected time: {output.duration(price.wall_seconds)} with {counted(price.workers, 'worker')}"
        f" on {price.device}, at {output.short(speed.flops_per_second)} FLOP/s a worker and"
        f" {speed.evaluation_seconds:.0f} s to score a trial ({source})"
    )
