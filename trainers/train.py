"""Train one candidate from one rung to the next: trunk, decay branch, score.

`train_candidate` is the function that the search calls. It takes a budget and a report and returns a
scorecard; it knows neither studies nor databases.
"""

import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file

from space.candidate import CandidateConfig
from space.contract import Budget, Report, Spent, Strategy
from space.cost import price
from space.errors import CheckpointError, Interrupted, MachineError, StudyFileError
from space.files import umask_mode
from space.records import SuiteRecord
from space.scores import Scorecard
from trainers.data import Mixer, MixtureData, load_corpora, step_tokens
from trainers.evaluate import score_candidate
from trainers.expert_load import measure_load
from trainers.group import ALONE, Member, Together, others
from trainers.lightning import DDPStrategy, L, ParallelStrategy, SIGTERMException
from trainers.loggers import RunLog
from trainers.model.decoder import Decoder
from trainers.module import CandidateModule, Schedule, Work
from trainers.phases import Watch, unwatched
from trainers.runtime import KeepSigterm, accelerator, autocast, quiet, torch_device
from trainers.sharded import Sharded
from trainers.shares import gathered
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
        resume: checkpoint of the trunk, at `budget.start_tokens` or between it and `budget.tokens`; or of the
            decay branch that an interrupted call with the same budget has left.
        report: receives progress and checkpoints, and may request a stop.

    Raises:
        CheckpointError: `resume` is missing, damaged or another candidate's.
        StudyFileError: the budget's logger cannot be made.
        Interrupted: a stop was requested; the trial can be resumed from its last checkpoint.
        PathfrontError: training diverged.
    """
    with RunLog(candidate, suite, budget) as log:
        fitted = fit_candidate(candidate, suite, budget, resume, report, log)
        return score_fitted(fitted, candidate, suite, budget, log=log)


class Fitted(NamedTuple):
    """A candidate trained and decayed, not yet scored."""

    decoder: Decoder
    work: Work
    mixer: Mixer
    trial: Trial


def fit_candidate(
    candidate: CandidateConfig,
    suite: SuiteRecord,
    budget: Budget,
    resume: Path | None,
    report: Report,
    log: RunLog | None = None,
    keep_end: bool = False,
    member: Member | None = None,
) -> Fitted:
    """Train a candidate to its next rung, decay it and save its weights, without scoring.

    Args:
        candidate: as in `train_candidate`.
        suite: as in `train_candidate`.
        budget: as in `train_candidate`.
        resume: as in `train_candidate`, or a checkpoint of this very trial's decay branch.
        report: as in `train_candidate`.
        log: where the curve goes; None logs nothing.
        keep_end: whether the end of the decay branch becomes a checkpoint too.
        member: this process among those of a group; None starts the others of a budget with several devices.

    Raises:
        CheckpointError: `resume` is missing, damaged or another candidate's.
        StudyFileError: the devices cannot share a batch evenly.
        MachineError: there are fewer GPUs than devices.
        Interrupted: a stop was requested; the trial can be resumed from its last checkpoint.
        PathfrontError: training diverged.
    """
    if budget.start_tokens and resume is None:
        raise CheckpointError(
            f"a trial that starts at {budget.start_tokens} tokens resumes a checkpoint, and none is given"
        )
    if member is None and budget.devices > 1:
        check_shared(suite, budget)
        with others(candidate, suite, budget, resume, keep_end) as first:
            return fit_candidate(candidate, suite, budget, resume, report, log, keep_end, first)
    member = member or ALONE
    mixer = Mixer(load_corpora(suite), candidate.mixture, suite, budget.seed)
    schedule = schedule_of(budget, mixer.step_tokens)
    trial = Trial(candidate, budget, report, schedule, mixer.step_tokens, keep_end, member)
    start = 0 if resume is None else trial.check_resumable(resume)
    if log is not None:
        log.start(schedule, start)
    module = CandidateModule(candidate, suite, schedule, budget.seed, member.size)
    if budget.compile or torch_device(budget.device) == "cuda":
        torch.compiler.reset()  # torch gives up a function that it has compiled for several shapes
    if budget.compile:
        module.decoder.compile_layers()
    fit(module, MixtureData(mixer, member.share, budget.loaders), trial, resume, log, member)
    decoder = module.decoder
    report.checkpoint(
        lambda path: save_weights(decoder, candidate, path), schedule.steps * mixer.step_tokens, "decayed"
    )
    return Fitted(decoder, module.work, mixer, trial)


def schedule_of(budget: Budget, step_tokens: int) -> Schedule:
    """A budget in whole steps, at least one."""
    trunk_steps = max(1, round(budget.tokens / step_tokens))
    return Schedule(trunk_steps, round(budget.decay_tokens / step_tokens))


def score_fitted(
    fitted: Fitted,
    candidate: CandidateConfig,
    suite: SuiteRecord,
    budget: Budget,
    watch: Watch = unwatched,
    log: RunLog | None = None,
) -> Scorecard:
    """Score a trained candidate, measure the load of its experts, and count its training cost.

    Args:
        fitted: the trained candidate.
        candidate: its configuration.
        suite: tasks to play.
        budget: which episodes of them.
        watch: called with the number of finished episodes.
        log: where the scores go.

    Raises:
        Interrupted: a stop was requested.
    """
    decoder, work, trial = fitted.decoder, fitted.work, fitted.trial
    decoder.to(torch_device(budget.device))
    started = time.monotonic()
    with autocast(decoder.device, budget.precision):
        values = score_candidate(decoder, suite, budget.split, budget.episodes, trial.stop_if_asked, watch)
        load = measure_load(decoder, suite, fitted.mixer, trial.schedule.steps)
    spent = Spent(
        tokens=work.tokens,
        training_flops=work.flops(price(candidate.architecture, suite), candidate.optimizer),
        wall_seconds=work.seconds,
        evaluation_seconds=time.monotonic() - started,
        epochs=fitted.mixer.epochs(trial.schedule.steps),
        device=str(decoder.device),
    )
    card = Scorecard.of(suite, values, budget.split, spent, load)
    if log is not None:
        log.scores(card, trial.schedule.steps)
    return card


def save_weights(decoder: Decoder, candidate: CandidateConfig, path: Path) -> None:
    """Write a decoder's weights as safetensors, with the candidate in the header."""
    weights = {name: value.detach().cpu().contiguous() for name, value in decoder.state_dict().items()}
    with umask_mode(path):
        save_file(weights, path, {"format": "pt", "candidate": candidate.model_dump_json()})


