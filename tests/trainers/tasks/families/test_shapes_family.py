"""Questions on drawn shapes have the answers that the scenes give."""

from collections import Counter

import numpy as np
import pytest

from trainers.tasks.families import shapes
from trainers.tasks.registry import load_task

MANY = 200


def _questions(ask):
    rng = np.random.default_rng(0)
    return [ask(rng) for _ in range(MANY)]


def _one(scene, **wanted):
    (thing,) = (t for t in scene if all(getattr(t, field) == value for field, value in wanted.items()))
    return thing


def test_colours_and_shapes_and_places_are_those_of_the_thing_that_is_named():
    for question in _questions(shapes.ask_colour):
        assert _one(question.scenes[0], shape=question.prompt.split()[-1]).colour == question.answer
    for question in _questions(shapes.ask_shape):
        assert _one(question.scenes[0], colour=question.prompt.split()[-1]).shape == question.answer
    for question in _questions(shapes.ask_quarter):
        colour, shape = question.prompt.split()[-2:]
        quarter = _one(question.scenes[0], colour=colour, shape=shape).quarter
        assert shapes.QUARTERS[quarter] == question.answer


def test_things_are_counted():
    questions = _questions(shapes.ask_count)
    for question in questions:
        counted = question.prompt.split()[-1]
        assert sum(counted in thing for thing in question.scenes[0]) == int(question.answer)
    assert min(Counter(question.answer for question in questions).values()) > MANY / 5 / 2


def test_relations_are_those_of_the_places():
    for question in _questions(shapes.ask_relation):
        words = question.prompt.split()
        first, second = (
            _one(question.scenes[0], colour=words[i], shape=words[i + 1]).quarter for i in (2, 5)
        )
        down, right = second // 2 - first // 2, second % 2 - first % 2
        told = {1: "above", -1: "below"}.get(down) or {1: "left", -1: "right"}[right]
        assert told == question.answer


def test_yes_means_that_it_is_there():
    for question in _questions(shapes.ask_yes_no):
        asked = tuple(question.prompt.split()[-2:])
        kinds = [(thing.colour, thing.shape) for thing in question.scenes[0]]
        assert (asked in kinds) == (question.answer == "yes")
        assert asked[0] in sum(kinds, ()) or asked[1] in sum(kinds, ())


def test_only_one_picture_matches_its_caption():
    for question in _questions(shapes.ask_match):
        caption = question.prompt.removeprefix("which is ")
        described = [shapes.describe(scene) for scene in question.scenes]
        assert described.index(caption) == shapes.ORDINALS.index(question.answer)
        kinds = [sorted((thing.colour, thing.shape) for thing in scene) for scene in question.scenes]
        assert kinds[0] != kinds[1]


def test_one_thing_differs_and_two_share_what_is_said():
    for question in _questions(shapes.ask_odd):
        kinds = Counter((thing.colour, thing.shape) for thing in question.scenes[0])
        assert sorted(kinds.values()) == [1, 3]
        odd = question.scenes[0][shapes.QUARTERS.index(question.answer)]
        assert kinds[odd.colour, odd.shape] == 1
    for question in _questions(shapes.ask_same):
        first, second = question.scenes[0]
        shared = (first.colour == second.colour, first.shape == second.shape)
        told = {(True, False): "colour", (False, True): "shape", (True, True): "both"}
        assert told.get(shared, "neither") == question.answer


@pytest.mark.parametrize("name", [name for name in shapes.TASKS if name != "shape-captions"])
def test_a_split_shows_its_own_scenes_only(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer, 10)
    for split in ("train", "select", "report"):
        for index in range(20):
            question = task.draw(split, task.rng(split, index))
            assert {shapes.scene_split(scene) for scene in question.scenes} == {split}
            patches = task.example(split, index).patches["image"]
            assert len(patches) == 4 * len(question.scenes)
