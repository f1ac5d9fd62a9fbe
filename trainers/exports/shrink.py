"""Shrink an exported model: prune hidden channels, retrain on a small share of the tokens, and compare.

The new export is written atomically. An interrupted call leaves its work in a hidden folder beside the new
export, and the same call resumes it.
"""

import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from space.candidate import CHANNELS, Architecture, CandidateConfig
from space.contract import Budget
from space.cost import TRAINING_FACTOR, price
from space.errors import Interrupted, StudyFileError
from space.files import file_sha256, move_durably, require_new, write_atomically
from space.recipe import CARD_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Parent, Recipe
from space.records import SuiteRecord
from space.scores import Scorecard
from trainers.batch import Batch
from trainers.data import Mixer, load_corpora
from trainers.evaluate import score_candidate
from trainers.exports.distil import distil, distil_steps
from trainers.exports.full import CHECKPOINT_SECONDS
from trainers.exports.huggingface.tokenizer import write_tokenizer
from trainers.exports.load import check_tokenizer, checked_weights, full_scorecard, load_decoder
from trainers.exports.prune import measure_moments, prune
from trainers.exports.sealed import FolderReport, Progress, check_seal, write_sealed
from trainers.exports.shrunk import Rating, Scores, Shrunk, Size, shrunk_card
from trainers.exports.speed import measure_speeds
from trainers.exports.threads import Threads, playing, settle, training
from trainers.model.decoder import Decoder
from trainers.phases import Phases, no_phases
from trainers.runtime import autocast, torch_device
from trainers.tasks.tokenizer import tokenizer_model
from trainers.train import save_weights

TOKEN_SHARE = 0.1  # of the parent's training tokens, by default
MOMENT_BATCHES = 64
PLAN_FILE = "plan.json"


class Plan(NamedTuple):
    """The input and output of a shrink.

    Attributes:
        recipe: the parent's recipe.
        candidate: the child.
        parent: the `Parent` of the child's recipe.
        output: the new export's folder.
    """

    recipe: Recipe
    candidate: CandidateConfig
    parent: Parent
    output: Path

    @classmethod
    def of(cls, folder: Path, output: Path, channels: float, tokens: int | None = None) -> "Plan":
        """Read an export and check the arguments.

        Args:
            folder: an export.
            output: the new export's folder; it must not exist.
            channels: share of the hidden channels to keep.
            tokens: input tokens to retrain on; None for a tenth of those that the weights were trained on.

        Raises:
            NotFoundError: the folder is not an export.
            StudyFileError: no width fits the share, or `output` exists.
            MachineError: `output` cannot be made.
            CheckpointError: a file of the export is missing or damaged.
        """
        recipe = Recipe.read(folder)
        arch = recipe.candidate.architecture
        candidate = recipe.candidate.model_copy(update={"architecture": narrower(arch, channels)})
        require_new(output)
        check_tokenizer(folder, recipe)
        trained = full_scorecard(folder)
        behind = recipe.tokens if trained is None else trained.spent.tokens
        parent = Parent(
            weights_sha256=file_sha256(checked_weights(folder, recipe)),
            tokens=behind,
            expert_width=arch.expert_width,
            distil_tokens=tokens or max(1, int(TOKEN_SHARE * behind)),
        )
        return cls(recipe, candidate, parent, output)


def narrower(arch: Architecture, channels: float) -> Architecture:
    """The architecture with a share of the experts' hidden channels, rounded to a multiple of `CHANNELS`.

    Raises:
        StudyFileError: the share is not in (0, 1], or would remove no channel.
    """
    if not 0 < channels <= 1:
        raise StudyFileError(f"channels: the share to keep is above 0 and at most 1, got {channels:g}")
    width = max(CHANNELS, CHANNELS * math.ceil(arch.expert_width * channels / CHANNELS - 0.5))
    if width >= arch.expert_width:
        raise StudyFileError(
            f"channels: experts have a multiple of {CHANNELS} hidden channels, and {channels:g} of their"
            f" {arch.expert_width} comes to {width}, no fewer"
            + (
                "; keep a smaller share"
                if arch.expert_width > CHANNELS
                else "; this model has the fewest already"
            )
        )
    return Architecture.model_validate({**arch.model_dump(), "expert_ratio": width / arch.width})


