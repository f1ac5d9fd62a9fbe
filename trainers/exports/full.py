"""Train an export in full and score it on the report episodes, which the search has not used.

All results are in the export's folder under `full/`: the last checkpoints of trunk and decay branch, the
decayed weights, the scorecard and a card. Files are written atomically, and files that are read again have
their SHA-256 beside them. An interrupted call is resumed by the same call, in the trunk, in the decay branch
or at the scoring.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from space.contract import Budget, Spent, Strategy
from space.errors import StudyFileError
from space.files import write_atomically
from space.recipe import CARD_FILE, WEIGHTS_FILE, Recipe
from space.records import Split
from space.scores import Scorecard
from trainers.data import step_tokens
from trainers.evaluate import score_candidate
from trainers.exports.full_card import full_card
from trainers.exports.load import FOLDER, SCORECARD_FILE, check_tokenizer, full_scorecard, load_decoder
from trainers.exports.sealed import FolderReport, Progress, check_seal, remove_sealed, write_sealed
from trainers.exports.threads import Threads, playing, settle, training
from trainers.group import Job, Member
from trainers.launched import tell_others
from trainers.loggers import RunLog
from trainers.phases import Phases, no_phases
from trainers.runtime import autocast, torch_device
from trainers.train import check_shared, fit_candidate, schedule_of, score_fitted

PLAN_FILE = "plan.txt"
CHECKPOINT_SECONDS = 60.0


def train_export(
    folder: Path,
    tokens: int,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
    device: str = "auto",
    phases: Phases = no_phases,
    threads: Threads | None = None,
    devices: int = 1,
    loaders: int = 0,
    compile: bool = False,
    member: Member | None = None,
    strategy: Strategy = "ddp",
    checkpoint_activations: bool | None = None,
) -> Scorecard:
    """Train an export from its first step, with a decay at the end, and score it.

    An earlier call's checkpoints are resumed, also towards more tokens. A finished training is not repeated.

    Args:
        folder: the export.
        tokens: total input tokens, including the decay.
        progress: called for each point of the training curve.
        stopping: called often; returns whether to stop at the next checkpoint.
        device: "cpu", "cuda" or "auto".
        phases: called with the progress of training, decay and scoring.
        threads: chooses the number of CPU threads; None does not change it.
        devices: that train it together, each with its share of every batch; the first one scores it.
        loaders: processes for each device that assemble batches ahead; 0 leaves it to the training process.
        compile: whether the layers are compiled before the first step.
        member: this process, if torchrun or Slurm has started it as the first of several; they take the place
            of `devices`.
        strategy: what each device holds; see `space.contract.Budget`.
        checkpoint_activations: whether layers are computed again for the backward pass; None: as in a study.

    Returns:
        Scores on the report episodes, as in `full/scorecard.json` and `full/README.md`.

    Raises:
        NotFoundError: the folder is not an export.
        StudyFileError: the trunk is already trained on more tokens than `tokens` allow.
        CheckpointError: a file in the folder is damaged, or its tokenizer is not the suite's.
        Interrupted: `stopping` returned true; the next call resumes.
    """
    recipe = Recipe.read(folder)
    check_tokenizer(folder, recipe)
    home = folder / FOLDER
    done = finished_training(folder, recipe, tokens)
    if done is not None:
        tell_others(member, None)
    else:
        home.mkdir(exist_ok=True)
        budget = _budget(recipe, tokens, home, device)
        size = devices if member is None else member.size
        changes = {"devices": size, "loaders": loaders, "compile": compile, "strategy": strategy}
        budget = budget.model_copy(update=changes)
        trained = recipe
        if checkpoint_activations is not None:
            suite = recipe.suite.model_copy(update={"checkpoint_activations": checkpoint_activations})
            trained = recipe.model_copy(update={"suite": suite})
        done = _train(trained, home, budget, progress, stopping, phases, threads, member)
        write_sealed(home / SCORECARD_FILE, done.model_dump_json(indent=2))
    write_atomically(home / CARD_FILE, full_card(recipe, done, tokens))
    FolderReport(home, progress, stopping).drop_branch()
    return done


def finished_training(folder: Path, recipe: Recipe, tokens: int) -> Scorecard | None:
    """The scorecard of a finished full training on a number of tokens.

    Returns:
        The scorecard; None if there is no such training, or if it is not finished.

    Raises:
        CheckpointError: its weights or its scorecard are damaged.
    """
    home = folder / FOLDER
    if not ((home / WEIGHTS_FILE).is_file() and (home / SCORECARD_FILE).is_file()):
        return None
    card = full_scorecard(folder)
    assert card is not None, "both files are there"
    length = step_tokens(recipe.suite)
    steps = schedule_of(_budget(recipe, tokens, home, "auto"), length).steps
    if card.spent.tokens != steps * length:
        return None
    check_seal(home / WEIGHTS_FILE)
    return card


def _train(
    recipe: Recipe,
    home: Path,
    budget: Budget,
    progress: Progress,
    stopping: Callable[[], bool],
    phases: Phases,
    threads: Threads | None,
    member: Member | None,
) -> Scorecard:
    """Train and score, resuming from the last checkpoint."""
    suite, length = recipe.suite, step_tokens(recipe.suite)
    schedule = schedule_of(budget, length)
    trunk = schedule.trunk_steps * length

    def tell(tokens: int, loss: float, speed: float | None) -> None:
        progress(tokens, loss, speed)
        note = f"loss {loss:.3f}" + ("" if speed is None else f", {speed:,.0f} tokens/s")
        if tokens > trunk:
            phases("decay", tokens - trunk, schedule.decay_steps * length, note)
        else:
            phases("training", tokens, trunk, note)

    report = FolderReport(home, tell, stopping, lambda: remove_sealed(home / SCORECARD_FILE))
    resume = _resumed(report, budget, suite.batch_tokens)
    device = torch_device(budget.device)
    settle(threads, device, "training", lambda: training(recipe.candidate, suite))
    here = budget.devices if member is None else member.per_node
    if device == "cpu" and here > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // here))
    if member is not None:
        check_shared(suite, budget, member.nodes)
        job = Job(
            candidate=recipe.candidate,
            suite=suite,
            budget=budget,
            resume=resume,
            keep_end=True,
            threads=torch.get_num_threads(),
        )
        tell_others(member, job)
    with RunLog(recipe.candidate, suite, budget) as log:
        fitted = fit_candidate(
            recipe.candidate, suite, budget, resume, report, log, keep_end=True, member=member
        )
        settle(threads, device, "scoring", lambda: playing(fitted.decoder))
        return score_fitted(fitted, recipe.candidate, suite, budget, partial(phases, "scoring"), log)


def _resumed(report: FolderReport, budget: Budget, batch_tokens: int) -> Path | None:
    """The checkpoint to resume from: of this budget's decay branch, else of the trunk.

    Raises:
        StudyFileError: the trunk is already trained on more tokens than the budget has.
        CheckpointError: the checkpoint is damaged.
    """
    plan, path = f"{budget.tokens} {budget.decay_tokens}\n", report.home / PLAN_FILE
    trunk = report.last("trunk")
    if trunk is not None and _tokens_of(trunk) > budget.tokens + batch_tokens // 2:
        total = budget.tokens + budget.decay_tokens
        raise StudyFileError(
            f"tokens: the trunk in '{report.home}' has {_tokens_of(trunk)} tokens already, and a training on"
            f" {total} has {budget.tokens} before its decay; give more, or remove the folder to start over"
        )
    if not path.is_file() or path.read_text(encoding="utf-8") != plan:
        report.drop_branch()
        write_atomically(path, plan)
    return report.last("branch") or trunk


def _budget(recipe: Recipe, tokens: int, home: Path, device: str) -> Budget:
    decay = round(tokens * recipe.decay)
    return Budget(
        tokens=max(1, tokens - decay),
        decay_tokens=decay,
        seed=recipe.seed,
        split="report",
        checkpoint_seconds=CHECKPOINT_SECONDS,
        device=device,
        precision=recipe.precision,
        logger="csv",
        log_dir=str(home / "logs"),
    )


def evaluate_export(
    folder: Path,
    split: Split = "report",
    device: str = "auto",
    phases: Phases = no_phases,
    threads: Threads | None = None,
) -> Scorecard:
    """Score an export: the weights of its full training if there are any, else the exported weights.

    Args:
        folder: the export.
        split: the episodes.
        device: "cpu", "cuda" or "auto".
        phases: called with the progress of the scoring.
        threads: chooses the number of CPU threads; None does not change it.

    Raises:
        NotFoundError: the folder is not an export, or has no weights yet.
        CheckpointError: a file in the folder is missing or damaged, or its tokenizer is not the suite's.
    """
    recipe = Recipe.read(folder)
    check_tokenizer(folder, recipe)
    decoder = load_decoder(folder, recipe).to(torch_device(device))
    settle(threads, decoder.device.type, "scoring", lambda: playing(decoder))
    started = time.monotonic()
    with autocast(decoder.device, recipe.precision):
        values = score_candidate(decoder, recipe.suite, split, watch=partial(phases, "scoring"))
    seconds = time.monotonic() - started
    spent = Spent(evaluation_seconds=seconds, device=str(decoder.device))
    return Scorecard.of(recipe.suite, values, split, spent)


def _tokens_of(trunk: Path) -> int:
    return int(trunk.stem.removeprefix("trunk-"))
