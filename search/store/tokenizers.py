"""The tokenizer of a study that has one of its own: its model is a row beside the study's."""

from hashlib import sha256

from sqlalchemy import Connection, Engine, delete, insert, select

from search.database.storage import reachable
from search.database.tables import tokenizers
from space.errors import StorageError, StudyFileError
from space.records import SuiteRecord
from space.tokenizer import UNTRAINED, is_own


def put_tokenizer(connection: Connection, study: str, suite: SuiteRecord, model: bytes | None) -> None:
    """Store a study's model in place of an earlier one; None leaves it without.

    Raises:
        StudyFileError: the suite has a tokenizer of its own, and this is not its model.
    """
    digest = None if model is None else sha256(model).hexdigest()
    if suite.tokenizer == UNTRAINED or (is_own(suite.tokenizer) and suite.tokenizer != digest):
        raise StudyFileError("tokenizer: a launch trains or reads the model, which is stored with the study")
    connection.execute(delete(tokenizers).where(tokenizers.c.study == study))
    if model is not None:
        connection.execute(insert(tokenizers).values(study=study, sha256=digest, model=model))


def read_tokenizer(engine: Engine, url: str, study: str) -> bytes | None:
    """The model of a study; None if it has a tokenizer that ships.

    Raises:
        StorageError: the database cannot be read, or the model is damaged.
    """
    with reachable(url), engine.connect() as connection:
        row = connection.execute(select(tokenizers).where(tokenizers.c.study == study)).first()
    if row is None:
        return None
    model = bytes(row.model)
    found = sha256(model).hexdigest()
    if found != row.sha256:
        raise StorageError(
            f"the tokenizer of study '{study}' is damaged: SHA-256 {found[:12]}, stored as {row.sha256[:12]};"
            " restore the database from a copy"
        )
    return model
