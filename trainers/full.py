"""An export trained in full, and scored on the episodes that no choice was made on.

Everything that comes of it stands in the export's folder under `full/`: the trunk's last checkpoint, the
decayed weights, the scorecard and a card. Each file appears whole, and what is read again has its SHA-256
beside it.
"""

import hashlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from space.catalog import Split
from space.cost import price
from space.errors import CheckpointError, NotFoundError, StudyFileError
from space.recipe import CARD_FILE, TOKENIZER_FILE, WEIGHTS_FILE, Recipe
from space.scores import Budget, CheckpointKind, Scorecard, Spent
from space.words import counted
from trainers.evaluate import score_candidate
from trainers.model.decoder import Decoder
from trainers.runtime import accelerator
from trainers.tasks.tokenizer import tokenizer_model
from trainers.train import train_candidate

FOLDER = "full"
SCORECARD_FILE = "scorecard.json"
CHECKPOINT_SECONDS = 60.0
NORMAL_95 = 1.96  # standard errors to either side of a 95% interval

Progress = Callable[[int, float, float], None]  # tokens so far, loss, tokens per second


def train_export(
    folder: Path,
    tokens: int,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
    device: str = "auto",
) -> Scorecard:
    """Train an export from its first step for a number of tokens, the last share of them decaying.

    What an earlier call left in the folder is gone on from: after an interruption, or towards more tokens.

    Args:
        folder: the export.
        tokens: input tokens in all.
        progress: told of each point of the curve.
        stopping: asked at each step whether to stop at a checkpoint.
        device: "cpu", "cuda" or "auto".

    Returns:
        Scores on the report episodes; they also stand in `full/scorecard.json` and `full/README.md`.

    Raises:
        NotFoundError: the folder is no export.
        StudyFileError: the trunk has already gone further than `tokens` allow.
        CheckpointError: a file in the folder is damaged, or its tokenizer is not the suite's.
        Interrupted: `stopping` said so; the next call goes on from there.
    """
    recipe = Recipe.read(folder)
    check_tokenizer(folder, recipe)
    home = folder / FOLDER
    home.mkdir(exist_ok=True)
    decay = round(tokens * recipe.decay)
    budget = Budget(
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
    report = FolderReport(home, progress, stopping)
    resume = report.last_trunk()
    if resume is not None and _tokens_of(resume) > budget.tokens + recipe.suite.batch_tokens // 2:
        raise StudyFileError(
            f"tokens: the trunk in '{home}' is at {_tokens_of(resume)} tokens already and {tokens} leave it"
            f" {budget.tokens}; give more, or remove the folder to start anew"
        )
    card = train_candidate(recipe.candidate, recipe.suite, budget, resume, report)
    write_sealed(home / SCORECARD_FILE, lambda path: path.write_text(card.model_dump_json(indent=2)))
    (home / CARD_FILE).write_text(describe(recipe, card, tokens), encoding="utf-8")
    return card


def evaluate_export(folder: Path, split: Split = "report", device: str = "auto") -> Scorecard:
    """Score an export: the weights of its full training where there are any, or those it came with.

    Raises:
        NotFoundError: the folder is no export, or has no weights yet.
        CheckpointError: a file in the folder is missing or damaged, or its tokenizer is not the suite's.
    """
    recipe = Recipe.read(folder)
    check_tokenizer(folder, recipe)
    decoder = load_decoder(folder, recipe).to("cuda" if accelerator(device) == "gpu" else "cpu")
    started = time.monotonic()
    values = score_candidate(decoder, recipe.suite, split)
    seconds = time.monotonic() - started
    spent = Spent(evaluation_seconds=seconds, device=str(decoder.device))
    return Scorecard.of(recipe.suite, values, split, spent)


def load_decoder(folder: Path, recipe: Recipe) -> Decoder:
    """The newest weights of an export in the decoder that they belong to, on the CPU.

    Raises:
        NotFoundError: there are none yet.
        CheckpointError: they are missing or damaged.
    """
    path = checked_weights(folder, recipe)
    decoder = Decoder(recipe.candidate.architecture, recipe.suite)
    try:
        decoder.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"'{path}' holds the weights of this export's decoder: {reason}") from None
    return decoder


def checked_weights(folder: Path, recipe: Recipe) -> Path:
    """The file of the newest weights of an export: those of its full training, or those it came with.

    Raises:
        NotFoundError: there are none yet.
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
    _check_sha256(path, recipe.weights_sha256)
    return path


def full_scorecard(folder: Path) -> Scorecard | None:
    """What the full training of an export ended with; None where none has left weights.

    Raises:
        CheckpointError: the training has not ended, or the scorecard is damaged.
    """
    path = folder / FOLDER / SCORECARD_FILE
    if not path.with_name(WEIGHTS_FILE).is_file():
        return None
    if not path.is_file():
        raise CheckpointError(
            f"a full training ends with '{SCORECARD_FILE}', and '{path.parent}' has none;"
            " finish it: pathfront train"
        )
    check_seal(path)
    return Scorecard.model_validate_json(path.read_text(encoding="utf-8"))


def check_tokenizer(folder: Path, recipe: Recipe) -> None:
    """Refuse an export whose tokens mean something else than the tasks of this installation give.

    Raises:
        CheckpointError: its tokenizer is missing or another one.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file() or path.read_bytes() != tokenizer_model(recipe.suite.tokenizer):
        raise CheckpointError(
            f"an export's {TOKENIZER_FILE} is the tokenizer '{recipe.suite.tokenizer}' of this installation,"
            f" and '{path}' is {'another' if path.is_file() else 'missing'}; restore it, or export again"
        )


