"""Pairs of a question and its answer, from records of fields: how they are read, split and scored."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from space.errors import TaskError
from space.records import HELD_OUT, SPLITS
from trainers.tasks.datasets.content import FEWEST_HELD_OUT, MAPPED, Content, LeftOut, Progress
from trainers.tasks.datasets.documents import suffix_of
from trainers.tasks.datasets.pair_rows import COVERED, EXACT_RULE, PairRows, covered_share
from trainers.tasks.datasets.pair_writer import PairWriter
from trainers.tasks.datasets.pairing import (
    TRANSCRIPTS,
    Fields,
    Pairing,
    answers_of,
    medium_of,
    question_of,
    recognise,
)
from trainers.tasks.datasets.records import (
    SPLIT,
    TABLES,
    Record,
    is_only_pairs,
    is_records,
    read_records,
    stated_split,
)
from trainers.tasks.mapped import open_columns


def could_be_pairs(source: Path, files: Sequence[Path], text_field: str) -> bool:
    """Whether files have pairs: by their names, or by the fields of the first record."""
    records = [path for path in files if is_records(path)]
    if not records:
        return False
    if any(is_only_pairs(path) and (path == source or suffix_of(path) not in TABLES) for path in records):
        return True
    try:
        first = _first(records[0], source)
        if first is None or isinstance(first.values, TaskError):
            return False
        fields = recognise(first.values, Pairing(), first.where)
        media = _media(first.values, first, fields) if text_field in first.values else {}
    except TaskError:  # an image may be an address, beside a text
        return False
    return bool(media) or text_field not in first.values


def read_pairs(
    source: Path,
    files: Sequence[Path],
    progress: Progress,
    left_out: LeftOut,
    scratch: Path,
    pairing: Pairing,
    side: int,
    seconds: float,
) -> Content:
    """Read files of records as pairs.

    All records are read, and media that were decoded into the folder before are not decoded again.

    Args:
        source: the folder or the file.
        files: all files that are there.
        progress: called with the number of bytes read and their total.
        left_out: what is not in the data set is noted there.
        scratch: a folder, empty or with media that were decoded before; the files of the arrays, named after
            them, are left in it.
        pairing: what the user says about fields and metric.
        side: pixels that the shorter side of an image keeps at most.
        seconds: that a sound lasts at most.

    Raises:
        TaskError: no fields make pairs, too many of them cannot be read, or there are too few.
    """
    records = [path for path in files if is_records(path)]
    if not records:
        raise TaskError(
            f"pairs are in JSON lines, CSV, Parquet, Arrow or tar files, '{source}' has none of them"
        )
    fields = _recognised(records, source, pairing)
    with PairWriter(scratch, side, seconds) as writer:
        count = _read(source, records, progress, left_out, writer, fields)
    left_out.check(source, count)
    splits, rule = writer.splits(fields.group or ("question" if not (fields.image or fields.audio) else ""))
    _check_splits(source, splits)
    (scratch / "splits.bin").write_bytes(splits.tobytes())
    arrays = open_columns(scratch, MAPPED["pairs"])
    metric, why = _metric(arrays, fields, pairing)
    facts = {**fields.facts, "metric": metric, "why": why}
    kept = {"side": side if fields.image else None, "seconds": seconds if fields.audio else None}
    return Content("pairs", arrays, (), rule, writer.repeated, **kept, facts=facts)


def _first(path: Path, source: Path) -> Record | None:
    """The first record of a file that can be read, or the first one."""
    first = None
    for record in read_records(path, source):
        first = first or record
        if not isinstance(record.values, TaskError):
            return record
    return first


def _recognised(records: Sequence[Path], source: Path, pairing: Pairing) -> Fields:
    for path in records:
        first = _first(path, source)
        if first is not None:
            if isinstance(first.values, TaskError):
                raise first.values
            return recognise(first.values, pairing, first.where)
    raise TaskError(f"a data set of pairs has some, '{source}' has none")


def _read(
    source: Path,
    records: Sequence[Path],
    progress: Progress,
    left_out: LeftOut,
    writer: PairWriter,
    fields: Fields,
) -> int:
    """Add all pairs, and return how many records there were."""
    total, done, count = sum(path.stat().st_size for path in records), 0, 0
    if writer.begun:
        progress(min(writer.begun, total), total, "B")
    for path in records:
        for record in read_records(path, source, {*fields.names, SPLIT}):
            count += 1
            writer.position = done + record.position
            try:
                _add(record, writer, fields)
            except TaskError as error:
                left_out.note_bad(error)
            if writer.position >= writer.begun:
                progress(writer.position, total, "B")
        done += path.stat().st_size
    return count


def _add(record: Record, writer: PairWriter, fields: Fields) -> None:
    if isinstance(record.values, TaskError):
        raise record.values
    values, where = record.values, record.where
    split = stated_split(values, where) or record.split
    question, answers = question_of(values, fields, where), answers_of(values, fields, where)
    group = None
    if fields.group is not None:
        group = str(values.get(fields.group))
        if values.get(fields.group) in (None, ""):
            raise TaskError(f"a pair has its group in '{fields.group}' (--group-by), '{where}' has none")
    media = _media(values, record, fields)
    accepted = [answers] if fields.questions else [[answer] for answer in answers]  # each caption is a pair
    for right in accepted:
        writer.add(question, right, media, group, split, where)


def _media(values: Mapping[str, Any], record: Record, fields: Fields) -> dict[str, bytes]:
    """Kind -> encoded medium of a record."""
    names = {"image": fields.image, "audio": fields.audio}
    return {
        kind: medium_of(values.get(name), name, record.folder, record.where)
        for kind, name in names.items()
        if name is not None
    }


def _check_splits(source: Path, splits: np.ndarray) -> None:
    counts = np.bincount(splits, minlength=len(SPLITS)).tolist()
    for split, count in zip(SPLITS, counts, strict=True):
        if count < (FEWEST_HELD_OUT if split in HELD_OUT else 1):
            raise TaskError(
                f"select and report need {FEWEST_HELD_OUT} pairs each and train needs some, of '{source}'"
                f" {split} has {count} of {len(splits):,}; pairs of one group are in one split"
            )


def _metric(arrays: dict[str, np.ndarray], fields: Fields, pairing: Pairing) -> tuple[str, str]:
    """How answers are scored, and why, in words."""
    if pairing.metric is not None:
        return pairing.metric, "as --metric says"
    if fields.audio and not fields.questions and fields.answer.lower() in TRANSCRIPTS:
        return "bits", "since these are transcripts"
    share = covered_share(PairRows(arrays), arrays["splits"])
    told = f"{EXACT_RULE} are right for {share:.0%} of the held-out pairs"
    if share >= COVERED:
        return "exact", f"since {told}, {COVERED:.0%} or more"
    return "bits", f"since {told}, less than {COVERED:.0%}"
