import csv
import math
import warnings
from typing import ClassVar

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.loggers import Logger
from safetensors import safe_open
from safetensors.torch import load_file
from toys import Recorder, budget, toy_suite

from space.candidate import CandidateConfig
from space.cost import price
from space.errors import CheckpointError, Interrupted, PathfrontError, StudyFileError
from trainers.module import WARMUP_STEPS, Schedule
from trainers.train import train_candidate

STEP = 192  # tokens of a step of the toy suite
GOLDEN = {
    "adamw": [3.5568, 3.55257, 3.45513, 3.31259, 3.17974, 3.04994, 2.85531, 2.74227, 2.55724, 2.29643],
    "muon": [3.5568, 3.56522, 3.49148, 3.36717, 3.25768, 3.11408, 2.9247, 2.78095, 2.58717, 2.32578],
}

pytestmark = pytest.mark.usefixtures("toys")


def state(path):
    return torch.load(path, weights_only=True)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def same_training(a, b):
    """Whether two checkpoints hold the same weights, optimiser, schedule and position."""
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "global_step")
    return all(equal(state(a)[key], state(b)[key]) for key in keys)


def test_a_candidate_learns_and_is_scored(candidate, suite, tmp_path):
    report = Recorder(tmp_path)
    card = train_candidate(candidate, suite, budget(300 * STEP, decay_tokens=60 * STEP), None, report)
    assert card.tasks["echo"].fraction > 0.5
    assert card.tasks["read"].fraction > 0.5
    assert card.score > 0.3
    assert report.saved == [("trunk", 300 * STEP), ("decayed", 360 * STEP)]
    assert [tokens for tokens, _, _ in report.curve] == sorted({t for t, _, _ in report.curve})
    assert 40 <= len(report.curve) <= 70
    assert report.curve[-1][1] < report.curve[0][1] / 2
    assert set(report.curve[-1][2]) == set(suite.tasks)


def test_what_was_spent_is_counted(candidate, suite, tmp_path):
    card = train_candidate(candidate, suite, budget(10 * STEP), None, Recorder(tmp_path))
    assert card.spent.tokens == 14 * STEP
    cost = price(candidate.architecture, suite)
    body = 3 * 14 * STEP * cost.body_flops_per_token
    assert (
        body
        < card.spent.training_flops
        < body + 3 * 14 * STEP * (cost.head_flops_per_token + cost.encoder_flops_per_patch["image"])
    )
    assert card.spent.wall_seconds > 0
    assert card.spent.evaluation_seconds > 0
    assert set(card.spent.epochs) == set(suite.tasks)
    assert card.spent.device == "cpu"


def test_load_is_shares_by_domain_layer_and_expert(candidate, suite, tmp_path):
    card = train_candidate(candidate, suite, budget(4 * STEP), None, Recorder(tmp_path))
    assert set(card.routing) == {"control", "language"}
    for layers in card.routing.values():
        assert np.array(layers).shape == (2, 4)
        assert np.sum(layers, axis=1) == pytest.approx([1, 1])


def test_a_promoted_trunk_is_the_trunk_that_was_never_stopped(candidate, suite, tmp_path):
    straight, first, second = (Recorder(tmp_path / name) for name in ("straight", "first", "second"))
    for report in (straight, first, second):
        report.folder.mkdir()
    whole = train_candidate(candidate, suite, budget(12 * STEP), None, straight)
    train_candidate(candidate, suite, budget(5 * STEP), None, first)
    rung = first.path("trunk", 5 * STEP)
    card = train_candidate(candidate, suite, budget(12 * STEP, start_tokens=5 * STEP), rung, second)
    assert same_training(straight.path("trunk", 12 * STEP), second.path("trunk", 12 * STEP))
    ours, theirs = (load_file(r.path("decayed", 16 * STEP)) for r in (straight, second))
    assert equal(ours, theirs)
    assert card.tasks == whole.tasks
    assert card.spent.tokens == 11 * STEP
    assert card.spent.epochs == whole.spent.epochs


