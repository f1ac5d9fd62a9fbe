"""The rule that chooses the tasks of the suite `generalist`. It was fixed before anything was trained.

Families take turns, those with the most base tasks first. At each turn a family gets one more task, up to
three or all of its base tasks, until 24 tasks are chosen. Within a family, the tasks at the quartiles of the
expert's episode length are chosen.
"""

from typing import get_args

from space.catalog import Catalog
from space.records import Sense, SuiteRecord

TASKS = 24
MOST_OF_A_FAMILY = 3
QUANTILES = {1: (0.5,), 2: (0.25, 0.75), 3: (0.25, 0.5, 0.75)}


def generalist_tasks(catalog: Catalog, whole: SuiteRecord) -> tuple[str, ...]:
    """The tasks of the suite `generalist`, in the order of senses and families.

    Args:
        catalog: all tasks.
        whole: the suite of all tasks, with the length of their expert episodes.
    """
    families: dict[str, list[str]] = {}
    for name in sorted(whole.tasks, key=lambda name: (whole.lengths[name], name)):
        if not catalog.task(name).variant:
            families.setdefault(catalog.task(name).family, []).append(name)
    largest_first = sorted(families, key=lambda family: (-len(families[family]), family))
    counts = dict.fromkeys(families, 0)
    for number in range(MOST_OF_A_FAMILY):
        for family in largest_first:
            if number < len(families[family]) and sum(counts.values()) < TASKS:
                counts[family] += 1
    chosen = [name for family, number in counts.items() for name in _at_quartiles(families[family], number)]
    senses = get_args(Sense)

    def place(name: str) -> tuple[int, str, str]:
        record = catalog.task(name)
        return senses.index(record.modality), record.family, name

    return tuple(sorted(chosen, key=place))


def _at_quartiles(names: list[str], number: int) -> list[str]:
    """A number of a family's tasks, which are sorted by length: all, or those at the quartiles."""
    if number >= len(names) or not number:
        return names[:number]
    return [names[round(share * (len(names) - 1))] for share in QUANTILES[number]]
