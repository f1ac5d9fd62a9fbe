"""Export a trial as a folder for full training: `config.yaml`, weights, tokenizer, references and a card.

An export contains only safetensors, JSON, YAML, Markdown and the SentencePiece model. The weights are copied
byte for byte. The folder is written atomically.
"""

from collections.abc import Callable
from pathlib import Path

from search.export.card import card, grown_card
from search.export.extrapolate import observations, predicted_scores, reach
from search.read.picks import PICKS, picked
from search.read.remarks import no_front
from search.read.results import Reader
from search.read.rows import CheckpointRow, TrialDetail
from search.store.artifacts import copy_stored
from space.cost import price
from space.errors import CheckpointError, NotFoundError, StudyFileError, closest
from space.files import file_sha256, require_new, write_folder_atomically
from space.growth import TargetSize, grow
from space.recipe import CARD_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Growth, Origin, Recipe
from space.records import SuiteRecord

AHEAD = (1, 3, 10)  # multiples of a trial's tokens at which the score of a grown model is predicted


def export(
    reader: Reader,
    study: str,
    folder: Path,
    tokenizer: Callable[[SuiteRecord], bytes],
    pick: str | None = None,
    trial: int | None = None,
    max_flops: float | None = None,
    finish: Callable[[Path], None] = lambda folder: None,
) -> TrialDetail:
    """Export a trial.

    Args:
        reader: the storage.
        study: name of the study.
        folder: the new folder; it must not exist.
        tokenizer: returns the SentencePiece model of a suite's tokenizer.
        pick: "best" (the default) for the front's best score, "knee" for its knee; among confirmed
            candidates once there are any.
        trial: number of a done trial, instead of `pick`.
        max_flops: pick only among candidates of at most that many FLOPs per token.
        finish: called with the complete folder before it gets its name; may add files.

    Returns:
        The trial that was exported.

    Raises:
        StudyFileError: the options contradict each other, or the folder exists.
        MachineError: the folder cannot be made.
        NotFoundError: there is no such study or trial, or the front is empty.
        CheckpointError: the trial's weights are damaged, or it has none.
        StorageError: its weights are missing, or their store cannot be reached.
    """
    require_new(folder)
    detail = choose(reader, study, pick, trial, max_flops)
    config, suite = reader.config(study), reader.suite(study)
    weights = _decayed(detail, reader, study, config.keep)
    recipe = Recipe(
        candidate=detail.config,
        suite=suite,
        decay=config.rungs.decay,
        seed=detail.row.seed,
        precision=config.precision,
        origin=_origin(study, detail),
        weights_sha256=weights.sha256,
    )
    text = card(recipe, detail, reader.front(study), folder, config.trainer, config.threshold)
    with write_folder_atomically(folder) as partial:
        _copy_checked(weights, partial / WEIGHTS_FILE)
        _write(partial, recipe, tokenizer(suite), text)
        finish(partial)
    return detail


