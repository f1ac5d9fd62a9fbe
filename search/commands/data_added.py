"""What the data commands say and measure once a data set has been added."""

from contextlib import contextmanager
from typing import TYPE_CHECKING

from search.commands.data_control import more_of, say_more

if TYPE_CHECKING:
    from collections.abc import Iterator

    from search.commands.output import Meter
    from space.catalog import Measured
    from trainers.tasks.datasets.content import LeftOut, Progress
    from trainers.tasks.datasets.library import Dataset

SPECIALIST = "trainers.specialist:dense_specialist"


def say_left_out(left_out: "LeftOut", dataset: "Dataset") -> None:
    """Say what of the source is not in the data set, and why."""
    from search.commands import output
    from space.words import counted

    if left_out.bad:
        output.say(f"left out: {counted(left_out.bad, 'item')} that cannot be read")
        _say_first(left_out.first_bad, left_out.bad)
    if left_out.others:
        output.say(f"left out: {counted(left_out.others, 'file')} of another kind")
        _say_first(left_out.first_others, left_out.others)
    if repeated := dataset.manifest.left_out:
        output.say(f"left out: {repeated:,} that stood more than once are kept once")


def _say_first(named: list[str], count: int) -> None:
    from search.commands import output

    for line in named:
        output.say(f"  {line}")
    if count > len(named):
        output.say(f"  and {count - len(named):,} more")


def say_replaced(dataset: "Dataset", former: str | None) -> None:
    """If a data set was replaced by other data, delete its references and say so."""
    from search.commands import output
    from space.catalog import forget_local

    name = dataset.manifest.name
    if former not in (None, dataset.manifest.sha256):
        forget_local(name)
        output.say(
            f"'{name}' holds other data than before; studies of the former data are not continued on it"
        )


def measure(dataset: "Dataset", specialist: bool, minutes: float | None, json: bool) -> None:
    """Measure floor and expert, note them for study files, and say what was found."""
    from search.commands import output
    from space.catalog import write_local
    from space.errors import WeakExpert
    from trainers.tasks.datasets.pair_task import AddedPairs
    from trainers.tasks.datasets.text_task import AddedText
    from trainers.tasks.measure import measure_by_name, own_suite
    from trainers.tasks.registry import load_task

    manifest = dataset.manifest
    suite = own_suite()
    task = load_task(manifest.name, suite)
    if isinstance(task, AddedText | AddedPairs):
        with output.Meter(f"tokenising {manifest.name}", 1) as meter:
            task.tokenise(items(meter))
    output.say(f"measuring floor and expert of {manifest.name}")
    try:
        measured = measure_by_name(manifest.name, suite, SPECIALIST if specialist else None, minutes)
    except WeakExpert as error:
        if specialist:
            raise
        raise WeakExpert(f"{error}; a trained network may: add it again with --specialist") from None
    path = write_local(measured)
    _warn_of_few(manifest.name, manifest.kind, measured.episodes)
    if json:
        output.print_json(row(dataset, measured))
        return
    sizes = ", ".join(f"{count:,} {split}" for split, count in manifest.splits.items())
    labels = f"{len(manifest.labels)} labels, " if manifest.labels else ""
    floor, expert = measured.record.checked("report")
    print(f"{manifest.name}: {labels}{sizes}; {manifest.rule}")
    print(f"{output.short(dataset.size)}B in {dataset.folder}, references in {path}")
    print(
        f"{measured.record.metric}: floor {floor.mean:.4g} ({floor.policy}),"
        f" expert {expert.mean:.4g} ± {expert.stderr:.2g} ({expert.policy}) on {expert.n} report episodes"
    )
    say_more(dataset, measured)
    output.say(f"in a study file: suite: [{manifest.name}, ...]")


def _warn_of_few(name: str, kind: str, count: int) -> None:
    """Warn if too few held-out items or excerpts score a trial."""
    from search.commands import output
    from trainers.tasks.datasets.content import ENOUGH_HELD_OUT
    from trainers.tasks.datasets.texts import ENOUGH_EXCERPTS

    if kind == "control":  # held-out episodes are played, and there are enough of them
        return
    enough, what = (ENOUGH_EXCERPTS, "excerpts") if kind == "text" else (ENOUGH_HELD_OUT, "items")
    if count < enough:
        output.say(
            f"warning: {count} {what} score a trial of {name}; fewer than {enough} tell candidates apart"
            " poorly, so add more data if you can"
        )


def row(dataset: "Dataset", measured: "Measured | None") -> dict[str, object]:
    """The row of a data set; floor and expert are None if they were not measured here."""
    floor, expert = measured.record.checked("report") if measured else (None, None)
    return dataset.manifest.model_dump() | {
        "floor": floor and floor.mean,
        "expert": expert and expert.mean,
        "size": dataset.size,
        "folder": str(dataset.folder),
        **more_of(dataset),
    }


@contextmanager
def resumable(name: str) -> "Iterator[None]":
    """A block that adds a data set, which a signal ends; the error says what the same command does then.

    Raises:
        Interrupted: SIGINT or SIGHUP came; `Terminated` after SIGTERM.
    """
    from search.commands.phases import ending_at_once
    from space.errors import Interrupted
    from trainers.tasks.datasets.library import is_begun

    try:
        with ending_at_once("stopped; give the same command again"):
            yield
    except Interrupted as error:
        if not is_begun(name):
            raise
        message = "stopped; what was converted is kept, and the same command resumes there"
        raise type(error)(message) from None


def items(meter: "Meter") -> "Progress":
    """Shows items, or bytes, of their total."""
    from search.commands import output

    def show(done: int, total: int, unit: str = "", /) -> None:
        few, all_ = (output.short(n, unit) if unit else f"{n:,}" for n in (done, total))
        meter.update(done, f"{few} of {all_}", total)

    return show