def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(candidate, suite, tmp_path):
    straight, broken, again = (Recorder(tmp_path / name) for name in ("straight", "broken", "again"))
    for report in (straight, broken, again):
        report.folder.mkdir()
    whole = train_candidate(candidate, suite, budget(12 * STEP), None, straight)
    broken.stop_at = 7
    with pytest.raises(Interrupted):
        train_candidate(candidate, suite, budget(12 * STEP), None, broken)
    assert broken.saved == [("trunk", 7 * STEP)]
    card = train_candidate(candidate, suite, budget(12 * STEP), broken.path("trunk", 7 * STEP), again)
    assert same_training(straight.path("trunk", 12 * STEP), again.path("trunk", 12 * STEP))
    assert card.tasks == whole.tasks
    assert card.spent.training_flops == whole.spent.training_flops
    assert card.spent.tokens == whole.spent.tokens


@pytest.mark.parametrize("stop_at", [13, 14, 16])  # 16 is the last step
def test_a_trial_stopped_in_its_branch_goes_on_there_as_if_nothing_had_happened(
    candidate, suite, tmp_path, stop_at
):
    straight, broken, again = (Recorder(tmp_path / name) for name in ("straight", "broken", "again"))
    for report in (straight, broken, again):
        report.folder.mkdir()
    whole = train_candidate(candidate, suite, budget(12 * STEP), None, straight)
    broken.stop_at = stop_at
    with pytest.raises(Interrupted):
        train_candidate(candidate, suite, budget(12 * STEP), None, broken)
    assert broken.saved == [("trunk", 12 * STEP), ("branch", stop_at * STEP)]
    branch = broken.path("branch", stop_at * STEP)
    card = train_candidate(candidate, suite, budget(12 * STEP), branch, again)
    assert again.saved == [("decayed", 16 * STEP)]
    assert all(tokens > stop_at * STEP for tokens, _, _ in again.curve)
    ours, theirs = (load_file(report.path("decayed", 16 * STEP)) for report in (straight, again))
    assert equal(ours, theirs)
    assert card.tasks == whole.tasks
    assert card.spent.tokens == whole.spent.tokens
    assert card.spent.training_flops == whole.spent.training_flops


def test_a_branch_is_no_trunk_of_another_rung(candidate, suite, tmp_path):
    report = Recorder(tmp_path, stop_at=14)
    with pytest.raises(Interrupted):
        train_candidate(candidate, suite, budget(12 * STEP), None, report)
    branch = report.path("branch", 14 * STEP)
    for other in (budget(24 * STEP, start_tokens=12 * STEP), budget(12 * STEP, decay_tokens=2 * STEP)):
        with pytest.raises(CheckpointError, match="decay branch of another rung"):
            train_candidate(candidate, suite, other, branch, report)


def test_checkpoints_come_by_the_clock(candidate, suite, tmp_path):
    report = Recorder(tmp_path)
    train_candidate(candidate, suite, budget(6 * STEP, checkpoint_seconds=1e-6), None, report)
    assert [tokens for kind, tokens in report.saved if kind == "trunk"] == [STEP * n for n in range(1, 7)]


def test_decayed_weights_name_their_candidate(candidate, suite, tmp_path):
    report = Recorder(tmp_path)
    train_candidate(candidate, suite, budget(2 * STEP), None, report)
    with safe_open(report.path("decayed", 6 * STEP), "pt") as file:
        assert CandidateConfig.model_validate_json(file.metadata()["candidate"]) == candidate


