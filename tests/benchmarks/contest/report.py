"""Tables of a contest."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from contest.chance import chance_of_worst, mean_and_error
from contest.runs import GRID
from search.planning.reach import Point, lasting_reach, within

Line = dict[str, Any]
DRAWS = 2_000  # of the bootstrap
LEVEL = 0.95
SPENT = (1, 4, 14)  # W at which tables show the measure


class Scores:
    """The ratios of one method: family -> surface -> seed -> ratio.

    Args:
        lines: results of one method in one setting with one number of workers.
        value: what is read from a line.
    """

    def __init__(self, lines: Sequence[Line], value: Callable[[Line], float]) -> None:
        found: dict[str, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
        for line in lines:
            found[line["family"]][line["number"]][line["seed"]] = value(line)
        self.of = {family: dict(numbers) for family, numbers in found.items()}

    def mean(self, family: str | None = None) -> float:
        """Mean over seeds and surfaces of a family, or the mean of the families."""
        if family is not None:
            return float(np.mean([v for seeds in self.of[family].values() for v in seeds.values()]))
        return float(np.mean([self.mean(name) for name in self.of]))

    def drawn(self, rng: np.random.Generator) -> float:
        """The mean with surfaces, and seeds within each, drawn again."""
        means: list[float] = []
        for numbers in self.of.values():
            surfaces = list(numbers.values())
            values: list[float] = []
            for i in rng.integers(len(surfaces), size=len(surfaces)):
                seeds = list(surfaces[i].values())
                values += [seeds[j] for j in rng.integers(len(seeds), size=len(seeds))]
            means.append(float(np.mean(values)))
        return float(np.mean(means))

    def interval(self) -> tuple[float, float]:
        """A bootstrap interval of the mean of the families."""
        rng = np.random.default_rng(0)
        low, high = np.quantile([self.drawn(rng) for _ in range(DRAWS)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


def groups(lines: Sequence[Line]) -> dict[tuple[str, int, int | None], dict[str, list[Line]]]:
    """(setting, workers, candidates) -> method -> lines."""
    found: dict[tuple[str, int, int | None], dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in lines:
        found[line["setting"], line["workers"], line["candidates"]][line["method"]].append(line)
    return {key: dict(methods) for key, methods in found.items()}


def compute_table(lines: Sequence[Line], against: str, corner: str, reach: str) -> str:
    """How many times less compute each method needs than random search, geometric means.

    Misses count as the budget. `over` divides by the ratio of another method on the same surfaces with the
    same seeds. The last columns give the mean measure in percent of the level, which also tells methods apart
    that miss, and in brackets what it is more than that of the other method, in the same pairs.
    """
    most = max((line["budget"] for line in lines), default=0)
    spendings = sorted({min(spent, most) for spent in SPENT})
    shown = [int(np.argmin(np.abs(np.log(GRID / spent)))) for spent in spendings]
    rows: list[str] = []
    for (setting, workers, _), methods in groups(lines).items():
        families = sorted({line["family"] for of in methods.values() for line in of})
        rows += [
            f"\n{setting}, {workers} workers ({corner}, {reach})\n",
            f"| method | all [{LEVEL:.0%}] | {' | '.join(families)} | hits | over {against} | CPU-s a run |"
            + "".join(f" % at {spent:g} W |" for spent in spendings),
            "|---|---|" + "---|" * (len(families) + 3 + len(spendings)),
        ]
        base = {_paired(line): line for line in methods.get(against, [])}
        scores = {name: Scores(of, lambda line: _log(line, corner, reach)) for name, of in methods.items()}
        for name in sorted(methods, key=lambda name: -scores[name].mean()):
            of = methods[name]
            cells = [_number(np.exp(scores[name].mean(f))) if f in scores[name].of else "" for f in families]
            pairs = [line for line in of if _paired(line) in base]
            over = Scores(
                pairs,
                lambda line, base=base: _log(line, corner, reach) - _log(base[_paired(line)], corner, reach),
            )
            hits = sum(line[corner][reach]["hit"] for line in of)
            seconds = np.mean([line["cpu_seconds"] for line in of])
            compared = name != against and pairs
            parts = [_percent(of, pairs if compared else [], base, corner, i) for i in shown]
            rows.append(
                f"| {name} | {_interval(scores[name])} | {' | '.join(cells)} | {hits}/{len(of)} |"
                f" {_interval(over) if compared else ''} | {seconds:.1f} | {' | '.join(parts)} |"
            )
    return "\n".join(rows)


def worth_table(lines: Sequence[Line], rivals: Sequence[Line], corner: str) -> str:
    """How many times less compute each method needs than a rival spent on a number of candidates.

    A surface's level is the mean that the rival reaches at its end, over seeds. A method reaches it where it
    later never falls below by more than the standard deviation of the rival's ends. A miss counts as the
    budget.

    Args:
        lines: of the methods, by the budget.
        rivals: of the rival, by candidates.
        corner: of the hypervolume.
    """
    ends: dict[tuple[str, int], list[Line]] = defaultdict(list)
    for line in rivals:
        ends[line["family"], line["number"]].append(line)

    def log_ratio(line: Line) -> float:
        rival = ends[line["family"], line["number"]]
        finals = [of[corner]["final"] for of in rival]
        points = [Point(*point) for point in zip(GRID, line[corner]["curve"], strict=True)]
        reached = lasting_reach(points, float(np.mean(finals)), float(np.std(finals)))
        return float(np.log(np.mean([of["spent"] for of in rival]) / within(reached, line["budget"])[0]))

    rows = [
        f"| method | compute of {rivals[0]['method']} over that of the method [{LEVEL:.0%}] |",
        "|---|---|",
    ]
    for methods in groups(lines).values():
        rows += [f"| {name} | {_interval(Scores(of, log_ratio))} |" for name, of in methods.items()]
    return "\n".join(rows)


def loss_table(lines: Sequence[Line], against: str, corner: str) -> str:
    """Whether methods are ever worse than another one at equal spending, in every setting.

    For each method: the difference of the measure at the end and where it is most standard errors below, in
    percent of the level, with its standard error over seeds and surfaces. The worst of many spendings is
    chosen, so the chance says how often it would be as bad if the two were equal: the signs of the pairs'
    differences are drawn at random. Spending goes up to what half of the pairs have spent.
    """
    rows = [
        "| setting | workers | candidates | method | pairs | at the end | worst | at W | chance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (setting, workers, candidates), methods in groups(lines).items():
        base = {_paired(line): line for line in methods.get(against, [])}
        for name, of in methods.items():
            pairs = [(line, base[_paired(line)]) for line in of if _paired(line) in base]
            if name == against or len(pairs) < 2:
                continue
            spent, gaps = _gaps(pairs, corner)
            mean, error = mean_and_error(gaps)
            worst = int(np.argmin(mean / error))
            rows.append(
                f"| {setting} | {workers} | {candidates or ''} | {name} | {len(pairs)} |"
                f" {100 * mean[-1]:+.1f} ± {100 * error[-1]:.1f} |"
                f" {100 * mean[worst]:+.1f} ± {100 * error[worst]:.1f} | {spent[worst]:.2f} |"
                f" {chance_of_worst(gaps):.2f} |"
            )
    return "\n".join(rows)


def _gaps(pairs: Sequence[tuple[Line, Line]], corner: str) -> tuple[np.ndarray, np.ndarray]:
    """W at which at least half of the pairs still spend, (spendings,), and differences (pairs, spendings)."""
    gaps = np.array([np.subtract(a[corner]["curve"], b[corner]["curve"]) for a, b in pairs])
    ends = np.array([min(a["spent"], b["spent"]) for a, b in pairs])
    shown = np.sum(ends[:, None] >= GRID, axis=0) >= max(2, len(pairs) / 2)
    gaps[ends[:, None] < GRID] = np.nan
    return GRID[shown], gaps[:, shown]


def _paired(line: Line) -> tuple[str, int, int]:
    return line["family"], line["number"], line["seed"]


def _log(line: Line, corner: str, reach: str) -> float:
    return float(np.log(line[corner][reach]["ratio"]))


def _percent(
    of: Sequence[Line], pairs: Sequence[Line], base: Mapping[Hashable, Line], corner: str, spent: int
) -> str:
    """The mean measure at one spending, and what it is more than that of other lines in pairs."""
    shown = f"{100 * Scores(of, lambda line: line[corner]['curve'][spent]).mean():.0f}"
    if not pairs:
        return shown
    more = Scores(
        pairs, lambda line: line[corner]["curve"][spent] - base[_paired(line)][corner]["curve"][spent]
    )
    low, high = more.interval()
    return f"{shown} ({100 * more.mean():+.0f} [{100 * low:+.0f}, {100 * high:+.0f}])"


def _interval(scores: Scores) -> str:
    low, high = scores.interval()
    return f"{_number(np.exp(scores.mean()))} [{_number(np.exp(low))}, {_number(np.exp(high))}]"


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