def export_grown(
    reader: Reader,
    study: str,
    folder: Path,
    tokenizer: Callable[[SuiteRecord], bytes],
    scale: TargetSize,
    tokens: int | None = None,
    pick: str | None = None,
    trial: int | None = None,
    max_flops: float | None = None,
    finish: Callable[[Path], None] = lambda folder: None,
) -> Recipe:
    """Export a larger model of a trial's shape, without weights.

    Args:
        reader: the storage.
        study: name of the study.
        folder: the new folder; it must not exist.
        tokenizer: returns the SentencePiece model of a suite's tokenizer.
        scale: size of the larger model.
        tokens: input tokens at which its score is predicted; else 1, 3 and 10 times the trial's.
        pick: as in `export`.
        trial: as in `export`.
        max_flops: as in `export`.
        finish: as in `export`.

    Returns:
        The recipe in `config.yaml`.

    Raises:
        StudyFileError: the options contradict each other, the folder exists, or the scale cannot be met.
        MachineError: the folder cannot be made.
        NotFoundError: there is no such study or trial, or the front is empty.
    """
    require_new(folder)
    detail = choose(reader, study, pick, trial, max_flops)
    config, suite = reader.config(study), reader.suite(study)
    own = price(detail.config.architecture, suite).flops_per_token
    larger = grow(detail.config.architecture, suite, scale.flops(own))
    cost = price(larger, suite)
    seen = observations(reader.trials(study), config.rungs)
    trained = config.rungs.with_decay(detail.row.tokens)
    places = [trained * ahead for ahead in AHEAD] if tokens is None else [tokens]
    planned = cost.planned_flops_per_token(detail.config.optimizer, suite.batch_tokens)
    predicted, unknown = predicted_scores(seen, detail.row.candidate, cost.flops_per_token, places, planned)
    recipe = Recipe(
        candidate=detail.config.model_copy(update={"architecture": larger}),
        suite=suite,
        decay=config.rungs.decay,
        seed=detail.row.seed,
        precision=config.precision,
        origin=_origin(study, detail),
        weights_sha256=None,
        grown=Growth(
            from_flops=own,
            flops=cost.flops_per_token,
            predicted=predicted,
            unknown=unknown,
            reach=reach(seen) if predicted else None,
        ),
    )
    with write_folder_atomically(folder) as partial:
        _write(partial, recipe, tokenizer(suite), grown_card(recipe, detail, folder))
        finish(partial)
    return recipe


def choose(
    reader: Reader,
    study: str,
    pick: str | None = None,
    trial: int | None = None,
    max_flops: float | None = None,
) -> TrialDetail:
    """Find the trial that the options select.

    Raises:
        StudyFileError: the options contradict each other, or the trial is not done.
        NotFoundError: there is no such study or trial, or no candidate is within the limit.
    """
    if pick is not None and pick not in PICKS:
        raise StudyFileError(f"--pick is best or knee, got '{pick}'{closest(pick, PICKS)}")
    if trial is not None:
        if pick is not None or max_flops is not None:
            other = "--pick" if pick is not None else "--max-flops"
            raise StudyFileError(f"--trial names the trial itself: leave {other} out")
        detail = reader.trial(study, trial)
        if detail.row.state != "done":
            raise StudyFileError(
                f"only a done trial can be exported, and trial {trial} is {detail.row.state}"
            )
        return detail
    front = reader.front(study, max_flops)
    if not front:
        raise NotFoundError(no_front(reader, study, max_flops))
    return reader.trial(study, picked(front, pick or "best").trial)


def _write(folder: Path, recipe: Recipe, tokenizer: bytes, text: str) -> None:
    """Write all files of an export except the weights."""
    recipe.write(folder)
    recipe.write_references(folder)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer)
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


def _decayed(detail: TrialDetail, reader: Reader, study: str, keep: str) -> CheckpointRow:
    """The row of the trial's decayed weights.

    Raises:
        CheckpointError: there are none.
    """
    decayed = [file for file in detail.checkpoints if file.kind == "decayed"]
    if decayed:
        return max(decayed, key=lambda file: file.tokens)
    if keep == "front" and not detail.on_front:
        raise CheckpointError(
            f"the weights of trial {detail.row.number} were dropped, since the study has keep: front;"
            f" choose one of {reader.command('front', study)}, or set keep: all before a study runs"
        )
    raise CheckpointError(
        f"trial {detail.row.number} left no decayed weights, which an export carries; choose another"
    )


def _copy_checked(file: CheckpointRow, target: Path) -> None:
    """Copy a stored file and check its SHA-256."""
    copy_stored(file.uri, target)
    found, size = file_sha256(target), target.stat().st_size
    if found != file.sha256:
        raise CheckpointError(
            f"checkpoint '{file.uri}' is damaged: stored were {file.bytes} bytes with SHA-256"
            f" {file.sha256[:12]}, found {size} with {found[:12]}"
        )


def _origin(study: str, detail: TrialDetail) -> Origin:
    row = detail.row
    assert row.score is not None
    return Origin(
        study=study,
        trial=row.number,
        rung=row.rung,
        tokens=row.tokens,
        score=row.score,
        score_stderr=row.stderr or 0.0,
    )
