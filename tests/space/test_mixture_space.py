import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from space.catalog import load_catalog
from space.errors import StudyFileError
from space.knobs import STORED
from space.mixture import capped, capped_slopes, share_caps
from space.mixture_space import MANY_TASKS, MixtureSpace
from space.ranges import SearchSpace

TOKENS = {"walk": 1_000, "run": 4_000, "read": 20_000}


@pytest.fixture
def sized(suite):
    """The small suite, whose tasks' data are counted."""
    return suite.model_copy(update={"tokens": TOKENS})


@st.composite
def shares_and_caps(draw):
    count = draw(st.integers(2, 12))
    raw = np.array(draw(st.lists(st.floats(1e-3, 1), min_size=count, max_size=count)))
    caps = np.array(draw(st.lists(st.floats(0.01, 1), min_size=count, max_size=count)))
    assume(caps.sum() >= 1)
    return raw / raw.sum(), caps


@given(shares_and_caps())
def test_capped_shares_are_a_mixture_in_proportion_to_the_shares(drawn):
    shares, caps = drawn
    (found,) = capped(shares[None], caps)
    assert found.sum() == pytest.approx(1)
    assert (found <= caps + 1e-12).all()
    factors = found / shares
    below = found < caps - 1e-9
    assert (factors >= 1 - 1e-9).all() or not below.all()
    assert (found >= np.minimum(shares, caps) - 1e-12).all()
    if below.any():
        factor = factors[below].mean()
        assert factors[below] == pytest.approx(factor)
        assert found == pytest.approx(np.minimum(caps, factor * shares))


def test_rows_are_capped_each_on_its_own():
    shares = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.9, 0.05, 0.05]])
    found = capped(shares, np.array([0.4, 0.5, 0.5]))
    assert found == pytest.approx(np.array([[0.4, 0.36, 0.24], [0.25, 0.25, 0.5], [0.4, 0.3, 0.3]]))


@given(shares_and_caps(), st.integers(0, 2**32))
def test_slopes_through_the_cap_equal_finite_differences(drawn, seed):
    shares, caps = drawn
    (found,) = capped(shares[None], caps)
    assume((np.abs(found - caps) > 1e-4)[found < caps].all())  # no task is about to reach its cap
    step, weights = 1e-7, np.random.default_rng(seed).normal(size=len(shares))
    change = np.random.default_rng(seed + 1).normal(size=len(shares))
    change -= change.mean()  # within the simplex
    up, down = (capped((shares + sign * step * change)[None], caps)[0] for sign in (1, -1))
    assume(((up >= caps) == (found >= caps)).all() and ((down >= caps) == (found >= caps)).all())
    (slopes,) = capped_slopes(shares[None], caps, weights[None])
    assert slopes @ change == pytest.approx((up - down) @ weights / (2 * step), abs=1e-4, rel=1e-3)


def test_a_cap_is_passes_over_data_over_tokens_rounded_down(sized):
    prior = dict.fromkeys(sized.tasks, 1 / 3)
    caps = share_caps(2, sized, 30_000, prior, 0.01)
    assert caps.tolist() == [0.066666, 0.266666, 1.0]
    unknown = sized.model_copy(update={"tokens": {"walk": 1_000}})
    assert share_caps(2, unknown, 30_000, prior, 0.01).tolist() == [0.066666, 1.0, 1.0]


@pytest.mark.parametrize(
    ("epochs", "changes", "message"),
    [
        (
            1,
            {},
            r"1 passes over all data are 25,000 tokens, and a candidate trains on 30,000.*at least 1\.21",
        ),
        (
            1.25,
            {"floor": 0.05},
            r"1\.25 passes over the data of 'walk' are 0\.04167 of .*at least 1\.51 passes",
        ),
        (1.25, {"prior": {"read": 1}, "floor": 0}, r"epochs: 1\.25 passes over all data are 25,000 tokens"),
    ],
)
def test_a_cap_that_no_mixture_keeps_is_refused_with_the_passes_that_would_do(
    sized, epochs, changes, message
):
    space = MixtureSpace.model_validate({"epochs": epochs, "floor": 0.01} | changes)
    with pytest.raises(StudyFileError, match=message) as refused:
        space.check(sized, 30_000)
    assert "\n" not in str(refused.value)


def test_the_passes_that_a_refusal_names_are_enough(sized):
    MixtureSpace(epochs=1.21, floor=0.01).check(sized, 30_000)
    MixtureSpace(epochs=1.51, floor=0.05).check(sized, 30_000)


def test_a_cap_needs_counted_data_and_the_tokens_of_a_training(suite, sized):
    with pytest.raises(StudyFileError, match="suite 'small' counts the data of none of its tasks"):
        MixtureSpace(epochs=2).check(suite, 30_000)
    with pytest.raises(ValueError, match="needs the tokens of a whole training"):
        MixtureSpace(epochs=2).shares(sized, None)
    with pytest.raises(ValidationError):
        MixtureSpace(epochs=0)


@given(
    st.sampled_from(["task", "domain"]),
    st.lists(st.floats(-2.5, 2.5), min_size=3, max_size=3),
    st.floats(1.3, 8),
    st.booleans(),
)
def test_every_candidate_keeps_simplex_floor_and_cap(by, ratios, epochs, weighted):
    suite = _sized()
    prior = {"control": 0.7, "read": 0.3} if weighted else "uniform"
    space = SearchSpace.model_validate(
        {"mixture": {"by": by, "epochs": epochs, "floor": 0.02, "prior": prior}, "experts": 1, "top_k": 1}
    )
    space.mixture.check(suite, 30_000)
    params = space.sample(suite, np.random.default_rng(0))
    names = [name for name in params if name.startswith("mixture.")]
    assert len(names) == (3 if by == "task" else 2)
    shares = space.mixture.shares(suite, 30_000)
    candidate = space.candidate(params | dict(zip(names, ratios, strict=False)), suite, shares)
    weights = candidate.mixture.weights
    assert sum(weights.values()) == pytest.approx(1, abs=5e-6)
    assert min(weights.values()) >= 0.02 - 1e-6
    assert all(30_000 * weights[task] <= epochs * count * (1 + 1e-9) for task, count in TOKENS.items())


