"""A study of a database, as its models see it."""

from search.choose.sampler import Problem
from search.choose.snapshot import take_snapshot
from search.choose.studied import Studied
from search.database.storage import open_reader
from search.read.results import Reader


def studied(reader: Reader, study: str) -> Studied:
    """Read a study with the trials of its own seed.

    Raises:
        NotFoundError: there is no such study.
        StorageError: another version of Pathfront wrote it, or the database cannot be read.
    """
    config, suite = reader.config(study), reader.suite(study)
    seed = config.search.seed
    problem = Problem.of(config, suite)
    engine = open_reader(reader.url)
    try:
        return Studied(study, problem, take_snapshot(engine, study, seed))
    finally:
        engine.dispose()
