"""Which tasks make up the suite `generalist`: a rule, applied before anything was trained on them.

Seats go round the families, those with the most base tasks first, one a round; a family leaves when all of
its base tasks sit or three do, and the rounds end at 24 seats. In a family the seats go to the quartiles of
the expert's episode length.
"""

from typing import get_args

from space.catalog import Catalog
from space.records import Sense, SuiteRecord

SEATS = 24
MOST = 3
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
    seats = dict.fromkeys(families, 0)
    for number in range(MOST):
        for family in largest_first:
            if number < len(families[family]) and sum(seats.values()) < SEATS:
                seats[family] += 1
    chosen = [name for family, number in seats.items() for name in _at_quartiles(families[family], number)]
    senses = get_args(Sense)

    def place(name: str) -> tuple[int, str, str]:
        record = catalog.task(name)
        return senses.index(record.modality), record.family, name

    return tuple(sorted(chosen, key=place))


def _at_quartiles(names: list[str], number: int) -> list[str]:
    """So many of a family's tasks, sorted by length: all, or those at the quartiles."""
    if number >= len(names) or not number:
        return names[:number]
    return [names[round(share * (len(names) - 1))] for share in QUANTILES[number]]
