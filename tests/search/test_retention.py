"""Whose weights may be dropped: never those of a trial that can come to the front."""

from hypothesis import given
from hypothesis import strategies as st

from search.store.finalists import Finalist, front_of
from search.store.retention import exportable

TOP = 2
scores = st.integers(0, 4).map(lambda score: score / 4)  # few values, so that there are ties
climbs = st.lists(st.tuples(st.integers(0, 5), scores), max_size=20)
costs = st.lists(st.integers(1, 4).map(float), min_size=6, max_size=6)


def finalist(number, candidate, rung, score, flops):
    return Finalist(number, f"{candidate}", rung, score, 0.0, flops, 1)


@given(climbs, costs)
def test_the_front_can_be_exported_at_any_time(climbs, costs):
    """Candidates climb in any order, and weights that are not needed go after each trial."""
    standing, weights = {}, set()
    for number, (candidate, score) in enumerate(climbs):
        rung = standing[candidate].rung + 1 if candidate in standing else 0
        if rung > TOP:
            continue
        standing[candidate] = finalist(number, candidate, rung, score, costs[candidate])
        weights.add((f"{candidate}", rung))
        finalists = list(standing.values())
        settled = {row.candidate for row in finalists if row.rung == TOP}
        weights &= exportable(finalists, settled, over=False)
        assert {(row.candidate, row.rung) for row in front_of(finalists)} <= weights
    finalists = list(standing.values())
    ends = exportable(finalists, set(), over=True)
    assert ends == {(row.candidate, row.rung) for row in front_of(finalists)}
    assert ends <= weights


def test_only_a_settled_score_pushes_another_one_out():
    cheap, dear = finalist(0, "a", 0, 0.5, 1.0), finalist(1, "b", 0, 0.4, 2.0)
    assert exportable([cheap, dear], set(), over=False) == {("a", 0), ("b", 0)}
    assert exportable([cheap, dear], {"b"}, over=False) == {("a", 0), ("b", 0)}
    assert exportable([cheap, dear], {"a"}, over=False) == {("a", 0)}
    assert exportable([cheap, dear], set(), over=True) == {("a", 0)}
