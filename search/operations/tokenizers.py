"""A study's own tokenizer: read from the file that a study file names, trained at a launch, and then kept.

The model is stored with the study, and the suite bears its SHA-256. Launchers, workers and exports take the
stored model, so nothing is trained or read from the user's file again.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from search.operations.console import Meter
from search.operations.rehearse import rehearse
from search.read.fixed import fixing
from search.read.results import Reader
from space.errors import NotFoundError, PathfrontError, StudyFileError
from space.records import SuiteRecord
from space.study import StudyConfig
from space.tokenizer import UNTRAINED

KEY = "tokenizer"

Refusal = Callable[[object], StudyFileError]


def resolving(url: str) -> Callable[[dict[str, Any], Refusal], dict[str, Any]]:
    """What turns `fix` and `tokenizer.file` in the data of a study file into plain values, for `read_study`.

    Args:
        url: the database of the study and of the trials that `fix` names; it need not exist.
    """
    fix = fixing(url)

    def resolve(data: dict[str, Any], refused: Refusal) -> dict[str, Any]:
        data = fix(data, refused)
        given = data.get(KEY)
        if not isinstance(given, Mapping):
            return data
        if "sha256" in given:
            raise refused("tokenizer.sha256: a launch makes it; leave it out of the file")
        if not isinstance(given.get("file"), str):
            return data
        if set(given) != {"file"}:
            raise refused(f"tokenizer: vocab or file, got {', '.join(sorted(map(str, given)))}")
        return {**data, KEY: _of_file(Path(given["file"]), url, data.get("study"), refused)}

    return resolve


def with_tokenizer(
    url: str, config: StudyConfig, suite: SuiteRecord, quiet: bool = False
) -> tuple[StudyConfig, SuiteRecord, bytes | None]:
    """Train a study's own tokenizer, or find it, and keep it where this machine's processes look for it.

    Args:
        url: the database.
        config: the study as `planned` gives it.
        suite: likewise.
        quiet: whether to show no progress.

    Returns:
        Configuration and suite with the tokenizer's SHA-256, and its model; None for a tokenizer that ships.

    Raises:
        StudyFileError: it cannot be trained on the texts of the study's tasks.
        PathfrontError: a task cannot be opened; the cache or the database cannot be used.
    """
    from trainers.tasks.tokenizer import keep_model, model_digest, tokenizer_model

    if config.tokenizer is None:
        return config, suite, None
    if suite.tokenizer == UNTRAINED:
        rehearse(config)  # what is misspelt is found first
        model = _train(config, quiet)
        own = config.tokenizer.model_copy(update={"sha256": model_digest(model)})
        config, suite = config.model_copy(update={KEY: own}), own.of(suite)
    else:
        model = _stored(url, config.study, suite.tokenizer) or tokenizer_model(suite.tokenizer)
    keep_model(model)
    return config, suite, model


def _of_file(path: Path, url: str, study: object, refused: Refusal) -> dict[str, Any]:
    """The key `tokenizer` for a model file; if it is gone, that of the stored study with a file so named."""
    from trainers.tasks.tokenizer import read_model

    try:
        name, size = read_model(path)
    except NotFoundError as error:
        stored = _of_study(path.name, url, study)
        if stored is None:
            raise refused(f"tokenizer.file: {error}") from None
        return stored
    except PathfrontError as error:
        raise refused(f"tokenizer.file: {error}") from None
    return {"file": path.name, "vocab": size, "sha256": name}


def _of_study(file: str, url: str, study: object) -> dict[str, Any] | None:
    """The key `tokenizer` of a stored study if its model is of a file so named, which is then remembered."""
    from trainers.tasks.tokenizer import remember_model

    try:
        with closing(Reader(url)) as reader:
            own, model = reader.config(str(study)).tokenizer, reader.tokenizer(str(study))
    except NotFoundError:
        return None
    if own is None or own.file != file or model is None:
        return None
    remember_model(model)
    return own.model_dump()


def _stored(url: str, study: str, name: str) -> bytes | None:
    """The model of a stored study; None if it has another tokenizer, or does not exist."""
    from trainers.tasks.tokenizer import model_digest

    try:
        with closing(Reader(url)) as reader:
            model = reader.tokenizer(study)
    except NotFoundError:
        return None
    return model if model is not None and model_digest(model) == name else None


def _train(config: StudyConfig, quiet: bool) -> bytes:
    from trainers.tasks.own_tokenizer import train_own

    assert config.tokenizer is not None
    assert config.tokenizer.vocab is not None
    shipped = config.model_copy(update={KEY: None}).suite_record()
    if quiet:
        return train_own(shipped, config.tokenizer.vocab, lambda what, done, total: None)
    with Meter(KEY, len(shipped.tasks)) as meter:
        return train_own(
            shipped, config.tokenizer.vocab, lambda what, done, total: meter.update(done, what, total)
        )