def describe(recipe: Recipe, card: Scorecard, tokens: int) -> str:
    """The card of a full training on so many tokens, in Markdown."""
    arch = recipe.candidate.architecture
    cost = price(arch, recipe.suite)
    rows = [
        f"| {name} | {recipe.suite.records[name].metric} | {task.value:.3f} | {task.n}"
        f" | {task.fraction:.2f} ± {NORMAL_95 * task.fraction_stderr:.2f}"
        f" | {recipe.candidate.mixture.weights.get(name, 0.0):.3f} | {card.spent.epochs.get(name, 0.0):.2f} |"
        for name, task in card.tasks.items()
    ]
    return "\n".join(
        [
            f"# {recipe.origin.study}, trial {recipe.origin.trial}, trained in full",
            "",
            f"Score {card.score:.3f} ± {NORMAL_95 * card.stderr:.3f} on the {card.split} episodes: the mean"
            " over domains of the fraction of expert performance; 95% intervals.",
            f"Above half of the expert on {card.above(0.5)} of {counted(len(card.tasks), 'task')}.",
            *_beside_the_prediction(recipe, card, tokens),
            "",
            "| task | metric | value | episodes | fraction of expert | share of tokens | epochs |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"Depth {arch.depth}, width {arch.width}, {arch.experts_in_words};"
            f" {cost.total_params:,} parameters, {cost.active_params:,} active;"
            f" {cost.flops_per_token:.3g} FLOPs a token.",
            f"Trained with {card.spent.training_flops:.3g} FLOPs"
            f" in {card.spent.wall_seconds:,.0f} s on {card.spent.device}.",
            "",
        ]
    )


def _beside_the_prediction(recipe: Recipe, card: Scorecard, tokens: int) -> list[str]:
    """What was predicted of a candidate that was grown, in a line of Markdown."""
    if recipe.grown is None:
        return []
    point = recipe.grown.at(tokens)
    if point is None:
        why = recipe.grown.unknown or "its predictions are for other numbers of tokens"
        return [f"Nothing was predicted at {tokens:,} tokens: {why}."]
    verdict = "within" if point.low <= card.score <= point.high else "outside"
    return [
        f"Predicted at {tokens:,} tokens: {point.score:.3f}, 90% interval {point.low:.3f} to"
        f" {point.high:.3f}; the score is {verdict} it. The prediction is for the select episodes, others of"
        " the same tasks."
    ]


def write_sealed(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a file aside, put its SHA-256 beside it, and move it into place."""
    aside = path.with_name(f".{path.name}.part")
    save(aside)
    with aside.open("rb+") as file:
        os.fsync(file.fileno())
    _seal(path).write_text(f"{file_sha256(aside)}  {path.name}\n", encoding="ascii")
    os.replace(aside, path)


def check_seal(path: Path) -> None:
    """Check a file against the SHA-256 beside it.

    Raises:
        CheckpointError: one of the two is missing, or they disagree.
    """
    seal = _seal(path)
    if not seal.is_file():
        raise CheckpointError(f"'{path}' has its SHA-256 beside it in '{seal.name}', which is missing")
    _check_sha256(path, seal.read_text(encoding="utf-8", errors="replace").split(" ")[0])


def _check_sha256(path: Path, expected: str) -> None:
    if not path.is_file():
        raise CheckpointError(f"an export holds '{path.name}', and '{path.parent}' has none")
    found = file_sha256(path)
    if found != expected:
        raise CheckpointError(
            f"'{path}' is damaged: its SHA-256 is {expected[:12]}..., got {found[:12]}...;"
            " remove it, or restore it from a copy"
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _seal(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _tokens_of(trunk: Path) -> int:
    return int(trunk.stem.removeprefix("trunk-"))


class FolderReport:
    """Checkpoints into a folder, progress to a function."""

    def __init__(self, home: Path, progress: Progress, stopping: Callable[[], bool]) -> None:
        self.home = home
        self._tell = progress
        self._stopping = stopping
        self._last: tuple[float, int] | None = None

    @property
    def stopping(self) -> bool:
        """Whether the caller wants to stop."""
        return self._stopping()

    def progress(self, tokens: int, loss: float, task_losses: Mapping[str, float]) -> None:
        """Pass a point of the curve on, with the speed since the last one."""
        now = time.monotonic()
        since, before = self._last or (now, tokens)
        self._last = (now, tokens)
        self._tell(tokens, loss, (tokens - before) / (now - since) if now > since else 0.0)

    def checkpoint(self, save: Callable[[Path], None], tokens: int, kind: CheckpointKind) -> None:
        """Keep the trunk's last checkpoint, and the decayed weights."""
        if kind == "decayed":
            write_sealed(self.home / WEIGHTS_FILE, save)
            return
        path = self.home / f"trunk-{tokens:015d}.ckpt"
        write_sealed(path, save)
        for older in self._trunks():
            if older != path:
                older.unlink()
                _seal(older).unlink(missing_ok=True)

    def last_trunk(self) -> Path | None:
        """The trunk's last checkpoint, checked."""
        trunks = self._trunks()
        if not trunks:
            return None
        check_seal(trunks[-1])
        return trunks[-1]

    def _trunks(self) -> list[Path]:
        return sorted(self.home.glob("trunk-*.ckpt"))
