"""`pathfront launch --dry-run`: print the expected cost of a study. Nothing is written."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from search.commands import output
from space.words import counted

if TYPE_CHECKING:
    from search.planning.forecast import Forecast
    from search.read.results import Reader
    from space.study import StudyConfig


def print_price(config: "StudyConfig", workers: int | None, url: str, artifacts: str, json: bool) -> None:
    """Print the expected cost of a study.

    Args:
        config: the study.
        workers: trials that run at the same time; None for the study file's.
        url: the database, whose earlier trials give the speed; it need not exist.
        artifacts: where checkpoints would be stored.
        json: whether to print only JSON.

    Raises:
        StudyFileError: the study breaks a rule.
        StorageError: the database exists and cannot be read.
    """
    from search.database.storage import shown
    from search.planning.forecast import DEFAULT_SPEED, forecast
    from search.store.studies import planned

    device, count = _plan(config, workers)
    reader = _reader(url)
    measured = None if reader is None else reader.throughput(device)
    existing = None if reader is None else _existing(reader, config)
    if existing is not None and existing["differs"] is None:
        config = planned(url, config).config
    priced = forecast(config, count, device, measured or DEFAULT_SPEED[device])
    if json:
        output.print_json({**asdict(priced), "existing": existing})
        return
    _print(priced)
    confirm = config.stop.confirm
    if confirm is not None:
        most = (confirm.top + confirm.uniform) * confirm.seeds
        tokens = config.rungs.whole_tokens
        print(
            f"confirmed at its end, beyond this: at most {counted(most, 'trial')} of {output.short(tokens)}"
            " tokens"
        )
    print(f"storage: {shown(url)}")
    print(f"artifacts: {artifacts}")
    if existing is not None:
        print(_standing(config.study, existing))


def _plan(config: "StudyConfig", workers: int | None) -> tuple[str, int]:
    """The device, and the trials at the same time. If a GPU is needed and missing, one GPU is assumed."""
    from search.engines.devices import gpus
    from search.engines.engines import make_engine

    if config.engine == "local" and config.device == "cuda" and not gpus():
        output.say("this machine shows no GPU: priced as on a machine with one")
        return "cuda", workers or config.trials_per_gpu
    return make_engine(config).plan(workers)


def _reader(url: str) -> "Reader | None":
    """A reader of the database; None if it does not exist."""
    from search.read.results import Reader
    from space.errors import NotFoundError

    try:
        return Reader(url)
    except NotFoundError:
        return None


def _existing(reader: "Reader", config: "StudyConfig") -> dict[str, Any] | None:
    """Progress of the stored study of this name, and whether its specification agrees.

    Returns:
        A mapping whose `differs` is None if launching would resume the study, else why it is refused; None if
        there is no study of this name.
    """
    from search.store.studies import compare
    from space.errors import NotFoundError, StudyFileError

    try:
        status = reader.status(config.study)
    except NotFoundError:
        return None
    differs = None
    try:
        compare(reader.config(config.study), config)
    except StudyFileError as error:
        differs = str(error)
    shown = ("finished", "candidates", "fraction_done", "training_flops")
    return {
        **{name: getattr(status, name) for name in shown},
        "trials": status.states.get("done", 0),
        "differs": differs,
    }


def _standing(study: str, existing: dict[str, Any]) -> str:
    """A line about a study that exists already."""
    state = (
        "is finished" if existing["finished"] else f"is there already, {existing['fraction_done']:.0%} done"
    )
    spent = f"{existing['trials']} trials of {existing['candidates']} candidates done"
    line = (
        f"study '{study}' {state}: {spent}, {output.short(existing['training_flops'])} training FLOPs spent"
    )
    if existing["differs"] is not None:
        return f"{line}; this specification is refused: {existing['differs']}"
    if existing["finished"]:
        return f"{line}; its specification agrees, and a larger `stop` takes it further"
    return f"{line}; its specification agrees, so launching it resumes it"


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
    each = f" on each of {price.devices} devices" if price.devices > 1 else ""
    least, most = (price.devices * size for size in price.training_bytes)
    in_all = f", {span(least, most, 'B')} in all" if price.devices > 1 else ""
    print(f"memory to train one: {span(*price.training_bytes, 'B')}{each}{in_all}")
    output.print_table(
        [">rung", ">tokens", ">trials", ">tokens a trial"],
        [
            (str(rung.rung), output.short(rung.tokens), str(rung.trials), output.short(rung.tokens_per_trial))
            for rung in price.rungs
        ],
    )
    print(
        f"expected: {counted(price.trials, 'trial')} of {counted(price.candidates, 'candidate')},"
        f" {output.short(price.training_tokens)} tokens, {output.short(price.training_flops)} training FLOPs"
    )
    disk = price.disk_bytes
    bounds = (price.training_tokens_most, price.training_flops_most, disk.most)
    if None in bounds:
        print("at most: no bound, since only time ends the study")
    else:
        tokens, flops, most = map(output.short, bounds)
        print(
            f"at most, if no attempt crashes: {tokens} tokens, {flops} training FLOPs, {most}B of checkpoints"
        )
    print(
        f"expected disk: {output.short(disk.final)}B of checkpoints at the end, {output.short(disk.peak)}B at"
        f" most while it runs (a trial's weights {span(*disk.weights, 'B')}, with the optimizer's state"
        f" {span(*disk.trunk, 'B')})"
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