@pytest.mark.parametrize("damage", ["missing", "torn", "garbage", "other candidate", "other seed", "too far"])
def test_a_checkpoint_that_does_not_fit_is_one_line(candidate, suite, tmp_path, damage):
    report = Recorder(tmp_path)
    train_candidate(candidate, suite, budget(4 * STEP), None, report)
    path = report.path("trunk", 4 * STEP)
    spend = budget(8 * STEP, start_tokens=4 * STEP)
    if damage == "missing":
        path = tmp_path / "nowhere"
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "garbage":
        path.write_bytes(b"no checkpoint at all")
    elif damage == "other candidate":
        candidate = candidate.model_copy(update={"learning_rate": 1e-3})
    elif damage == "other seed":
        spend = spend.model_copy(update={"seed": 1})
    else:
        spend = budget(2 * STEP)
    with pytest.raises(CheckpointError) as caught:
        train_candidate(candidate, suite, spend, path, report)
    assert "\n" not in str(caught.value)


def test_a_later_rung_needs_a_checkpoint(candidate, suite, tmp_path):
    with pytest.raises(CheckpointError, match="none is given"):
        train_candidate(candidate, suite, budget(8 * STEP, start_tokens=STEP), None, Recorder(tmp_path))


def test_divergence_is_one_line(candidate, suite, tmp_path):
    hot = candidate.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(PathfrontError, match="diverged"):
        train_candidate(hot, suite, budget(40 * STEP), None, Recorder(tmp_path))


@pytest.mark.parametrize("logger", ["csv", "tensorboard", "lightning.pytorch.loggers.CSVLogger"])
def test_loggers_write_the_curve(candidate, suite, tmp_path, logger):
    """One run a candidate and seed, however often it is stopped and promoted, with scores and settings."""
    report = Recorder(tmp_path)
    rungs = [budget(4 * STEP, logger=logger, log_dir=str(tmp_path / "logs"))]
    rungs.append(rungs[0].model_copy(update={"start_tokens": 4 * STEP, "tokens": 8 * STEP}))
    for stop_at in (3, 6):
        report.stop_at, report.polls = stop_at, 0
        with pytest.raises(Interrupted):
            train_candidate(candidate, suite, rungs[0], None, report)
    report.stop_at = None
    first = train_candidate(candidate, suite, rungs[0], report.path("branch", 6 * STEP), report)
    second = train_candidate(candidate, suite, rungs[1], report.path("trunk", 4 * STEP), report)
    (run,) = (tmp_path / "logs").iterdir()
    assert run.name == "seed0"
    read = events if logger == "tensorboard" else rows
    values = read(run)
    assert sorted(values["loss"]) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert sorted(values["decay/loss"]) == [5, 6, 7, 8, 9, 10, 11, 12]
    assert values["score"] == pytest.approx({8: first.score, 12: second.score}, abs=1e-6)
    for name, task in second.tasks.items():
        assert values[f"score/{name}"][12] == pytest.approx(task.fraction, abs=1e-6)
        assert f"loss/{name}" in values
    settings = yaml.safe_load((run / "hparams.yaml").read_text())
    assert settings["candidate"] == candidate.id
    assert (settings["width"], settings["learning_rate"]) == (32, 3e-3)
    assert settings["mixture/echo"] == pytest.approx(1 / 3, abs=1e-5)