def _sized():
    whole = load_catalog().of_tasks(("taxi", "babyai-goto-redball-grey", "digits"), {})
    names, old = tuple(TOKENS), whole.tasks
    records = {
        name: whole.records[task].model_copy(update={"name": name, "domain": domain})
        for name, task, domain in zip(names, old, ("control", "control", "text"), strict=True)
    }
    return whole.model_copy(
        update={"tasks": names, "records": records, "tokens": TOKENS, "patch_share": {}, "encoders": {}}
    )


def test_without_a_cap_that_binds_a_mixture_is_what_it_was(sized):
    rng = np.random.default_rng(0)
    plain, wide = SearchSpace.model_validate({"mixture": {}}), SearchSpace(mixture=MixtureSpace(epochs=1e6))
    for _ in range(20):
        params = plain.sample(sized, rng) | {"top_k": 1}
        pair = (
            plain.candidate(params, sized),
            wide.candidate(params, sized, wide.mixture.shares(sized, 30_000)),
        )
        assert pair[0].mixture.weights == pytest.approx(pair[1].mixture.weights, abs=2e-6)


def test_a_domain_has_one_log_ratio_and_divides_its_share_by_the_prior(suite):
    prior = {"walk": 0.1, "run": 0.3, "read": 0.6}
    space = SearchSpace.model_validate({"mixture": {"by": "domain", "prior": prior, "floor": 0}})
    params = space.sample(suite, np.random.default_rng(0)) | {"top_k": 1}
    assert [name for name in params if name.startswith("mixture.")] == ["mixture.control", "mixture.text"]
    weights = space.candidate(
        params | {"mixture.control": np.log(2), "mixture.text": 0.0}, suite
    ).mixture.weights
    assert weights == pytest.approx({"walk": 0.2 / 1.4, "run": 0.6 / 1.4, "read": 0.6 / 1.4}, abs=1e-6)


def test_by_domain_is_by_task_where_each_domain_has_one_task(suite):
    records = {name: of.model_copy(update={"domain": f"of {name}"}) for name, of in suite.records.items()}
    alone = suite.model_copy(update={"records": records})
    task, domain = (SearchSpace.model_validate({"mixture": {"by": by}}) for by in ("task", "domain"))
    rng = np.random.default_rng(0)
    for _ in range(20):
        params = task.sample(alone, rng) | {"top_k": 1}
        renamed = {name.replace("mixture.", "mixture.of "): value for name, value in params.items()}
        assert set(domain.parameters(alone)) <= set(renamed)
        assert task.candidate(params, alone).id == domain.candidate(renamed, alone).id


def test_the_control_by_domain_is_the_uniform_mixture(suite):
    for prior in ("uniform", {"control": 0.2, "text": 0.8}):
        space = SearchSpace.model_validate({"mixture": {"by": "domain", "prior": prior}})
        (control,) = space.controls(suite)
        assert set(control) == {"mixture.control", "mixture.text"}
        params = space.sample(suite, np.random.default_rng(0)) | control | {"top_k": 1}
        weights = space.candidate(params, suite).mixture.weights
        assert weights == pytest.approx(dict.fromkeys(suite.tasks, 1 / 3), abs=2e-6)


def test_auto_is_by_domain_for_many_tasks_of_several_domains(suite):
    many, few = load_catalog().suite("generalist"), load_catalog().suite("quick")
    assert len(many.tasks) > MANY_TASKS >= len(few.tasks)
    assert set(MixtureSpace().groups(many).names) == {"text", "image", "audio", "discrete", "continuous"}
    assert MixtureSpace().groups(few).names == few.tasks
    assert MixtureSpace(by="task").groups(many).names == many.tasks
    one = {name: of.model_copy(update={"domain": "all"}) for name, of in many.records.items()}
    same = many.model_copy(update={"records": one})
    assert MixtureSpace().groups(same).names == many.tasks
    assert MixtureSpace(fixed=True).parameters(many) == []
    with pytest.raises(
        StudyFileError, match=r"space.mixture.by: .* two domains, and all 24 tasks are of 'all'"
    ):
        MixtureSpace(by="domain").check(same, 10**6)


def test_a_stored_study_without_the_key_is_searched_by_task():
    older = {"prior": "uniform", "fixed": False, "floor": 0.02, "spread": 1.0}
    assert MixtureSpace.model_validate(older).by == "auto"
    assert MixtureSpace.model_validate(older, context=STORED).by == "task"
    for by in ("auto", "domain", "task"):
        stored = MixtureSpace(by=by).model_dump(mode="json")
        assert MixtureSpace.model_validate(stored, context=STORED).by == by
    whole = SearchSpace.model_validate({"mixture": older}, context=STORED)
    assert whole.mixture.by == "task"


def test_groups_sum_the_shares_of_their_tasks(suite):
    groups = MixtureSpace(by="domain").groups(suite)
    assert groups.of.tolist() == [0, 0, 1]
    assert groups.sizes.tolist() == [2, 1]
    assert groups.sums(np.array([[0.1, 0.2, 0.7]])) == pytest.approx(np.array([[0.3, 0.7]]))
