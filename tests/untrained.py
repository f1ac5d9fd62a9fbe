"""An export as `pathfront export` leaves it, whose weights were never trained."""

import hashlib
from pathlib import Path

import torch

from space.candidate import Architecture, CandidateConfig
from space.mixture import TaskMixture
from space.recipe import TOKENIZER_FILE, WEIGHTS_FILE, Origin, Recipe
from space.records import SuiteRecord
from trainers.model.decoder import Decoder
from trainers.tasks.tokenizer import tokenizer_model
from trainers.train import save_weights


def untrained_export(folder: Path, suite: SuiteRecord, arch: Architecture) -> Path:
    """Write it into a new folder, which is returned."""
    folder.mkdir()
    candidate = CandidateConfig(
        architecture=arch, mixture=TaskMixture.uniform(suite.tasks), learning_rate=3e-3
    )
    torch.manual_seed(0)
    save_weights(Decoder(arch, suite), candidate, folder / WEIGHTS_FILE)
    sha256 = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    origin = Origin(study="mine", trial=3, rung=0, tokens=40_000, score=0.1, score_stderr=0.01)
    recipe = Recipe(candidate=candidate, suite=suite, origin=origin, weights_sha256=sha256)
    recipe.write(folder)
    recipe.write_references(folder)
    (folder / TOKENIZER_FILE).write_bytes(tokenizer_model(suite.tokenizer))
    return folder
