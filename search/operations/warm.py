"""The warm start of a launch: the earlier study is copied into the new one's specification."""

from search.choose.copies import copy_study
from search.database.storage import open_reader
from search.read.results import Reader
from space.errors import NotFoundError, StudyFileError
from space.knowledge import Warm
from space.study import StudyConfig


def warmed(config: StudyConfig, named: str | None, url: str) -> StudyConfig:
    """A specification with the copy of the earlier study that it or an option names.

    A study that has a copy keeps it, whatever the earlier study has become.

    Args:
        config: the study, which its file may give a `warm.study`.
        named: what the option `--warm-from` names; None if it was not given.
        url: the database of both studies.

    Raises:
        NotFoundError: there is no such study.
        StudyFileError: it has no scores, or the study has begun with another one.
        StorageError: the database cannot be used.
    """
    if config.warm is not None and config.warm.copied is not None:
        raise StudyFileError("warm.copied: a launch makes it; leave it out of the file")
    if named is not None and config.warm is not None and config.warm.study != named:
        raise StudyFileError(
            f"warm.study: --warm-from names the same study, got '{config.warm.study}', '{named}'"
        )
    earlier = named or (config.warm.study if config.warm is not None else None)
    if earlier is None:
        return config
    if earlier == config.study:
        raise StudyFileError(f"warm.study: a warm start is from another study, got '{earlier}' itself")
    stored = _begun(config, url)
    if stored is not None:
        if stored.warm is None or stored.warm.study != earlier:
            had = "none" if stored.warm is None else f"'{stored.warm.study}'"
            raise StudyFileError(
                f"warm.study: a study keeps its specification, and '{config.study}' has {had},"
                f" got '{earlier}'; name a new study, or go back"
            )
        return config.model_copy(update={"warm": stored.warm})
    engine = open_reader(url)
    try:
        copied = copy_study(engine, url, earlier)
    finally:
        engine.dispose()
    return config.model_copy(update={"warm": Warm(study=earlier, copied=copied)})


def _begun(config: StudyConfig, url: str) -> StudyConfig | None:
    """The stored specification of a study that has candidates; None if there is none."""
    try:
        reader = Reader(url)
        stored = reader.config(config.study)
        begun = reader.snapshot(config.study, stored.search.seed).candidates
    except NotFoundError:
        return None
    return stored if begun else None
