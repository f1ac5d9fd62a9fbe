"""Keep a stored study's own tokenizer where the processes of this machine look for it.

Workers, confirmations and exports begin with it, since what trains or reads a suite's text knows the suite
alone, which names the tokenizer by its SHA-256.
"""

from sqlalchemy import Engine

from search.store.tokenizers import read_tokenizer
from space.errors import StorageError
from space.records import SuiteRecord
from space.tokenizer import is_own


def adopt_tokenizer(engine: Engine, url: str, study: str, suite: SuiteRecord) -> None:
    """Keep a stored study's own tokenizer where this machine's processes look for it.

    Raises:
        StorageError: the model is missing or damaged, or the database cannot be read.
        MachineError: the cache cannot be written.
    """
    if is_own(suite.tokenizer):
        adopt_model(read_tokenizer(engine, url, study), study, suite)


def adopt_model(model: bytes | None, study: str, suite: SuiteRecord) -> None:
    """Keep a stored model that is a suite's own tokenizer; see `adopt_tokenizer`."""
    from trainers.tasks.tokenizer import keep_model, model_digest

    if not is_own(suite.tokenizer):
        return
    if model is None or model_digest(model) != suite.tokenizer:
        raise StorageError(
            f"study '{study}' has the tokenizer {suite.tokenizer[:12]}, and the database holds"
            f" {'none' if model is None else 'another'}; restore it from a copy"
        )
    keep_model(model)
