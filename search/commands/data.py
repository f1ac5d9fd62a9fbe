"""`pathfront data`: data sets of the user as tasks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.commands.data_control import more_of, say_more
from search.commands.data_remove import EXAMPLES, Name, remove
from search.commands.options import Json, examples

if TYPE_CHECKING:
    from search.commands.output import Meter
    from space.catalog import Measured
    from trainers.tasks.datasets.content import LeftOut, Progress
    from trainers.tasks.datasets.library import Dataset

MOST_BAD = 0.01
SPECIALIST = "trainers.specialist:dense_specialist"

app = typer.Typer(help="Images and sounds by label, text and control, as tasks.", rich_markup_mode=None)

KindOption = Annotated[
    Literal["images", "sounds", "text", "control"] | None,
    typer.Option(help="What it holds; found from its files otherwise."),
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace a data set of that name.")]
Field = Annotated[
    str,
    typer.Option(metavar="FIELD", help="Field of JSON lines and Parquet that has the text."),
]
MaxBad = Annotated[
    float,
    typer.Option(
        "--max-bad", min=0.0, max=1.0, metavar="SHARE", help="Share of the items that may be unreadable."
    ),
]
SpecialistOption = Annotated[
    bool,
    typer.Option(
        "--specialist",
        help="Train a small dense network on it, and take it for the expert where it is better.",
    ),
]


@app.command(
    "add",
    epilog=examples(
        [
            "pathfront data add flowers photos/            # photos/LABEL/*.jpg",
            "pathfront data add mnist mnist/               # train-images-idx3-ubyte.gz and its like",
            "pathfront data add spoken-digits recordings/  # LABEL/*.flac, or LABEL_SPEAKER_NUMBER.mp3",
            "pathfront data add novels books/ --kind text --specialist",
            "pathfront data add web crawl/ --field content  # crawl/*.jsonl.zst",
            "pathfront data add maze D4RL/pointmaze/umaze-v2 --kind control  # a data set of Minari",
        ]
    ),
)
def add(
    name: Name,
    source: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder or file to read, or a Minari id.")],
    kind: KindOption = None,
    field: Field = "text",
    max_bad: MaxBad = MOST_BAD,
    replace: Replace = False,
    specialist: SpecialistOption = False,
    json: Json = False,
) -> None:
    """Make a task of a folder.

    \b
    FOLDER holds one of:
      images   one folder for each label, or IDX files as MNIST has them
      sounds   WAV, FLAC, MP3 or Ogg files in one folder for each label, or named
               LABEL_SPEAKER_NUMBER.wav
      text     UTF-8 files, JSON lines (.jsonl) or Parquet, or is such a file itself;
               files and JSON lines may be compressed (.gz, .zst)
      control  a data set of Minari, or it is the id of one: its episodes are learnt
               from, its environment scores (pip install 'pathfront[minari]')

    Folders of labels may lie below train/ and test/, and val/ too. Links are followed, hidden files left out.
    Where the source has no such splits, every tenth item is held out for select and every tenth for report;
    every fifth where that leaves fewer than 20 (10 excerpts of text) for one of them. 200 items or 100,000
    characters give scores worth comparing. Fewer are taken with a warning, down to 10 items or some 10,000
    characters. Items that cannot be read are named and left out, up to the share of --max-bad.

    All is copied and converted into PATHFRONT_DATA or the user's data folder: images to 16x16 pixels, sounds
    to one second at 8 kHz. Then floor and expert are measured into pathfront-tasks.json (or PATHFRONT_TASKS),
    and study files beside it may name the task.
    """  # noqa: D301 - a backspace keeps the lines of a block apart
    from search.commands import output
    from trainers.tasks.datasets.content import LeftOut
    from trainers.tasks.datasets.library import add_dataset, check_name
    from trainers.tasks.datasets.minari_folders import locate

    check_name(name)
    _check_places()
    former, left_out, folder = _sha256(name), LeftOut(max_bad), locate(source, kind == "control")
    with output.Meter(f"reading {source}", 1) as meter:
        dataset = add_dataset(name, folder, _items(meter), kind, replace, left_out=left_out, field=field)
    _say_left_out(left_out, dataset)
    _say_replaced(dataset, former)
    _measure(dataset, specialist, json)


@app.command(
    "fetch",
    epilog=examples(
        [
            "pathfront data fetch spoken-digits            # 3,000 recordings, CC BY-SA 4.0",
            "pathfront data fetch tiny-shakespeare         # 1.1 MB of text, public domain",
            "pathfront data fetch mine --url https://example.org/mine.zip --sha256 9f86d081...",
        ]
    ),
)
def fetch(
    name: Name,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="File, zip or tar archive; else that of a known data set."),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Digest of what URL gives; needed with a URL of your own."),
    ] = None,
    kind: KindOption = None,
    field: Field = "text",
    max_bad: MaxBad = MOST_BAD,
    replace: Replace = False,
    specialist: SpecialistOption = False,
    json: Json = False,
) -> None:
    """Download a data set, check it, and make a task of it.

    Known are spoken-digits and tiny-shakespeare. A download is used only if its SHA-256 is the stated one;
    the archive of spoken-digits is checked by the names and digests of the recordings in it.
    """
    from contextlib import ExitStack

    from search.commands import output
    from trainers.tasks.datasets.content import LeftOut
    from trainers.tasks.datasets.downloads import downloaded, find_download
    from trainers.tasks.datasets.library import add_dataset, check_name

    check_name(name)
    _check_places()
    former, left_out = _sha256(name), LeftOut(max_bad)
    wanted = find_download(name, url, sha256, kind)
    with ExitStack() as until_read:
        with output.Meter(f"downloading {wanted.url}", 1) as meter:
            source = until_read.enter_context(downloaded(wanted, _bytes(meter)))
        with output.Meter(f"reading {name}", 1) as meter:
            dataset = add_dataset(
                name, source, _items(meter), wanted.kind, replace, wanted.url, wanted.licence, left_out, field
            )
    _say_left_out(left_out, dataset)
    _say_replaced(dataset, former)
    _measure(dataset, specialist, json)


@app.command("list", epilog=examples(["pathfront data list", "pathfront data list --json"]))
def list_datasets(json: Json = False) -> None:
    """List the data sets with splits, floor and expert.

    Floor and expert are of the report episodes. A data set that is damaged, or whose name something that
    ships has taken since, is named in a warning.
    """
    from search.commands import output
    from space.catalog import local_catalog
    from space.errors import TaskError
    from trainers.tasks.datasets.library import data_folder, dataset_names, open_dataset, taken_by

    measured = local_catalog()
    rows = []
    for name in dataset_names():
        try:
            rows.append(_row(open_dataset(name), measured.get(name)))
        except TaskError as error:
            output.say(f"warning: {error}")
        if (other := taken_by(name)) is not None:
            output.say(
                f"warning: '{name}' is {other} too, which comes first; add the data set under another name"
            )
    if json:
        output.print_json(rows)
        return
    if not rows:
        output.say(f"no data sets in {data_folder()}; add one: pathfront data add NAME FOLDER")
        return
    columns = [
        "name",
        "kind",
        ">items",
        ">splits",
        ">labels",
        ">floor",
        ">expert",
        ">size",
        "licence",
        "source",
    ]
    output.print_table(columns, [[_cell(name, row[name]) for name in _bare(columns)] for row in rows])


app.command("remove", epilog=examples(EXAMPLES))(remove)


def _check_places() -> None:
    """Check that all folders can be written, before minutes are spent on making data.

    Raises:
        MachineError: a folder cannot be written; the message names it and what moves it.
    """
    from space.catalog import check_local
    from trainers.tasks.cache import CACHE
    from trainers.tasks.datasets.library import DATA

    for place in (DATA, CACHE):
        place.check_writable()
    check_local()


def _sha256(name: str) -> str | None:
    """Digest of a data set; None if it does not exist or cannot be read."""
    from space.errors import NotFoundError, TaskError
    from trainers.tasks.datasets.library import open_dataset

    try:
        return open_dataset(name).manifest.sha256
    except (NotFoundError, TaskError):
        return None


def _say_left_out(left_out: "LeftOut", dataset: "Dataset") -> None:
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


def _say_replaced(dataset: "Dataset", former: str | None) -> None:
    """If a data set was replaced by other data, delete its references and say so."""
    from search.commands import output
    from space.catalog import forget_local

    name = dataset.manifest.name
    if former not in (None, dataset.manifest.sha256):
        forget_local(name)
        output.say(
            f"'{name}' holds other data than before; studies of the former data are not continued on it"
        )


def _measure(dataset: "Dataset", specialist: bool, json: bool) -> None:
    """Measure floor and expert, note them for study files, and say what was found."""
    from search.commands import output
    from space.catalog import write_local
    from trainers.tasks.datasets.text_task import AddedText
    from trainers.tasks.measure import measure_by_name, own_suite
    from trainers.tasks.registry import load_task

    manifest = dataset.manifest
    suite = own_suite()
    task = load_task(manifest.name, suite)
    if isinstance(task, AddedText):
        with output.Meter(f"tokenising {manifest.name}", 1) as meter:
            task.tokenise(_items(meter))
    output.say(f"measuring floor and expert of {manifest.name}")
    measured = measure_by_name(manifest.name, suite, SPECIALIST if specialist else None)
    path = write_local(measured)
    _warn_of_few(manifest.name, manifest.kind, measured.episodes)
    if json:
        output.print_json(_row(dataset, measured))
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


def _row(dataset: "Dataset", measured: "Measured | None") -> dict[str, object]:
    """The row of a data set; floor and expert are None if they were not measured here."""
    floor, expert = measured.record.checked("report") if measured else (None, None)
    return dataset.manifest.model_dump() | {
        "floor": floor and floor.mean,
        "expert": expert and expert.mean,
        "size": dataset.size,
        "folder": str(dataset.folder),
        **more_of(dataset),
    }


def _items(meter: "Meter") -> "Progress":
    """Shows items, or bytes, of their total."""
    from search.commands import output

    def show(done: int, total: int, unit: str = "", /) -> None:
        few, all_ = (output.short(n, unit) if unit else f"{n:,}" for n in (done, total))
        meter.update(done, f"{few} of {all_}", total)

    return show


def _bytes(meter: "Meter") -> Callable[[int, int], None]:
    from search.commands import output

    return lambda done, total: meter.update(done, f"{output.short(done)}B", max(done, total))


def _bare(columns: list[str]) -> list[str]:
    return [name.lstrip(">") for name in columns]


def _cell(name: str, value: object) -> str:
    from search.commands import output

    if value is None or value == ():
        return "-"
    if isinstance(value, dict):
        return "/".join(map(str, value.values()))
    if name == "size" and isinstance(value, int):
        return f"{output.short(value)}B"
    if isinstance(value, tuple):
        return str(len(value))
    return (
        f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
    )
