"""The trainer of a study: imported by its name, its budget, and its result, which is checked."""

import gc
import math
import sys
from collections.abc import Callable
from typing import Any

from search.store.claims import Claim
from space.contract import Budget
from space.errors import StudyFileError, TaskError
from space.plugins import load_object
from space.scores import Scorecard
from space.study import StudyConfig

OUR_TRAINER = "trainers.train:train_candidate"

Trainer = Callable[..., object]  # with the signature of `trainers.train.train_candidate`


def load_trainer(config: StudyConfig) -> Trainer:
    """Import the study's trainer, ours or the one that `trainer` names.

    Raises:
        StudyFileError: there is no such function.
    """
    name = config.trainer or OUR_TRAINER
    rule = "trainer: a function as package.module:function"
    found = load_object(name, rule, StudyFileError)
    if not callable(found):
        raise StudyFileError(f"{rule}, and '{name}' is a {type(found).__name__}")
    torch: Any = sys.modules.get("torch")
    if torch is not None and (config.device == "cpu" or not torch.cuda.is_available()):
        torch.set_num_threads(1)  # trials run side by side, one core each
    return found


def release_memory() -> None:
    """Give what a trial used back to its GPU, for the trials beside it."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def budget_of(config: StudyConfig, claim: Claim, resumed: int | None, log_dir: str | None) -> Budget:
    """What an attempt may spend. A confirmation trains from the first step to its rung in one go.

    Args:
        config: the study.
        claim: the attempt.
        resumed: rung of the trunk that it resumes from; None if it starts from the beginning.
        log_dir: folder of the logger; None if it writes no files.
    """
    budget = config.rungs.budget(
        claim.rung,
        seed=claim.seed,
        split=claim.split,
        checkpoint_seconds=config.checkpoint_seconds,
        device=config.device,
        precision=config.precision,
        devices=config.devices_per_trial,
        loaders=config.loaders,
        compile=config.compile,
        strategy=config.strategy,
        logger=config.logger,
        log_dir=log_dir,
    )
    if resumed is None or claim.split == "report":
        return budget.model_copy(update={"start_tokens": 0})
    if resumed < claim.rung:  # the trunk at the end of that rung
        return budget.model_copy(update={"start_tokens": config.rungs.tokens[resumed]})
    return budget


def checked_card(card: object) -> Scorecard:
    """Check what a trainer returned.

    Raises:
        TaskError: it is no scorecard, or its score is not finite.
    """
    if not isinstance(card, Scorecard):
        raise TaskError(f"a trainer returns a Scorecard, got {type(card).__name__}")
    if not (math.isfinite(card.score) and math.isfinite(card.stderr)):  # Optuna takes -inf for a value
        raise TaskError(f"a score and its standard error are finite, got {card.score} and {card.stderr}")
    return card
