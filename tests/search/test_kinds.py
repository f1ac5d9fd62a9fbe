"""Which kind goes first when a study has tried too few sparse or too few dense candidates."""

import numpy as np
import pytest

from search.choose.kinds import rare_kind_first

SPARSE = np.array([True, False, True, False])
ORDER = np.array([2, 1, 3, 0])


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([True] * 9 + [False], [1, 3, 2, 0]),  # a tenth is dense
        ([True] + [False] * 9, [2, 0, 1, 3]),
        ([True] * 4 + [False], [2, 1, 3, 0]),  # a fifth is enough
        ([True] + [False] * 4, [2, 1, 3, 0]),
        ([], [2, 1, 3, 0]),
        ([False], [2, 0, 1, 3]),
    ],
)
def test_the_rare_kind_goes_first_and_each_kind_keeps_its_order(known, expected):
    assert rare_kind_first(ORDER, SPARSE, np.array(known, dtype=bool)).tolist() == expected


def test_a_space_of_one_kind_keeps_its_order():
    dense = np.zeros(4, dtype=bool)
    assert rare_kind_first(ORDER, dense, np.zeros(7, dtype=bool)).tolist() == ORDER.tolist()
