"""The front where some candidates are confirmed."""

import numpy as np
import pytest

from search.pareto import pareto
from search.store.finalists import Finalist, best_of, front_of, pickable


def finalist(number, score, flops, confirmed=False):
    split = "report" if confirmed else "select"
    return Finalist(number, f"c{number}", 2, score, 0.001, flops, 1, split=split)


def numbers(rows):
    return [row.number for row in rows]


def test_a_lucky_candidate_does_not_hide_a_confirmed_one():
    lucky, honest = finalist(0, 0.9, 100), finalist(1, 0.8, 100, confirmed=True)
    assert numbers(front_of([lucky, honest])) == [0, 1]
    assert numbers(front_of([lucky, finalist(1, 0.8, 100)])) == [0]
    assert best_of([lucky, honest]) == honest
    assert pickable([lucky, honest]) == [honest]
    assert pickable([lucky]) == [lucky]


def test_confirmed_ones_are_judged_by_each_other():
    rows = [finalist(0, 0.8, 100, confirmed=True), finalist(1, 0.7, 100, confirmed=True)]
    assert numbers(front_of(rows)) == [0]


def test_a_confirmed_candidate_hides_one_that_is_not():
    rows = [finalist(0, 0.7, 100), finalist(1, 0.8, 90, confirmed=True), finalist(2, 0.6, 50)]
    assert numbers(front_of(rows)) == [1, 2]


def test_a_dominated_confirmed_candidate_hides_others_too():
    rows = [
        finalist(0, 0.9, 100, confirmed=True),
        finalist(1, 0.8, 110, confirmed=True),
        finalist(2, 0.7, 120),
    ]
    assert numbers(front_of(rows)) == [0]


def test_ties_are_kept_in_the_order_of_their_numbers():
    rows = [finalist(3, 0.8, 100, confirmed=True), finalist(1, 0.8, 100), finalist(2, 0.8, 100)]
    assert numbers(front_of(rows)) == [1, 2, 3]


def test_a_confirmed_candidate_at_its_floor_is_left_out():
    rows = [finalist(0, 0.0005, 100, confirmed=True), finalist(1, 0.5, 200)]
    assert numbers(front_of(rows)) == [1]


@pytest.mark.parametrize("seed", range(30))
def test_without_confirmations_it_is_the_pareto_front_and_with_them_follows_the_rule(seed):
    rng = np.random.default_rng(seed)
    rows = [
        finalist(n, rng.integers(1, 6) / 10, rng.integers(1, 6) * 10, bool(rng.integers(2)))
        for n in range(12)
    ]
    plain = [row._replace(split="select") for row in rows]
    points = [(row.score, row.flops_per_token) for row in rows]
    assert numbers(front_of(plain)) == pareto(points).tolist()

    def beaten(row):
        judges = [r for r in rows if row.split == "select" or r.split == "report"]
        return any(
            r.score >= row.score
            and r.flops_per_token <= row.flops_per_token
            and (r.score > row.score or r.flops_per_token < row.flops_per_token)
            for r in judges
        )

    assert sorted(numbers(front_of(rows))) == [row.number for row in rows if not beaten(row)]