def shrink_export(
    folder: Path,
    plan: Plan,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
    device: str = "auto",
    phases: Phases = no_phases,
    threads: Threads | None = None,
) -> Shrunk:
    """Prune an export's newest weights, retrain them, and write them as a new export with a card.

    Args:
        folder: the parent's export.
        plan: made of the same folder.
        progress: called for each point of the training curve.
        stopping: called often; returns whether to stop at the next checkpoint.
        device: "cpu", "cuda" or "auto".
        phases: called with the progress of measuring, retraining and scoring.
        threads: chooses the number of CPU threads; None does not change it.

    Raises:
        StudyFileError: an interrupted call had other settings.
        CheckpointError: a file is damaged.
        Interrupted: `stopping` returned true; the same call resumes.
    """
    recipe, suite = plan.recipe, plan.recipe.suite
    parent = load_decoder(folder, recipe).to(torch_device(device)).eval()
    work = _made_work_folder(plan)
    budget = _budget(plan, device)
    mixer = Mixer(load_corpora(suite), recipe.candidate.mixture, suite, budget.seed)
    steps = distil_steps(mixer, budget)
    settle(threads, parent.device.type, "training", lambda: training(recipe.candidate, suite))
    moments = measure_moments(parent, _batches(mixer, min(MOMENT_BATCHES, steps), phases))
    pruned = prune(parent, plan.candidate.architecture, moments).eval()

    def tell(tokens: int, loss: float, speed: float | None) -> None:
        progress(tokens, loss, speed)
        note = f"loss {loss:.3f}" + ("" if speed is None else f", {speed:,.0f} tokens/s")
        phases("retraining", tokens, steps * mixer.step_tokens, note)

    report = FolderReport(work, tell, stopping)
    distilled = distil(pruned, parent, plan.candidate, mixer, budget, report.last("trunk"), report)
    child = distilled.decoder.to(parent.device).eval()
    settle(threads, parent.device.type, "scoring", lambda: playing(parent))
    stages = {"parent": parent, "pruned": pruned, "retrained": child}
    with autocast(parent.device, recipe.precision):
        rate = partial(_rating, suite=suite, work=work, stopping=stopping, phases=phases)
        scores = Scores(**{name: rate(name, decoder) for name, decoder in stages.items()})
        phases("timing", 0, 1, "")
        speeds = measure_speeds(parent, child, mixer.batch(steps))
    costs = [price(candidate.architecture, suite) for candidate in (recipe.candidate, plan.candidate)]
    shrunk = Shrunk(
        folder=str(plan.output),
        parent=Size.of(recipe.candidate.architecture, suite),
        child=Size.of(plan.candidate.architecture, suite),
        parent_tokens=plan.parent.tokens,
        tokens=distilled.work.tokens,
        # the child's training, and the parent's forward passes beside it
        training_flops=distilled.work.flops(costs[1], plan.candidate.optimizer)
        + replace(distilled.work, recomputed_tokens=0).flops(costs[0], "adamw") // TRAINING_FACTOR,
        wall_seconds=distilled.work.seconds,
        device=str(parent.device),
        speeds=speeds,
        scores=scores,
    )
    _write(plan, child, shrunk, work)
    return shrunk


def _batches(mixer: Mixer, count: int, phases: Phases) -> Iterator[Batch]:
    """The first batches of a mixer."""
    for index in range(count):
        phases("measuring the channels", index, count, "")
        yield mixer.batch(index)


def _rating(
    name: str,
    decoder: Decoder,
    suite: SuiteRecord,
    work: Path,
    stopping: Callable[[], bool],
    phases: Phases,
) -> Rating:
    """Score a decoder on the report episodes, or read the scores of an interrupted call.

    Raises:
        Interrupted: `stopping` returned true.
    """
    path = work / f"{name}.json"
    if path.is_file():
        check_seal(path)
        return Rating.model_validate_json(path.read_text(encoding="utf-8"))
    watch = partial(phases, f"scoring the {name} one")
    values = score_candidate(decoder, suite, "report", between=lambda: _stop_if(stopping), watch=watch)
    rating = Rating.of(suite, Scorecard.of(suite, values, "report"))
    write_sealed(path, rating.model_dump_json())
    return rating


def _stop_if(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise Interrupted("stopped as asked; the same command resumes")


def _budget(plan: Plan, device: str) -> Budget:
    return Budget(
        tokens=plan.parent.distil_tokens,
        decay_tokens=0,
        seed=plan.recipe.seed + 1,  # another data order than the parent's
        split="report",
        checkpoint_seconds=CHECKPOINT_SECONDS,
        device=device,
        precision=plan.recipe.precision,
    )


def work_folder(output: Path) -> Path:
    """The hidden folder for the unfinished work of a new export."""
    output = output.absolute()
    return output.with_name(f".{output.name}.partial")


def _made_work_folder(plan: Plan) -> Path:
    """The hidden folder for unfinished work, created if it does not exist.

    Raises:
        StudyFileError: it belongs to another plan.
    """
    work = work_folder(plan.output)
    ours = f"{plan.candidate.id} {plan.parent.model_dump_json()}\n"
    path = work / PLAN_FILE
    if path.is_file() and path.read_text(encoding="utf-8") != ours:
        raise StudyFileError(
            f"a shrink is resumed with the same settings, and '{work}' was begun with others;"
            " give the same, or remove that folder to start over"
        )
    work.mkdir(parents=True, exist_ok=True)
    write_atomically(path, ours)
    return work


def _write(plan: Plan, child: Decoder, shrunk: Shrunk, work: Path) -> None:
    """Write the new export into the work folder, then move it to its place in one step."""
    folder = work / "export"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    save_weights(child, plan.candidate, folder / WEIGHTS_FILE)
    recipe = plan.recipe.model_copy(
        update={
            "candidate": plan.candidate,
            "parent": plan.parent,
            "weights_sha256": file_sha256(folder / WEIGHTS_FILE),
        }
    )
    recipe.write(folder)
    recipe.write_references(folder)
    model = tokenizer_model(recipe.suite.tokenizer)
    (folder / TOKENIZER_FILE).write_bytes(model)
    write_tokenizer(folder, model, recipe.suite)
    (folder / CARD_FILE).write_text(shrunk_card(recipe, shrunk), encoding="utf-8")
    move_durably(folder, plan.output)
    shutil.rmtree(work)
