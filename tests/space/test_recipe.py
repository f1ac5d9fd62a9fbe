"""An export's `config.yaml` is read as strictly as a study file, with the same messages."""

import pytest
from factories import suite

from space.candidate import Architecture, CandidateConfig
from space.errors import CheckpointError, NotFoundError
from space.mixture import TaskMixture
from space.recipe import CONFIG_FILE, Origin, Recipe, new_folder


@pytest.fixture
def written(tmp_path):
    recipe = Recipe(
        candidate=CandidateConfig(
            architecture=Architecture(depth=2, width=64),
            mixture=TaskMixture.uniform(suite().tasks),
            learning_rate=1e-3,
        ),
        suite=suite(),
        origin=Origin(study="quick", trial=7, rung=0, tokens=1000, score=0.5, score_stderr=0.1),
        weights_sha256=None,
    )
    recipe.write(tmp_path)
    recipe.write_references(tmp_path)
    return recipe


def test_what_is_written_is_read(tmp_path, written):
    assert Recipe.read(tmp_path) == written


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        (
            "precision: 32-true\n",
            "precision: 32-true\nprecision: x\n",
            "not YAML: the key 'precision' appears twice",
        ),
        ("precision: ", "precison: ", "precison: unknown key; did you mean 'precision'?"),
        ("decay: 0.2\n", "decay: 2\n", "decay: input should be less than or equal to 1, got 2"),
        ("seed: 0\n", "seed: [\n", "not YAML: "),
    ],
)
def test_a_damaged_recipe_is_one_line_that_names_file_and_key(tmp_path, written, before, after, why):
    path = tmp_path / CONFIG_FILE
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    with pytest.raises(CheckpointError) as error:
        Recipe.read(tmp_path)
    assert str(error.value).startswith(f"{path}: {why}")
    assert "\n" not in str(error.value)


def test_numbers_in_scientific_notation_are_numbers(tmp_path, written):
    path = tmp_path / CONFIG_FILE
    path.write_text(path.read_text().replace("decay: 0.2\n", "decay: 2e-1\n"))
    assert Recipe.read(tmp_path).decay == 0.2


def test_a_folder_without_a_recipe_is_no_export(tmp_path):
    with pytest.raises(NotFoundError, match=r"has none; make one with `pathfront export"):
        Recipe.read(tmp_path)


def test_a_new_folder_is_suggested_beside_those_that_exist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new_folder("best") == "best"
    (tmp_path / "best").mkdir()
    (tmp_path / "best-2").mkdir()
    assert new_folder("best") == "best-3"
