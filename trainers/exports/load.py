"""Read an export: its newest weights, the scorecard of its full training, its tokenizer."""

import shlex
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from space.errors import CheckpointError, NotFoundError, one_line
from space.recipe import TOKENIZER_FILE, WEIGHTS_FILE, Recipe
from space.scores import Scorecard
from space.tokenizer import is_own
from trainers.exports.sealed import check_seal, check_sha256
from trainers.model.decoder import Decoder
from trainers.tasks.tokenizer import keep_model, model_digest, tokenizer_model

FOLDER = "full"  # of an export: its full training
SCORECARD_FILE = "scorecard.json"


def load_decoder(folder: Path, recipe: Recipe) -> Decoder:
    """Load the newest weights of an export into its decoder, on the CPU.

    Raises:
        NotFoundError: there are no weights yet.
        CheckpointError: they are missing or damaged.
    """
    path = checked_weights(folder, recipe)
    decoder = Decoder(recipe.candidate.architecture, recipe.suite)
    try:
        decoder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = one_line(error, 120)
        raise CheckpointError(f"'{path}' holds the weights of this export's decoder: {reason}") from None
    return decoder


def checked_weights(folder: Path, recipe: Recipe) -> Path:
    """The file of an export's newest weights, checked: of its full training, else the exported weights.

    Raises:
        NotFoundError: there are no weights yet.
        CheckpointError: they are missing or damaged.
    """
    path = folder / FOLDER / WEIGHTS_FILE
    if path.is_file():
        check_seal(path)
        return path
    if recipe.weights_sha256 is None:
        raise NotFoundError(
            f"a candidate that was grown has no weights until it is trained, and '{folder}' has none;"
            f" train it: pathfront train {shlex.quote(str(folder))} --tokens N"
        )
    path = folder / WEIGHTS_FILE
    check_sha256(path, recipe.weights_sha256)
    return path


def full_scorecard(folder: Path) -> Scorecard | None:
    """The scorecard of an export's full training; None if there are no weights of one.

    Raises:
        CheckpointError: the training is not finished, or the scorecard is damaged.
    """
    path = folder / FOLDER / SCORECARD_FILE
    if not path.with_name(WEIGHTS_FILE).is_file():
        return None
    if not path.is_file():
        raise CheckpointError(
            f"a full training ends with '{SCORECARD_FILE}', and '{path.parent}' has none;"
            " finish it with the `pathfront train` that began it"
        )
    check_seal(path)
    return Scorecard.model_validate_json(path.read_text(encoding="utf-8"))


def check_tokenizer(folder: Path, recipe: Recipe) -> None:
    """Check that an export's tokenizer is its suite's, and keep one of its own for what reads the suite.

    Raises:
        CheckpointError: its tokenizer is missing, or differs.
        MachineError: the cache cannot be written.
    """
    if is_own(recipe.suite.tokenizer):
        keep_tokenizer(folder, recipe)
        return
    path = folder / TOKENIZER_FILE
    if not path.is_file() or path.read_bytes() != tokenizer_model(recipe.suite.tokenizer):
        raise CheckpointError(
            f"an export's {TOKENIZER_FILE} is the tokenizer '{recipe.suite.tokenizer}' of this installation,"
            f" and '{path}' is {'another' if path.is_file() else 'missing'}; restore it, or export again"
        )


def keep_tokenizer(folder: Path, recipe: Recipe) -> None:
    """Keep an export's tokenizer for what reads its suite, unless it is one that ships.

    Raises:
        CheckpointError: its tokenizer is missing, or differs.
        MachineError: the cache cannot be written.
    """
    name, path = recipe.suite.tokenizer, folder / TOKENIZER_FILE
    if not is_own(name):
        return
    model = path.read_bytes() if path.is_file() else None
    if model is None or model_digest(model) != name:
        raise CheckpointError(
            f"an export's {TOKENIZER_FILE} has the SHA-256 {name[:12]}, and '{path}' is"
            f" {'missing' if model is None else 'another'}; restore it, or export again"
        )
    keep_model(model)
