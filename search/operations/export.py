"""Export a trial with all that its folder holds: the tokenizers, and a folder for transformers if asked."""

from pathlib import Path

from search.export.card import with_hf
from search.export.write import choose, export, export_grown
from search.read.results import Reader
from search.read.rows import TrialDetail
from search.tokenizers import adopt_model
from space.files import require_new, write_atomically, write_folder_atomically
from space.growth import TargetSize
from space.recipe import CARD_FILE, HF_FOLDER, Recipe
from space.records import SuiteRecord


def export_trial(
    reader: Reader,
    study: str,
    folder: Path,
    pick: str | None = None,
    trial: int | None = None,
    max_flops: float | None = None,
    hf: bool = False,
) -> TrialDetail:
    """Export a trial; see `search.export.write.export` for the arguments.

    Args:
        reader: the storage.
        study: name of the study.
        folder: the new folder; it must not exist.
        pick: "best" or "knee" of the front.
        trial: number of a done trial, instead of `pick`.
        max_flops: pick only among candidates of at most that many FLOPs per token.
        hf: whether to add a folder for transformers.

    Returns:
        The trial that was exported.

    Raises:
        PathfrontError: as `search.export.write.export`; or transformers has no class for the candidate.
    """
    _keep_own(reader, study)
    if not hf:
        return export(reader, study, folder, _tokenizer, pick, trial, max_flops, _write_tokenizer)
    require_new(folder)
    chosen = choose(reader, study, pick, trial, max_flops)
    from trainers.exports.huggingface.classes import exact_class

    exact_class(chosen.config.architecture)  # raises before anything is written
    return export(reader, study, folder, _tokenizer, trial=chosen.row.number, finish=_write_hf)


def export_larger(
    reader: Reader,
    study: str,
    folder: Path,
    size: TargetSize,
    tokens: int | None = None,
    pick: str | None = None,
    trial: int | None = None,
    max_flops: float | None = None,
) -> Recipe:
    """Export a larger model of a trial's shape, without weights; see `search.export.write.export_grown`."""
    _keep_own(reader, study)
    return export_grown(
        reader, study, folder, _tokenizer, size, tokens, pick, trial, max_flops, _write_tokenizer
    )


def add_hf(export: Path, folder: Path | None = None) -> Path:
    """Write the folder for transformers into an export, or elsewhere.

    Args:
        export: a folder that was exported.
        folder: a new folder; None for `hf` in the export, which is replaced if its weights are old.

    Returns:
        The folder.

    Raises:
        StudyFileError: the folder exists, or transformers has no class for the candidate.
        MachineError: the folder cannot be made.
        NotFoundError: it is no export, or has no weights yet.
        CheckpointError: a file of the export is damaged.
    """
    from trainers.exports.huggingface.classes import exact_class
    from trainers.exports.huggingface.folder import is_stale, write_hf

    target = folder or export / HF_FOLDER
    stale = folder is None and target.is_dir() and is_stale(export, target)
    if not stale:
        require_new(target)
    exact_class(Recipe.read(export).candidate.architecture)
    with write_folder_atomically(target, replace=stale) as partial:
        write_hf(export, partial)
    if folder is None:
        _write_tokenizer(export)
        _name_on_card(export)
    return target


def _keep_own(reader: Reader, study: str) -> None:
    """Keep the study's own tokenizer, if it has one, for what reads its suite."""
    adopt_model(reader.tokenizer(study), study, reader.suite(study))


def _tokenizer(suite: SuiteRecord) -> bytes:
    """The model file of a suite's tokenizer."""
    from trainers.tasks.tokenizer import suite_tokenizer

    return suite_tokenizer(suite).model


def _write_hf(export: Path) -> None:
    """Add the folder for transformers to an export that is being written."""
    from trainers.exports.huggingface.folder import write_hf

    _write_tokenizer(export)
    write_hf(export, export / HF_FOLDER)
    _name_on_card(export)


def _write_tokenizer(export: Path) -> None:
    """Write the tokenizer for transformers into an export."""
    from trainers.exports.huggingface.tokenizer import write_tokenizer
    from trainers.exports.load import keep_tokenizer

    recipe = Recipe.read(export)
    keep_tokenizer(export, recipe)
    suite = recipe.suite
    write_tokenizer(export, _tokenizer(suite), suite)


def _name_on_card(export: Path) -> None:
    """Name the folder for transformers on an export's card, if it has a card."""
    path = export / CARD_FILE
    if path.is_file():
        write_atomically(path, with_hf(path.read_text(encoding="utf-8")))
