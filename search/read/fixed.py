"""`fix:` in a study file: parts of a candidate that a new study keeps, so that it searches the others.

    fix: {architecture: 29, study: quick}            # the architecture of trial 29 of study quick
    fix: {architecture: 29, study: quick, training: true}   # its learning rate and optimizer, too
    fix: {mixture: best/config.yaml}                 # the mixture of an export

The values are read at a launch and become plain values under `space`, so nothing else knows of `fix`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from search.read.results import Reader
from space.candidate import CandidateConfig
from space.errors import CheckpointError, StudyFileError
from space.knob_index import KNOBS, is_of_architecture
from space.knobs import Whole
from space.recipe import CONFIG_FILE, Recipe
from space.records import Frozen
from space.study import StudyConfig, parse

Source = Annotated[Whole, Field(ge=0)] | Annotated[str, Field(min_length=1)]
MAY_BE_GIVEN = "epochs"  # under `space.mixture`, where a mixture is fixed


class Fix(Frozen):
    """The section `fix` of a study file.

    Attributes:
        architecture: number of a trial, or path of an export or its `config.yaml`; its architecture is kept.
        mixture: likewise; its mixture is kept.
        training: whether learning rate and optimizer are kept with the architecture.
        study: the study of the trials, in the same database.
    """

    architecture: Source | None = None
    mixture: Source | None = None
    training: bool = False
    study: str | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.architecture is None and self.mixture is None:
            raise ValueError("architecture or mixture is needed, got neither")
        if self.training and self.architecture is None:
            raise ValueError("training goes with an architecture, got none")
        if self.study is None and any(isinstance(of, int) for of in (self.architecture, self.mixture)):
            raise ValueError("the number of a trial needs its study, got none")
        return self


def fixing(url: str) -> Callable[[dict[str, Any], Callable[[object], StudyFileError]], dict[str, Any]]:
    """What turns `fix` in the data of a study file into plain values, for `read_study`.

    Args:
        url: the database that holds the trials; it is opened only if `fix` names one.
    """

    def resolve(data: dict[str, Any], refused: Callable[[object], StudyFileError]) -> dict[str, Any]:
        if "fix" not in data:
            return data
        rest = {key: value for key, value in data.items() if key != "fix"}
        fix = parse(Fix, data["fix"], lambda why: refused(_at_fix(why)))
        space = rest.get("space") or {}
        if not isinstance(space, Mapping):
            return rest  # refused as any other
        try:
            return {**rest, "space": _fixed_space(fix, dict(space), rest, url, refused)}
        except (StudyFileError, CheckpointError) as error:
            raise refused(error) from None

    return resolve


def _at_fix(why: str) -> str:
    return why.replace("study file:", "fix:", 1) if why.startswith("study file:") else f"fix.{why}"


def _fixed_space(
    fix: Fix,
    space: dict[str, Any],
    rest: Mapping[str, Any],
    url: str,
    refused: Callable[[object], StudyFileError],
) -> dict[str, Any]:
    """The section `space` with the values of the sources."""
    if fix.architecture is not None:
        candidate = _candidate(fix.architecture, fix.study, url)
        for name in KNOBS:
            of_architecture = is_of_architecture(name)
            if not of_architecture and not fix.training:
                continue
            _require_absent(f"space.{name}", name in space, "architecture" if of_architecture else "training")
            space[name] = getattr(candidate.architecture if of_architecture else candidate, name)
    if fix.mixture is not None:
        given = space.get("mixture") or {}
        if not isinstance(given, Mapping):
            return space  # refused as any other
        for key in given:
            _require_absent(f"space.mixture.{key}", key != MAY_BE_GIVEN, "mixture")
        weights = _candidate(fix.mixture, fix.study, url).mixture.weights
        _require_same_tasks(weights, rest, refused)
        space["mixture"] = {**given, "prior": weights, "fixed": True, "floor": 0}
    return space


def _candidate(source: int | str, study: str | None, url: str) -> CandidateConfig:
    """The candidate of a trial or of an export.

    Raises:
        NotFoundError: there is no such study, trial or export.
        CheckpointError: the export is damaged.
    """
    if isinstance(source, str):
        path = Path(source)
        return Recipe.read(path.parent if path.name == CONFIG_FILE else path).candidate
    assert study is not None, "it is checked"
    reader = Reader(url)
    try:
        return reader.trial(study, source).config
    finally:
        reader.close()


def _require_absent(path: str, given: bool, part: str) -> None:
    if given:
        raise StudyFileError(
            f"{path}: fix.{part} gives its value, and the file gives one as well; leave one out"
        )


def _require_same_tasks(
    weights: Mapping[str, float], rest: Mapping[str, Any], refused: Callable[[object], StudyFileError]
) -> None:
    others = {key: value for key, value in rest.items() if key != "space"}
    suite = parse(StudyConfig, others, refused).suite_record()
    more, fewer = (
        sorted(a - b) for a, b in ((set(weights), set(suite.tasks)), (set(suite.tasks), set(weights)))
    )
    if more or fewer:
        differs = f"has '{more[0]}', which is none of them" if more else f"lacks '{fewer[0]}'"
        raise StudyFileError(
            f"fix.mixture: a mixture of the {len(suite.tasks)} tasks of suite '{suite.name}', and this one"
            f" {differs}"
        )
