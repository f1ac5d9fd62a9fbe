"""One run: a method with a seed on a surface, and what it reached. Results are lines of a file.

A run that is in the file is not played again, so a contest that was stopped continues.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from peers.methods import Method
from peers.mo_asha import MOASHA
from peers.oracle import Oracle
from surfaces.families import make_surface
from surfaces.settings import study

from search.choose.next_trial import Promotions
from search.choose.sampler import Problem
from search.planning.clock import play
from search.planning.reach import Judge, Level, first_reach, lasting_reach, within
from space.study import StudyConfig

BUDGET = 14.0  # W, the mean training FLOPs of a random candidate at the highest rung
REPETITIONS = 20  # of the random search that sets the level
GRID = np.geomspace(0.1, BUDGET, 40)  # W at which the measure is kept
RELEASED = {"mo-asha": False, "mo-asha-mended": True}  # rules of promotion outside studies -> whether mended
CORNERS = {"decile": None, "floor": 0.0}  # least scores of the hypervolume, as `Judge` takes them


@dataclass(frozen=True)
class Run:
    """What is played.

    Attributes:
        setting: key of `surfaces.settings.SETTINGS`.
        family: of the surface.
        number: of the surface.
        method: its name.
        seed: of the search and the training.
        workers: trials side by side.
        candidates: after which the study ends; None to end by the budget.
        budget: W after which the study ends; a miss counts as this.
    """

    setting: str
    family: str
    number: int
    method: str
    seed: int
    workers: int
    candidates: int | None = None
    budget: float = BUDGET

    @property
    def key(self) -> str:
        """Its identity in the file of results."""
        return json.dumps(asdict(self), sort_keys=True)


def play_all(
    runs: Iterable[Run],
    methods: dict[str, Method],
    path: Path,
    processes: int,
    repetitions: int = REPETITIONS,
) -> None:
    """Play the runs that a file does not hold, and add them to it.

    Args:
        runs: what to play.
        methods: by their names.
        path: the file of results.
        processes: that play side by side.
        repetitions: of the random search that sets a surface's level.
    """
    wanted = {run.key: run for run in runs}
    known = {line["key"] for line in read(path)}
    left = [(run, methods[run.method], repetitions) for key, run in wanted.items() if key not in known]
    with path.open("a", encoding="utf-8") as file, _mapping(processes) as played:
        for done, line in enumerate(played(_played, left), start=1):
            file.write(json.dumps(line) + "\n")
            file.flush()
            print(f"{done}/{len(left)} {line['method']} on {line['family']} {line['number']}", flush=True)


@contextmanager
def _mapping(processes: int) -> Iterator[Callable[..., Iterable[dict[str, Any]]]]:
    """A function that maps in this process, or in several."""
    if processes == 1:
        yield map
        return
    with get_context("spawn").Pool(processes) as pool:
        yield pool.imap_unordered


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a file of results; a last line that was torn by a stop is left out."""
    if not path.exists():
        return []
    content = path.read_text(encoding="utf-8")
    whole = content[: content.rfind("\n") + 1]
    if whole != content:
        path.write_text(whole, encoding="utf-8")
    return [json.loads(line) for line in whole.splitlines()]


def results(
    path: Path, wanted: Sequence[Mapping[str, Any]], play: Callable[..., dict[str, Any]] | None
) -> list[dict[str, Any]]:
    """The lines of a file of results that are wanted, each a run and what it brought.

    Args:
        path: the file.
        wanted: the runs, as arguments of `play`.
        play: plays the runs that the file lacks, which are added to it; its result holds "cpu_seconds". None
            plays nothing.
    """
    keys = [json.dumps(run, sort_keys=True) for run in wanted]
    if play is not None:
        known = {line["key"] for line in read(path)}
        left = [(key, run) for key, run in zip(keys, wanted, strict=True) if key not in known]
        with path.open("a", encoding="utf-8") as file:
            for done, (key, run) in enumerate(left, start=1):
                line = play(**run)
                file.write(json.dumps({"key": key, **run, **line}) + "\n")
                file.flush()
                print(f"{done}/{len(left)} {dict(run)} {line['cpu_seconds']} s", flush=True)
    return [line for line in read(path) if line["key"] in set(keys)]


def _played(task: tuple[Run, Method, int]) -> dict[str, Any]:
    run, method, repetitions = task
    judges, levels = _measured(run.setting, run.family, run.number, repetitions)
    full = levels["decile"].full_flops
    stop = {"training_flops": run.budget * full} if run.candidates is None else {"candidates": run.candidates}
    sampler = "random" if method.sampler == "oracle" else method.sampler
    promotion = "gain" if method.promotion in RELEASED else method.promotion
    config = study(run.setting, sampler, method.arguments, run.seed, promotion, **stop)
    propose = Oracle(judges["decile"], run.seed).propose if method.sampler == "oracle" else None
    begun = time.process_time()
    played = play(
        config,
        judges["decile"].problem.suite,
        judges["decile"].surface,
        run.workers,
        propose,
        _rules(method, config),
    )
    seconds = time.process_time() - begun
    line: dict[str, Any] = {
        **asdict(run),
        "key": run.key,
        "cpu_seconds": round(seconds, 3),
        "proposal_seconds": round(sum(played.proposal_seconds), 3),
        "trials": len(played.trials),
        "tried": len(played.snapshot.candidates),
        "spent": played.training_flops / full,
    }
    for corner, judge in judges.items():
        curve, level = judge.curve(played.trials), levels[corner]
        reached = {
            "first": first_reach(curve, level.value),
            "lasting": lasting_reach(curve, level.value, level.noise),
        }
        counted = {name: within(spent, run.budget * full) for name, spent in reached.items()}
        spent = np.array([point.spent for point in curve]) / full
        values = np.array([0.0, *(point.value for point in curve)]) / level.value
        line[corner] = {
            **{name: {"ratio": level.ratio(flops), "hit": hit} for name, (flops, hit) in counted.items()},
            "final": float(values[-1]),
            "curve": [round(float(v), 4) for v in values[np.searchsorted(spent, GRID, side="right")]],
        }
    return line


def _rules(method: Method, config: StudyConfig) -> Promotions | None:
    if method.promotion not in RELEASED:
        return None
    return Promotions(MOASHA(len(config.rungs.tokens), config.rungs.eta, mended=RELEASED[method.promotion]))


@cache
def _measured(
    setting: str, family: str, number: int, repetitions: int
) -> tuple[dict[str, Judge], dict[str, Level]]:
    """A surface's judges and levels, one for each corner of the hypervolume."""
    config = study(setting)
    surface = make_surface(family, config, number)
    problem = Problem(config.space, config.suite_record(), config.limits, 0, config.rungs)
    judges = {corner: Judge(problem, surface, least) for corner, least in CORNERS.items()}
    fronts, full_flops = judges["decile"].random_fronts(repetitions)
    return judges, {corner: judge.level_of(fronts, full_flops) for corner, judge in judges.items()}
