"""One candidate's way from one rung to the next: trunk, decay branch, score.

`train_candidate` is the one public call of the search. It knows neither studies nor databases: whoever calls
it gives a budget and a report, and gets a scorecard.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch
from safetensors.torch import save_file

from space.candidate import CandidateConfig
from space.catalog import SuiteRecord
from space.cost import price
from space.errors import CheckpointError
from space.scores import Budget, Report, Scorecard, Spent
from trainers.data import Mixer, MixtureData, load_corpora
from trainers.evaluate import score_candidate
from trainers.expert_load import measure_load
from trainers.model.decoder import Decoder
from trainers.module import CandidateModule, Schedule, Work
from trainers.runtime import accelerator, make_logger, quiet
from trainers.trial import Trial


def train_candidate(
    candidate: CandidateConfig, suite: SuiteRecord, budget: Budget, resume: Path | None, report: Report
) -> Scorecard:
    """Train a candidate to its next rung and score it there.

    The trunk runs at a constant rate from `budget.start_tokens` (or from where `resume` left off) to
    `budget.tokens`; a decay branch is forked from it, saved and scored. The trunk itself stays undecayed.

    Args:
        candidate: what to train.
        suite: what to train it on.
        budget: from where, to where, how it is scored.
        resume: checkpoint of the trunk, at `budget.start_tokens` or between it and `budget.tokens`.
        report: takes progress and checkpoints, and may ask to stop.

    Raises:
        CheckpointError: `resume` is missing, damaged or another candidate's.
        Interrupted: the report asked to stop; the trunk's last checkpoint is the place to go on from.
        PathfrontError: training diverged.
    """
    fitted = fit_candidate(candidate, suite, budget, resume, report)
    decoder, work = fitted.decoder, fitted.work
    decoder.to("cuda" if accelerator(budget.device) == "gpu" else "cpu")
    started = time.monotonic()
    with torch.autocast(decoder.device.type, torch.bfloat16, enabled="bf16" in budget.precision):
        values = score_candidate(decoder, suite, budget.split, budget.episodes, fitted.trial.stop_if_asked)
        load = measure_load(decoder, suite, fitted.mixer, fitted.trial.schedule.steps)
    spent = Spent(
        tokens=work.tokens,
        training_flops=work.flops(price(candidate.architecture, suite), candidate.optimizer),
        wall_seconds=work.seconds,
        evaluation_seconds=time.monotonic() - started,
        epochs=fitted.mixer.epochs(fitted.trial.schedule.steps),
        device=str(decoder.device),
    )
    return Scorecard.of(suite, values, budget.split, spent, load)


class Fitted(NamedTuple):
    """A candidate trained and decayed, not yet scored."""

    decoder: Decoder
    work: Work
    mixer: Mixer
    trial: Trial


def fit_candidate(
    candidate: CandidateConfig, suite: SuiteRecord, budget: Budget, resume: Path | None, report: Report
) -> Fitted:
    """Train a candidate to its next rung, decay it and save its weights: all of `train_candidate` but scores.

    Raises:
        CheckpointError: `resume` is missing, damaged or another candidate's.
        Interrupted: the report asked to stop; the trunk's last checkpoint is the place to go on from.
        PathfrontError: training diverged.
    """
    if budget.start_tokens and resume is None:
        raise CheckpointError(
            f"a trial that starts at {budget.start_tokens} tokens resumes a checkpoint, and none is given"
        )
    mixer = Mixer(load_corpora(suite), candidate.mixture, suite, budget.seed)
    trunk_steps = max(1, round(budget.tokens / mixer.step_tokens))
    schedule = Schedule(trunk_steps, round(budget.decay_tokens / mixer.step_tokens))
    trial = Trial(candidate, budget, report, schedule, mixer.step_tokens)
    if resume is not None:
        trial.check_resumable(resume)
    module = CandidateModule(candidate, suite, schedule, budget.seed)
    fit(module, MixtureData(mixer), trial, resume)
    decoder = module.decoder
    report.checkpoint(
        lambda path: save_weights(decoder, candidate, path), schedule.steps * mixer.step_tokens, "decayed"
    )
    return Fitted(decoder, module.work, mixer, trial)


def save_weights(decoder: Decoder, candidate: CandidateConfig, path: Path) -> None:
    """Write a decoder's weights as safetensors, with the candidate in the header."""
    weights = {name: value.detach().cpu().contiguous() for name, value in decoder.state_dict().items()}
    save_file(weights, path, {"format": "pt", "candidate": candidate.model_dump_json()})


def fit(module: CandidateModule, data: MixtureData, trial: Trial, resume: Path | None) -> None:
    """Let Lightning take a module through its steps, from a checkpoint or from the first."""
    budget = trial.budget
    precision: Any = budget.precision  # a plain string, which Lightning checks
    with quiet():
        trainer = L.Trainer(
            accelerator=accelerator(budget.device),
            devices=1,
            precision=precision,
            max_steps=trial.schedule.steps,
            max_epochs=-1,
            callbacks=[trial],
            logger=make_logger(budget),
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
