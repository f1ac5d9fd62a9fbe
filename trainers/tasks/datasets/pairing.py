"""Which fields of a record are a question and which its answer, and what is read from their values.

Nothing here knows a file format, or what becomes of a pair.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from space.errors import TaskError
from trainers.tasks.datasets.content import unreadable
from trainers.tasks.datasets.images import SUFFIXES as IMAGES
from trainers.tasks.datasets.sounds import SUFFIXES as SOUNDS

Role = Literal["image", "audio", "question", "answer"]
Metric = Literal["exact", "bits"]

NAMES: dict[Role, tuple[str, ...]] = {
    "image": ("image", "img", "picture", "photo", "image_path", "image_file", "jpg", "png"),
    "audio": ("audio", "sound", "speech", "recording", "audio_path", "audio_filepath", "wav", "flac"),
    "question": ("question", "prompt", "instruction", "query", "input"),
    "answer": (
        *("answers", "answer", "multiple_choice_answer", "output", "completion", "response", "target"),
        *("transcript", "transcription", "sentence", "captions", "caption", "text", "label", "cls"),
    ),
}
"""Usual names of each role, in small letters; the first one that a record has is taken."""
PATHS = ("file_name", "filename", "file", "path")
"""Names of fields with the path of a medium; its suffix says whether it is an image or a sound."""
INSTRUCTION, INPUT = "instruction", "input"
TRANSCRIPTS = ("transcript", "transcription", "sentence", "text")
LONGEST_PATH = 1024  # characters; what is longer is base64


@dataclass(frozen=True)
class Pairing:
    """How a user wants records to be read as pairs; what is None is found.

    Attributes:
        image: field of the image.
        audio: field of the sound.
        question: field of the question.
        answer: field of the answer or of several that are accepted.
        group_by: field of which rows with one value are in one split.
        metric: how answers are scored.
    """

    image: str | None = None
    audio: str | None = None
    question: str | None = None
    answer: str | None = None
    group_by: str | None = None
    metric: Metric | None = None

    @property
    def given(self) -> bool:
        """Whether the user said anything."""
        return self != Pairing()


@dataclass(frozen=True)
class Fields:
    """The fields of a record that make a pair; attributes as those of `Pairing`, but for `questions`.

    Attributes:
        questions: fields whose texts are put below each other: an instruction, and its input if it has one.
    """

    answer: str
    image: str | None
    audio: str | None
    questions: tuple[str, ...]
    group: str | None

    @property
    def names(self) -> list[str]:
        """All of them, once each."""
        media = [name for name in (self.image, self.audio, self.group) if name is not None]
        return list(dict.fromkeys([*media, *self.questions, self.answer]))

    @property
    def facts(self) -> dict[str, str]:
        """Role -> field, for people."""
        found = {"image": self.image, "audio": self.audio, "question": " + ".join(self.questions)}
        return {role: name for role, name in found.items() if name} | {"answer": self.answer}


def recognise(record: Mapping[str, Any], wanted: Pairing, where: str) -> Fields:
    """Find the fields of pairs in a record, by what the user says and by usual names.

    Args:
        record: field -> value.
        wanted: what the user says.
        where: the record's place, for messages.

    Raises:
        TaskError: a field that the user names is not there, or no question or no answer is found.
    """
    forced = [wanted.image, wanted.audio, wanted.question, wanted.answer, wanted.group_by]
    for name in forced:
        if name is not None and name not in record:
            raise TaskError(f"records have the fields that options name, '{name}' is not in '{where}'"
                            f" with {_listed(record)}")  # fmt: skip
    free = {name.lower(): name for name in record if name not in forced[:-1]}
    found: dict[Role, str | None] = {
        "image": wanted.image or _usual(free, "image") or _path(record, free, IMAGES),
        "audio": wanted.audio or _usual(free, "audio") or _path(record, free, SOUNDS),
        "question": wanted.question or _usual(free, "question"),
        "answer": wanted.answer or _usual(free, "answer"),
    }
    answer, question = found["answer"], found["question"]
    if answer is None or not (question or found["image"] or found["audio"]):
        missing = "an answer" if answer is None else "a question, an image or a sound"
        raise TaskError(
            f"pairs have an answer and what it answers, '{where}' has no field with a usual name for"
            f" {missing} among {_listed(record)}; name the fields: --question, --image, --audio, --answer"
        )
    questions = () if question is None else (question,)
    if wanted.question is None and question == free.get(INSTRUCTION) and INPUT in free:
        questions = (*questions, free[INPUT])
    return Fields(answer, found["image"], found["audio"], questions, wanted.group_by)


def question_of(record: Mapping[str, Any], fields: Fields, where: str) -> str:
    """The question's text; empty where the medium alone is asked about.

    Raises:
        TaskError: there is none.
    """
    if not fields.questions:
        return ""
    first, *others = fields.questions
    parts = [_text(record.get(first), first, where), *(_optional(record.get(n), n, where) for n in others)]
    return "\n".join(part for part in parts if part)


def answers_of(record: Mapping[str, Any], fields: Fields, where: str) -> list[str]:
    """The answers of a record, the most frequent one first, each once.

    Raises:
        TaskError: there is none.
    """
    found = [_text(value, fields.answer, where) for value in _several(record.get(fields.answer))]
    if not found:
        raise TaskError(f"a pair has an answer in '{fields.answer}', '{where}' has none")
    order = {answer: -found.count(answer) for answer in found}
    return sorted(order, key=order.__getitem__)


def medium_of(value: Any, field: str, folder: Path, where: str) -> bytes:
    """The encoded image or sound that a value holds, or the path of.

    Args:
        value: bytes, a path relative to the folder, base64, or a struct of bytes and path.
        field: its name, for messages.
        folder: of the file with the record.
        where: the record's place, for messages.

    Raises:
        TaskError: there is none, or its file cannot be read.
    """
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(value, str) or not value.strip():
        what = "nothing" if value is None or value in ("", b"") else type(value).__name__
        raise TaskError(f"the field '{field}' holds a path, bytes or base64, '{where}' holds {what} there")
    if value.startswith("data:"):
        return _base64(value.partition(",")[2], field, where)
    if len(value) > LONGEST_PATH:
        return _base64(value, field, where)
    path = folder / value
    try:
        return path.read_bytes()
    except FileNotFoundError:
        if path.suffix.lower() in IMAGES | SOUNDS or len(value) < 64:
            raise TaskError(f"the field '{field}' names a file, '{where}' names '{path}', which is not there"
                            ) from None  # fmt: skip
        return _base64(value, field, where)
    except (OSError, ValueError) as error:
        if len(value) > 255:
            return _base64(value, field, where)
        raise unreadable(path, error, "files that records name") from None


def _usual(free: Mapping[str, str], role: Role) -> str | None:
    return next((free[name] for name in NAMES[role] if name in free), None)


def _path(record: Mapping[str, Any], free: Mapping[str, str], suffixes: frozenset[str]) -> str | None:
    """A field with the path of a medium with one of some suffixes."""
    for name in PATHS:
        value = record.get(free.get(name, ""))
        if isinstance(value, str) and Path(value).suffix.lower() in suffixes:
            return free[name]
    return None


def _several(value: Any) -> list[Any]:
    """A value that may be a list, or hold one as SQuAD and VQA do."""
    if isinstance(value, Mapping):
        return _several(value.get("text", value.get("answer")))
    if isinstance(value, list):
        return [part.get("answer") if isinstance(part, Mapping) else part for part in value]
    return [] if value is None else [value]


def _optional(value: Any, field: str, where: str) -> str:
    return "" if value is None or value == "" else _text(value, field, where)


def _text(value: Any, field: str, where: str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str | int | float):
        what = "nothing" if value is None else type(value).__name__
        raise TaskError(f"the field '{field}' holds text, '{where}' holds {what} there")
    text = str(value).replace("\r\n", "\n").replace("\r", "\n").strip()
    if not text:
        raise TaskError(f"the field '{field}' holds text, '{where}' holds nothing there")
    if "\0" in text or text.encode(errors="ignore").decode() != text:
        raise TaskError(f"text has neither NUL nor half characters, '{where}' has; repair or remove it")
    return text


def _base64(text: str, field: str, where: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise TaskError(
            f"the field '{field}' holds a path, bytes or base64, '{where}' holds '{text[:24]}...'"
        ) from None


def _listed(record: Mapping[str, Any]) -> str:
    return ", ".join(record) or "none"
