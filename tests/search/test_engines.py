"""Engines: the contract, on the one that ships and on the example; and how a study names one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engine_contract import LIMIT_SECONDS, EngineContract, RunsWorkers, alive
from toy_trainers import toy_config

from search.database import tables
from search.engines import launcher
from search.engines.engines import make_engine, with_engine
from search.engines.guard import GuardedWorker, signal_name
from space.errors import MachineError, NotFoundError, StorageError, StudyFileError

EXAMPLES = Path(__file__).parents[1] / "examples"
BAD = """
class Lazy:
    def __init__(self, config):
        pass


class Unready(Lazy):
    def plan(self, workers):
        return "cpu", 1

    def start(self, job):
        raise RuntimeError("the queue is closed")


class Unmade:
    pass
"""
MISTAKEN = """
from pathlib import Path

from search.engines.local import LocalEngine

STARTED = []  # processes


class Wraps:  # a worker of this machine; its methods are replaced below
    def __init__(self, worker, index):
        self.worker, self.index = worker, index

    def poll(self):
        return self.worker.poll()

    def interrupt(self):
        self.worker.interrupt()

    def kill(self):
        self.worker.kill()


def of_first(method):  # the first place's worker is the bad one, once a trial has been seen to run
    def call(self, *arguments):
        if self.index == 0 and Path("trains").exists():
            return method(self)
        return getattr(Wraps, method.__name__)(self)

    return call


def engine(plan=("cpu", 2), start=None, **methods):
    kind = type("Mistaken", (Wraps,), methods)

    class Made(LocalEngine):
        def plan(self, workers):
            return plan

        def start(self, job):
            worker = kind(super().start(job), job.index)
            STARTED.append(worker.worker._process)
            if start is None or job.index == 0:
                return worker
            return start(worker)

    return Made


def no_program(worker):
    worker.kill()
    raise FileNotFoundError(2, "no such file", "nice")


def nothing(worker):
    worker.kill()


class Partly:
    def __init__(self, worker):
        self.kill = worker.kill


def bad(name, value=None):
    def method(self):
        if value is None:
            raise LookupError(name + " is lost")
        return value

    method.__name__ = name
    return of_first(method)


