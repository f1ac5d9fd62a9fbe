"""Exports of larger models: what is in the folder, what is predicted, and what is refused."""

import pytest
from factories import make_study

from search.read.results import Reader
from space.cost import price
from space.recipe import Growth, Predicted, Recipe

TOKENIZER = {"tokenizer.model", "tokenizer.json", "tokenizer_config.json"}
FILES = {"config.yaml", "references.json", "README.md", *TOKENIZER}


@pytest.fixture(scope="module")
def storage(tmp_path_factory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('scale') / 'studies.db'}"
    make_study(url, trials=24, running=1)
    make_study(url, name="flat", trials=8, rungs=(225_000,))
    make_study(url, name="few", trials=5, rungs=(225_000, 450_000))
    return url


@pytest.fixture
def grown(pathfront, storage):
    """Export by the command -> what it printed on stdout and on stderr."""

    def run(study: str, *options: object) -> tuple[str, str]:
        code, out, err = pathfront("export", study, "-o", "big", "--storage", storage, *options)
        assert code == 0, err
        return out, err

    return run


def test_a_larger_model_of_the_same_shape_and_what_to_expect_of_it(grown, storage, tmp_path):
    out, err = grown("quick", "--pick", "best", "--scale", "10M")
    folder = tmp_path / "big"
    assert {path.name for path in folder.iterdir()} == FILES
    recipe, reader = Recipe.read(folder), Reader(storage)
    best = reader.trial("quick", reader.front("quick")[0].trial)
    assert recipe.weights_sha256 is None
    flops = price(recipe.candidate.architecture, recipe.suite).flops_per_token
    assert flops == pytest.approx(10e6, rel=0.1)
    same = recipe.candidate.model_copy(update={"architecture": best.config.architecture})
    assert same == best.config
    assert recipe.grown is not None
    assert (recipe.grown.from_flops, recipe.grown.flops) == (best.row.flops_per_token, flops)
    trained = round(1.2 * best.row.tokens)
    assert [point.tokens for point in recipe.grown.predicted] == [
        trained,
        3 * trained,
    ]  # 10 times are out of reach
    card = (folder / "README.md").read_text()
    for point in recipe.grown.predicted:
        assert point.training_flops == 3 * flops * point.tokens
        assert f"{point.score:.3f}" in out
        assert f"| {point.tokens:,} |" in card
        assert f"| {point.score:.3f} | [{point.low:.3f}, {point.high:.3f}] |" in card
    assert "without weights yet" in card
    assert "model.safetensors" not in card
    assert f"at learning rate {best.config.learning_rate:g} as searched" in card
    assert "pathfront train big --tokens" in out
    assert "tell nothing beyond 4.32M tokens" in out
    assert err == ""


def test_a_scale_may_be_a_multiple_and_the_tokens_ones_own(grown, tmp_path):
    out, _ = grown("quick", "--pick", "knee", "--scale", "10x", "--tokens", "4M")
    recipe = Recipe.read(tmp_path / "big")
    assert recipe.grown is not None
    assert recipe.grown.factor == pytest.approx(10, rel=0.1)
    assert [point.tokens for point in recipe.grown.predicted] == [4_000_000]
    assert "pathfront train big --tokens 4000000" in out


@pytest.mark.parametrize(
    ("study", "why"), [("flat", "two rungs with scores, the study has 1"), ("few", "at least 6 candidates")]
)
def test_a_study_that_is_too_small_grows_without_a_prediction_and_says_why(grown, tmp_path, study, why):
    _, err = grown(study, "--scale", "10x")
    assert err.startswith("no prediction: ")
    assert why in err
    assert err.count("\n") == 1
    assert why in (tmp_path / "big" / "README.md").read_text()
    recipe = Recipe.read(tmp_path / "big")
    assert recipe.grown is not None
    assert recipe.grown.predicted == ()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--scale", "1x"], ["more FLOPs per token than the candidate's own", "leaving --scale out"]),
        (["--scale", "1000"], ["more FLOPs per token than the candidate's own", "got 1,000"]),
        (["--scale", "tenx"], ["--scale", "such as 10x", "'tenx'"]),
        (["--tokens", "9M"], ["give --scale as well"]),
        (["--scale", "10x", "--pick", "kne"], ["did you mean 'knee'?"]),
    ],
)
def test_what_cannot_be_grown_is_one_line_and_leaves_nothing(pathfront, storage, tmp_path, options, words):
    code, out, err = pathfront("export", "quick", "-o", "big", "--storage", storage, *options)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert all(word in err for word in words), err
    assert list(tmp_path.iterdir()) == []


def test_what_is_out_of_reach_is_not_predicted_and_the_export_works_still(grown, tmp_path):
    _, err = grown("quick", "--scale", "10x", "--tokens", "50M")
    assert err.startswith("no prediction: a prediction reaches as many times beyond the highest rung as")
    assert "so up to 4,320,000, got 50,000,000" in (tmp_path / "big" / "README.md").read_text()
    assert Recipe.read(tmp_path / "big").grown.reach is None


def test_eval_of_what_is_not_trained_says_how_to_train_it(pathfront, storage, tmp_path):
    assert pathfront("export", "quick", "--scale", "4x", "-o", "big", "--storage", storage)[0] == 0
    code, out, err = pathfront("eval", "big")
    assert (code, out) == (3, "")
    line = err.splitlines()[-1]  # after the line that says what is scored
    assert "has no weights until it is trained" in line
    assert "pathfront train big --tokens" in line
    assert err.count("\n") == 2


def test_a_prediction_between_two_others_is_read_off_by_log_tokens():
    def point(tokens: int, score: float) -> Predicted:
        return Predicted(
            tokens=tokens, training_flops=3.0 * tokens, score=score, low=score - 0.1, high=score + 0.1
        )

    growth = Growth(from_flops=1e6, flops=1e7, predicted=(point(1000, 0.5), point(100_000, 0.7)))
    between = growth.at(10_000)
    assert between is not None
    assert (between.score, between.low, between.high) == pytest.approx((0.6, 0.5, 0.7))
    assert between.training_flops == pytest.approx(30_000)
    assert growth.at(100_000) == growth.predicted[1]
    assert growth.at(999) is None
    assert growth.at(100_001) is None