def rows(run) -> dict[str, dict[int, float]]:
    """Metric -> step -> value of a run of CSV; no step has two."""
    values: dict[str, dict[int, float]] = {}
    with (run / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            for name, value in row.items():
                if value:
                    assert step not in values.setdefault(name, {})
                    values[name][step] = float(value)
    return values


def events(run) -> dict[str, dict[int, float]]:
    """Metric -> step -> its last value of a run of TensorBoard."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run))
    found.Reload()
    return {tag: {e.step: e.value for e in found.Scalars(tag)} for tag in found.Tags()["scalars"]}


class Tracker(Logger):
    """A logger of one's own with run ids that it makes up, as trackers do."""

    made: ClassVar[list["Tracker"]] = []

    def __init__(self, save_dir: str, run_id: str | None = None) -> None:
        super().__init__()
        self.save_dir_given, self.version = save_dir, run_id or f"run-{len(self.made)}"
        self.taken_up = run_id is not None
        self.logged: dict = {}
        self.ended = 0
        self.made.append(self)

    name = "tracker"
    version = None

    @property
    def experiment(self):
        return self

    def finish(self) -> None:
        self.ended += 1

    def log_hyperparams(self, params, *args, **kwargs) -> None:
        self.settings = params

    def log_metrics(self, metrics, step=None) -> None:
        self.logged[step] = metrics


def test_a_logger_by_its_path_takes_its_run_up(candidate, suite, tmp_path):
    Tracker.made.clear()
    report = Recorder(tmp_path, stop_at=3)
    spend = budget(4 * STEP, logger=f"{__name__}:Tracker", log_dir=str(tmp_path / "logs"))
    with pytest.raises(Interrupted):
        train_candidate(candidate, suite, spend, None, report)
    report.stop_at = None
    card = train_candidate(candidate, suite, spend, report.path("trunk", 3 * STEP), report)
    before, after = Tracker.made
    assert (before.version, before.taken_up) == ("run-0", False)
    assert (after.version, after.taken_up) == ("run-0", True)
    assert after.settings["candidate"] == candidate.id
    assert after.logged[8]["score"] == card.score
    assert (before.ended, after.ended) == (1, 1)
    other = spend.model_copy(update={"seed": 1})
    train_candidate(candidate, suite, other, None, report)
    assert not Tracker.made[-1].taken_up


@pytest.mark.parametrize("logger", ["cvs", "no.such.Logger", "math.pi", "csv"])
def test_a_logger_that_cannot_be_is_one_line(candidate, suite, tmp_path, logger):
    folder = None if logger == "csv" else str(tmp_path)
    with pytest.raises(StudyFileError, match=r"^logger: "):
        train_candidate(
            candidate, suite, budget(4 * STEP, logger=logger, log_dir=folder), None, Recorder(tmp_path)
        )


def test_cuda_where_there_is_none_is_one_line(candidate, suite, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(PathfrontError, match="needs a CUDA device"):
        train_candidate(candidate, suite, budget(4 * STEP, device="cuda"), None, Recorder(tmp_path))


@pytest.mark.parametrize("precision", ["bf16-mixed", pytest.param("bf16-true", marks=pytest.mark.slow)])
def test_half_precision_learns_too(candidate, suite, tmp_path, precision):
    report = Recorder(tmp_path)
    train_candidate(candidate, suite, budget(60 * STEP, precision=precision), None, report)
    assert report.curve[-1][1] < 0.8 * report.curve[0][1]


def test_training_says_nothing(candidate, suite, tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train_candidate(candidate, suite, budget(4 * STEP), None, Recorder(tmp_path))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("optimizer", sorted(GOLDEN))
def test_ten_steps_are_those_of_the_day_they_were_written(candidate, suite, tmp_path, optimizer):
    report = Recorder(tmp_path)
    candidate = candidate.model_copy(update={"optimizer": optimizer})
    train_candidate(candidate, suite, budget(10 * STEP, decay_tokens=0), None, report)
    losses = [loss for _, loss, _ in report.curve]
    assert losses == pytest.approx(GOLDEN[optimizer], abs=2e-4)


def test_schedule_warms_up_holds_and_falls():
    schedule = Schedule(100, 20)
    assert [schedule.factor(step) for step in (0, WARMUP_STEPS - 1, 50, 100)] == [1 / WARMUP_STEPS, 1, 1, 1]
    assert schedule.factor(110) == pytest.approx(0.5)
    assert schedule.factor(120) == 0
    assert Schedule(100, 0).factor(100) == 1
    assert schedule.steps == 120


def test_a_trial_rounds_to_whole_steps_and_takes_at_least_one(candidate, tmp_path):
    report = Recorder(tmp_path)
    train_candidate(candidate, toy_suite(batch_tokens=200), budget(3, decay_tokens=0), None, report)
    assert report.saved == [("trunk", STEP), ("decayed", STEP)]
    assert all(math.isfinite(loss) for _, loss, _ in report.curve)
