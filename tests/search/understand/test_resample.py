"""Pairs of points: only the named thing differs, and every point can be built."""

import numpy as np
import pytest
from made_studies import MORE_KNOBS, problem_of

from search.choose.pool import PoolSpace
from search.understand.resample import MIXTURE, Design
from space.ranges import MIXTURE_PREFIX

WIDE = {"width": {"low": 48, "high": 256, "step": 16}, "depth": {"low": 1, "high": 6}}


@pytest.mark.parametrize("space", [{}, MORE_KNOBS, WIDE])
def test_only_what_is_named_changes(space):
    problem = problem_of(space)
    in_numbers = PoolSpace(problem)
    design = Design(problem, in_numbers, 40)
    names = []
    for changed in design.changes():
        names.append(changed.name)
        different = 0
        for index in range(40):
            before, after = (in_numbers.params(pool, index) for pool in (design.pool, changed.pool))
            assert problem.feasible(after) is not None
            moved = {name for name in before if before[name] != after[name]}
            different += bool(moved)
            if changed.name == MIXTURE:
                assert all(name.startswith(MIXTURE_PREFIX) for name in moved)
            else:
                assert moved <= {MIXTURE_PREFIX + changed.name if changed.of == "task" else changed.name}
            if changed.of == "knob" and changed.after is not None:
                assert after[changed.name] == pytest.approx(changed.after[index])
        assert different > 5, changed.name
    expected = {name.removeprefix(MIXTURE_PREFIX) for name in problem.parameters}
    assert set(names) == expected | {MIXTURE}


def test_the_same_design_is_drawn_again():
    problem = problem_of()
    first, again = (Design(problem, PoolSpace(problem), 20) for _ in range(2))
    for one, other in zip(first.changes(), again.changes(), strict=True):
        assert np.array_equal(one.pool.shape, other.pool.shape)
        assert np.array_equal(one.pool.logits, other.pool.logits)
