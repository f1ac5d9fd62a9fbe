"""`pathfront data`: data sets of the user as tasks."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from search.commands.data_added import items, measure, resumable, row, say_left_out, say_replaced
from search.commands.data_media import SECONDS, SIDE, Seconds, Side
from search.commands.data_pairs import Answer, Audio, GroupBy, Image, Metric, Question
from search.commands.data_remove import EXAMPLES, Name, remove
from search.commands.options import Json, Minutes, check_minutes, examples

if TYPE_CHECKING:
    from search.commands.output import Meter

MOST_BAD = 0.01

app = typer.Typer(help="Images, sounds, text, pairs and control data as tasks.", rich_markup_mode=None)

KindOption = Annotated[
    Literal["images", "sounds", "text", "pairs", "control"] | None,
    typer.Option(help="What it holds; found from the endings of its files and their fields otherwise."),
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
            "pathfront data add vqa vqa/train.jsonl --image picture --question q --answer answers",
            "pathfront data add speech corpus.tar --seconds 20  # N.flac and N.txt",
            "pathfront data add maze D4RL/pointmaze/umaze-v2 --kind control  # a data set of Minari",
        ]
    ),
)
def add(
    name: Name,
    source: Annotated[str, typer.Argument(metavar="FOLDER", help="Folder or file to read, or a Minari id.")],
    kind: KindOption = None,
    field: Field = "text",
    image: Image = None,
    audio: Audio = None,
    question: Question = None,
    answer: Answer = None,
    group_by: GroupBy = None,
    metric: Metric = None,
    max_bad: MaxBad = MOST_BAD,
    side: Side = SIDE,
    seconds: Seconds = SECONDS,
    replace: Replace = False,
    specialist: SpecialistOption = False,
    minutes: Minutes = None,
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
      pairs    image and caption, image, question and answers, sound and transcript, or
               prompt and answer: records of JSON lines, CSV, Parquet, tar shards
               (WebDataset) or datasets.save_to_disk, with media as files or bytes
      control  a data set of Minari, or it is the id of one: its episodes are learnt
               from, its environment scores (pip install 'pathfront[minari]')

    Folders of labels may lie below train/ and test/, and val/ too. Links are followed, hidden files left out.
    Where the source has no such splits, every tenth item is held out for select and every tenth for report;
    every fifth where that leaves fewer than 20 (10 excerpts of text) for one of them. 200 items or 100,000
    characters give scores worth comparing. Fewer are taken with a warning, down to 10 items or some 10,000
    characters. Items that cannot be read are named and left out, up to the share of --max-bad.

    All is copied and converted into PATHFRONT_DATA or the user's data folder: images to 16x16 pixels and, for
    studies with the key `image`, to files of --side pixels; sounds to their loudest second at 8 kHz and, for
    studies with the key `sound`, to log-mel of --seconds at 16 kHz. Then floor and expert are measured into
    pathfront-tasks.json (or PATHFRONT_TASKS), and study files beside it may name the task. After an
    interruption, the same command does not convert or tokenise again what was done.
    """  # noqa: D301 - a backspace keeps the lines of a block apart
    from search.commands import output
    from search.commands.data_pairs import check_pairs, say_recognised
    from trainers.tasks.datasets.content import LeftOut
    from trainers.tasks.datasets.folders import Told
    from trainers.tasks.datasets.library import add_dataset, check_name
    from trainers.tasks.datasets.minari_folders import locate
    from trainers.tasks.datasets.pairing import Pairing

    check_name(name)
    check_minutes(minutes, specialist)
    pairing = Pairing(image, audio, question, answer, group_by, metric)
    told = Told(field, side, seconds, pairing)
    kind = "pairs" if check_pairs(kind, pairing) else kind
    _check_places()
    former, left_out, folder = _sha256(name), LeftOut(max_bad), locate(source, kind == "control")
    with resumable(name):
        with output.Meter(f"reading {source}", 1) as meter:
            dataset = add_dataset(name, folder, items(meter), kind, replace, None, None, left_out, told)
        say_recognised(dataset)
        say_left_out(left_out, dataset)
        say_replaced(dataset, former)
        measure(dataset, specialist, minutes, json)


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
    side: Side = SIDE,
    seconds: Seconds = SECONDS,
    replace: Replace = False,
    specialist: SpecialistOption = False,
    minutes: Minutes = None,
    json: Json = False,
) -> None:
    """Download a data set, check it, and make a task of it.

    Known are spoken-digits and tiny-shakespeare. A download is used only if its SHA-256 is the stated one;
    the archive of spoken-digits is checked by the names and digests of the recordings in it.
    """
    from contextlib import ExitStack

    from search.commands import output
    from search.commands.data_pairs import say_recognised
    from trainers.tasks.datasets.content import LeftOut
    from trainers.tasks.datasets.downloads import downloaded, find_download
    from trainers.tasks.datasets.folders import Told
    from trainers.tasks.datasets.library import add_dataset, check_name

    check_name(name)
    check_minutes(minutes, specialist)
    _check_places()
    former, left_out = _sha256(name), LeftOut(max_bad)
    wanted = find_download(name, url, sha256, kind)
    with ExitStack() as until_read:
        with output.Meter(f"downloading {wanted.url}", 1) as meter:
            source = until_read.enter_context(downloaded(wanted, _bytes(meter)))
        with output.Meter(f"reading {name}", 1) as meter:
            dataset = add_dataset(
                name,
                source,
                items(meter),
                wanted.kind,
                replace,
                wanted.url,
                wanted.licence,
                left_out,
                Told(field, side, seconds),
            )
    say_recognised(dataset)
    say_left_out(left_out, dataset)
    say_replaced(dataset, former)
    measure(dataset, specialist, minutes, json)


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
            rows.append(row(open_dataset(name), measured.get(name)))
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