def fit(
    module: CandidateModule,
    data: MixtureData,
    trial: Trial,
    resume: Path | None,
    log: RunLog | None = None,
    member: Member = ALONE,
) -> None:
    """Train a module with Lightning, from a checkpoint or from the first step.

    Raises:
        KeyboardInterrupt: Ctrl-C ended it at once.
        Interrupted: SIGTERM came before the first step.
        PathfrontError: another process of the group has ended early.
    """
    budget = trial.budget
    precision: Any = budget.precision  # a plain string, which Lightning checks
    with quiet(), member.formed(torch_device(budget.device)):
        trainer = L.Trainer(
            accelerator=accelerator(budget.device),
            devices=member.per_node,
            num_nodes=member.nodes,
            strategy="auto" if member.store is None else _strategy(budget.strategy, member),
            use_distributed_sampler=False,
            precision=precision,
            max_steps=trial.schedule.steps,
            accumulate_grad_batches=module.parts,
            max_epochs=-1,
            callbacks=[trial, KeepSigterm()],
            logger=False if log is None else log.logger,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        except SIGTERMException:
            raise Interrupted("terminated before the first step; nothing is lost") from None
        except SystemExit:  # what Lightning makes of a KeyboardInterrupt
            raise KeyboardInterrupt from None
        if module.device_mesh is not None:
            module.decoder = _whole(module.decoder, first=member.rank == 0)


def _strategy(name: Strategy, member: Member) -> ParallelStrategy:
    """How the processes of a group hold the weights; gradients are the mean over the processes."""
    if name == "fsdp":
        return Sharded(member)
    return DDPStrategy(cluster_environment=Together(member), forward_sync_buffers=False)


def _whole(decoder: Decoder, first: bool) -> Decoder:
    """A decoder whose weights are no longer divided, on the CPU of the first device; the others take part."""
    weights = gathered(decoder.state_dict(), keep=first)
    if not first:
        return decoder
    with torch.device("meta"):
        whole = Decoder(decoder.arch, decoder.suite)
    whole.load_state_dict(weights, assign=True)
    whole.rotation = decoder.rotation.cpu()
    return whole


def check_shared(suite: SuiteRecord, budget: Budget, nodes: int = 1) -> None:
    """Check that several devices are there and can share a batch evenly.

    Args:
        suite: says what a batch is.
        budget: says how many devices there are in all.
        nodes: machines that they are on.

    Raises:
        StudyFileError: they cannot.
        MachineError: there are fewer GPUs.
    """
    devices, there = budget.devices, torch.cuda.device_count()
    if torch_device(budget.device) == "cuda" and there < devices // nodes:
        raise MachineError(f"{devices // nodes} devices train together, and torch sees {there} GPUs")
    sequences = step_tokens(suite) // suite.context
    if sequences % (devices * suite.accumulate):
        parts = f" with {suite.accumulate} parts each" if suite.accumulate > 1 else ""
        raise StudyFileError(
            f"devices share the {sequences} sequences of a batch evenly ({suite.batch_tokens} tokens in"
            f" windows of {suite.context}), got {devices} devices{parts}; change batch_tokens"
        )
