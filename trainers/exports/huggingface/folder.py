"""The folder `hf/` of an export: what transformers loads, and beside it what has no place there.

config.json, generation_config.json, model.safetensors   of the exact class, by its own `save_pretrained`
embedding.safetensors                                     patch encoders and local positions
tokenizer.json, tokenizer_config.json                     our ids of text, for `AutoTokenizer`
README.md                                                 how the two come together, and what is exact
torchtitan.toml, megatron.args                            the same architecture in other trainers' words
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from space.candidate import Architecture
from space.errors import CheckpointError, NotFoundError, one_line
from space.files import file_sha256, umask_mode
from space.recipe import CARD_FILE, WEIGHTS_FILE, Recipe
from trainers.exports.huggingface.classes import configuration, exact_class
from trainers.exports.huggingface.readme import readme
from trainers.exports.huggingface.tokenizer import write_tokenizer
from trainers.exports.huggingface.weights import from_peer, to_peer
from trainers.exports.load import FOLDER as FULL_FOLDER
from trainers.exports.load import checked_weights, keep_tokenizer, load_decoder
from trainers.exports.sheets import (
    MEGATRON_FILE,
    TORCHTITAN_FILE,
    Constants,
    check_described,
    megatron,
    torchtitan,
)
from trainers.model.attention import ROPE_BASE
from trainers.model.decoder import Decoder
from trainers.model.norm import NORM_EPS
from trainers.model.routing import BALANCE_COEFFICIENT, BIAS_STEP, Z_COEFFICIENT
from trainers.tasks.tokenizer import tokenizer_model

EMBEDDING_FILE = "embedding.safetensors"
HF_CONFIG_FILE = "config.json"
SOURCE = "weights_sha256"  # in the header of EMBEDDING_FILE: of the weights that the folder was made from
OURS = "embedding."  # prefix of the names in EMBEDDING_FILE
TABLE = "embedding.table.weight"
CONSTANTS = Constants(
    rope_base=ROPE_BASE,
    norm_eps=NORM_EPS,
    balance_coefficient=BALANCE_COEFFICIENT,
    z_coefficient=Z_COEFFICIENT,
    bias_step=BIAS_STEP,
)


def write_hf(export: Path, folder: Path) -> None:
    """Write an export's newest weights, those of its full training where there are any, for transformers.

    Args:
        export: the export.
        folder: where to write; it is made where it does not exist.

    Raises:
        NotFoundError: `export` is no export, or transformers is not installed.
        StudyFileError: no class of transformers is exact for its architecture, or a sheet lacks a knob of it.
        CheckpointError: its weights are missing or damaged.
    """
    recipe = Recipe.read(export)
    exact_class(recipe.candidate.architecture)
    check_described(recipe.candidate.architecture)
    decoder = load_decoder(export, recipe)
    in_full = (export / FULL_FOLDER / WEIGHTS_FILE).is_file()
    arch = decoder.arch
    folder.mkdir(parents=True, exist_ok=True)
    _save_model(decoder, folder)
    _save_embedding(decoder, folder, file_sha256(checked_weights(export, recipe)))
    keep_tokenizer(export, recipe)
    write_tokenizer(folder, tokenizer_model(recipe.suite.tokenizer), recipe.suite)
    (folder / CARD_FILE).write_text(readme(recipe, in_full), encoding="utf-8")
    (folder / TORCHTITAN_FILE).write_text(torchtitan(arch, recipe.suite, CONSTANTS), encoding="utf-8")
    (folder / MEGATRON_FILE).write_text(megatron(arch, recipe.suite, CONSTANTS), encoding="utf-8")


def is_stale(export: Path, folder: Path) -> bool:
    """Whether a folder that `write_hf` wrote holds other weights than the export's newest.

    Raises:
        NotFoundError: `export` is no export.
        CheckpointError: its weights or the folder are damaged.
    """
    path = folder / EMBEDDING_FILE
    try:
        with safe_open(path, framework="pt") as file:
            source = (file.metadata() or {}).get(SOURCE)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"'{path}' is damaged: {one_line(error, 120)}") from None
    return source != file_sha256(checked_weights(export, Recipe.read(export)))


def read_hf(folder: Path) -> dict[str, Tensor]:
    """Read what `write_hf` wrote as the state dict of our decoder, bit for bit.

    Raises:
        NotFoundError: the folder was not written by `write_hf`, or transformers is not installed.
        CheckpointError: a file is damaged, or the model has become one that our decoder cannot be.
    """
    path = folder / EMBEDDING_FILE
    if not path.is_file():
        raise NotFoundError(
            f"a folder for transformers of ours holds {EMBEDDING_FILE}, and '{folder}' has none;"
            " make one with `pathfront export DIR --format hf`"
        )
    try:
        with safe_open(path, framework="pt") as file:
            arch = Architecture.model_validate_json(file.metadata()["architecture"])
            embedding = {OURS + name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged: {one_line(error, 120)}") from None
    return from_peer(_load_model(folder, arch), arch) | embedding


def _load_model(folder: Path, arch: Architecture) -> dict[str, Tensor]:
    exact_class(arch)
    from transformers import AutoModelForCausalLM

    with _no_progress_bar():
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
        except (SafetensorError, OSError, ValueError, RuntimeError) as error:
            reason = one_line(error, 120)
            raise CheckpointError(f"'{folder}' holds a model that transformers loads: {reason}") from None
    model, info = loaded
    wrong = [str(name) for names in info.values() for name in names]
    if wrong:
        raise CheckpointError(f"'{folder}' holds the tensors of its class and no others, got {wrong[0]}")
    return model.state_dict()


def _save_model(decoder: Decoder, folder: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = dict(configuration(decoder.arch, decoder.suite))
    config = AutoConfig.for_model(settings.pop("model_type"), **settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    model.load_state_dict(to_peer(decoder.state_dict(), decoder.arch, shapes), assign=True)
    with _no_progress_bar():
        model.save_pretrained(folder)
    mode = (folder / HF_CONFIG_FILE).stat().st_mode & 0o777
    for path in folder.glob("*.safetensors"):  # which its library has made readable to its owner alone
        path.chmod(mode)


def _save_embedding(decoder: Decoder, folder: Path, source: str) -> None:
    weights = {
        name.removeprefix(OURS): value.contiguous()
        for name, value in decoder.state_dict().items()
        if name.startswith(OURS) and name != TABLE
    }
    header = {"format": "pt", "architecture": decoder.arch.model_dump_json(), SOURCE: source}
    with umask_mode(folder / EMBEDDING_FILE):
        save_file(weights, folder / EMBEDDING_FILE, header)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep the bar of a few files off the terminal."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
