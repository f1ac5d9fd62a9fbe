"""The study that records a table: stratified candidates, all of them trained through all rungs."""

from space.study import Search, Stop, StudyConfig

CANDIDATES = 192
REPEATS = 0.1
DENSE_EVERY = 5  # one candidate in so many is dense
SUFFIX = "-table"  # ends the study's name


def table_study(
    config: StudyConfig, candidates: int | None = None, repeats: float | None = None
) -> StudyConfig:
    """Derive the study that records a table of a study's space, suite and rungs.

    A study that promotes all candidates records a table already, and keeps its name and its sampler.

    Args:
        config: the study.
        candidates: to train; None for those of a study that records a table already, else `CANDIDATES`.
        repeats: share of them to train with a second seed; None likewise, else `REPEATS`.
    """
    if config.search.promotion == "all":
        search = config.search if repeats is None else config.search.model_copy(update={"repeats": repeats})
        stop = config.stop if candidates is None else Stop(candidates=candidates)
        return config.model_copy(update={"search": search, "stop": stop})
    search = Search(
        sampler="stratified",
        sampler_args={"by": "candidates", "dense_every": DENSE_EVERY},
        seed=config.search.seed,
        promotion="all",
        repeats=REPEATS if repeats is None else repeats,
    )
    changes = {
        "study": config.study + SUFFIX,
        "search": search,
        "stop": Stop(candidates=CANDIDATES if candidates is None else candidates),
        "keep": "front",
        "logger": "none",
    }
    return config.model_copy(update=changes)