PlanZero, PlanMinus = engine(("cpu", 0)), engine(("cpu", -1))
PlanWord, PlanHalf, PlanTrue = engine(("cpu", "two")), engine(("cpu", 1.5)), engine(("cpu", True))
PlanNone, PlanNumber, PlanTriple = engine(3.5), engine(2), engine(("cpu", 1, 2))
PlanDevice, PlanWords = engine(("tpu", 1)), engine("ab")
StartNone, StartLost, StartPartly = engine(start=nothing), engine(start=no_program), engine(start=Partly)
PollSignal, PollWord = engine(poll=bad("poll", -99)), engine(poll=bad("poll", "dead"))
PollTrue, PollLost = engine(poll=bad("poll", True)), engine(poll=bad("poll"))
InterruptLost, KillLost = engine(interrupt=bad("interrupt")), engine(kill=bad("kill"))
"""
PLAN = r"plan returns a device, 'cpu' or 'cuda', and the number of workers"
MISTAKES = {
    "PlanZero": (StudyFileError, PLAN + r", a whole number from 1, got 0 \(int\)"),
    "PlanMinus": (StudyFileError, PLAN + r", a whole number from 1, got -1 \(int\)"),
    "PlanWord": (StudyFileError, PLAN + r", a whole number from 1, got 'two' \(str\)"),
    "PlanHalf": (StudyFileError, PLAN + r", a whole number from 1, got 1.5 \(float\)"),
    "PlanTrue": (StudyFileError, PLAN + r", a whole number from 1, got True \(bool\)"),
    "PlanNone": (StudyFileError, PLAN + r", got 3.5 \(float\)"),
    "PlanNumber": (StudyFileError, PLAN + r", got 2 \(int\)"),
    "PlanTriple": (StudyFileError, PLAN + r", got \('cpu', 1, 2\) \(tuple\)"),
    "PlanWords": (StudyFileError, PLAN + r", got 'ab' \(str\)"),
    "PlanDevice": (StudyFileError, PLAN + r", got the device 'tpu' \(str\)"),
    "StartNone": (MachineError, "start returns a worker with poll, interrupt and kill, got NoneType"),
    "StartPartly": (MachineError, "start returns a worker with poll, interrupt and kill, got Partly"),
    "StartLost": (MachineError, r"raises FileNotFoundError: .*no such file: 'nice' .* in start"),
    "PollSignal": (MachineError, "minus the number of a signal, got -99"),
    "PollWord": (MachineError, r"poll returns None or a whole number, the exit code, got 'dead' \(str\)"),
    "PollTrue": (MachineError, r"poll returns None or a whole number, the exit code, got True \(bool\)"),
    "PollLost": (MachineError, r"raises LookupError: poll is lost \(mistaken.py:\d+\) in poll"),
    "InterruptLost": (MachineError, r"raises LookupError: interrupt is lost .* in interrupt"),
    "KillLost": (MachineError, r"raises LookupError: kill is lost .* in kill"),
}


class TestLocal(EngineContract):
    """Processes of this machine."""

    engine = "local"


@pytest.mark.slow  # test_examples.py runs a study with it
class TestExample(RunsWorkers):
    """The example of an engine."""

    engine = "my_engine:Nice"

    @pytest.fixture(autouse=True)
    def _example(self, tmp_path):
        (tmp_path / "my_engine.py").write_text((EXAMPLES / "my_engine.py").read_text())


def test_wrong_engines_are_one_line(tmp_path, monkeypatch):
    (tmp_path / "bad_engines.py").write_text(BAD)
    monkeypatch.chdir(tmp_path)
    for engine, message in {
        "bad_engines:Lazy": "with the methods plan and start, and 'bad_engines:Lazy' has no plan",
        "bad_engines:Unmade": "engine: 'bad_engines:Unmade' raises TypeError",
        "bad_engines:Busy": "module 'bad_engines' has no 'Busy'",
    }.items():
        with pytest.raises(StudyFileError, match=message):
            make_engine(toy_config(engine=engine))
    with pytest.raises(
        StudyFileError, match=r"--engine: engine is local or .*got 'locl'; did you mean 'local'"
    ):
        with_engine(toy_config(), "locl")
    assert with_engine(toy_config(), "my.engines.Slurm").engine == "my.engines:Slurm"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (MachineError, 1),
        *(
            pytest.param(*each, marks=pytest.mark.slow)
            for each in ((StudyFileError, 2), (NotFoundError, 3), (StorageError, 4))
        ),
    ],
)
def test_a_launch_ends_with_the_exit_code_of_a_worker_that_cannot_work(launch, url, tmp_path, kind, code):
    (tmp_path / "lost.py").write_text(
        f"from space import errors\n\nraise errors.{kind.__name__}('no corpus')\n"
    )
    launch(trainer="lost:climb")
    with pytest.raises(kind, match="no corpus") as ended:
        launcher.run(url, "toy", 1, "artifacts")
    assert ended.value.exit_code == code


def test_an_engine_that_fails_is_named(launch, url, tmp_path):
    (tmp_path / "bad_engines.py").write_text(BAD)
    launch(engine="bad_engines:Unready")
    with pytest.raises(MachineError, match=r"'bad_engines:Unready' raises RuntimeError: the queue is closed"):
        launcher.run(url, "toy", 1, "artifacts")


def engine_mistakes():
    """Those that cost worker processes are slow but for one of each kind."""
    for engine in MISTAKES:
        quick = engine.startswith("Plan") or engine in ("StartPartly", "PollLost")
        yield engine if quick else pytest.param(engine, marks=pytest.mark.slow)


@pytest.mark.parametrize("engine", list(engine_mistakes()))
def test_an_engine_that_misbehaves_ends_the_launch_with_one_line(
    engine, launch, url, rows, tmp_path, monkeypatch
):
    """No worker is left, whichever call fails; two signals come where the engine has to pass them on."""
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    (tmp_path / "wait").touch()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mistaken", raising=False)
    launch(engine=f"mistaken:{engine}", trainer="toy_trainers:patient")
    signals = [signal.SIGINT] * {"InterruptLost": 1, "KillLost": 2}.get(engine, 0)

    def break_once_both_train():
        if sum(row["number"] is not None for row in rows(tables.trials)) == 2:
            (tmp_path / "trains").touch()
            while signals:
                os.kill(os.getpid(), signals.pop())

    kind, message = MISTAKES[engine]
    with pytest.raises(kind, match=message) as ended:
        launcher.run(url, "toy", None, "artifacts", break_once_both_train)
    assert str(ended.value).startswith(f"engine: 'mistaken:{engine}'")
    assert "\n" not in str(ended.value)
    started = sys.modules.pop("mistaken").STARTED
    for process in started:  # one that cannot be killed was asked to stop
        process.wait(LIMIT_SECONDS)
    assert not any(alive(row["pid"]) for row in rows(tables.workers))
    assert len(started) == (0 if engine.startswith("Plan") else 2)


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGKILL, "SIGKILL"), (signal.SIGRTMIN + 3, f"signal {signal.SIGRTMIN + 3}")]
)
def test_every_signal_that_ends_a_process_has_a_name(number, name):
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as process:
        process.send_signal(number)
        process.wait(LIMIT_SECONDS)
        code = GuardedWorker(process, "local").poll()
    assert code is not None
    assert code == -number
    assert signal_name(-code) == name


def test_a_launch_with_a_mistaken_engine_exits_with_2_or_1(pathfront, tmp_path, monkeypatch):
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    study = "study: small\nsuite: [iris]\nrungs: {tokens: [20_000], eta: 2}\nstop: {candidates: 1}\n"
    (tmp_path / "small.yaml").write_text(study)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for engine, code in {"PlanHalf": 2, "PlanNumber": 2, "StartNone": 1, "StartLost": 1}.items():
        sys.modules.pop("mistaken", None)
        status, _, said = pathfront("launch", "small.yaml", "--engine", f"mistaken:{engine}")
        assert (status, said.splitlines()[-1].startswith(f"error: engine: 'mistaken:{engine}'")) == (
            code,
            True,
        )
        for process in sys.modules.pop("mistaken").STARTED:
            process.wait(LIMIT_SECONDS)
