"""What a caller's own environment or question becomes is what the task's own session shows."""

import numpy as np
import pytest

from space.catalog import load_catalog
from space.errors import StudyFileError
from trainers.tasks.families import sounds
from trainers.tasks.families.images import load_scans
from trainers.tasks.families.shapes import draw_scene_of, render
from trainers.tasks.families.sounds.tasks import DIGITS, dial
from trainers.tasks.families.tabular import rows_of
from trainers.tasks.interface import ControlInterface, QuestionInterface
from trainers.tasks.registry import load_task

CONTROL = [
    "cartpole",
    "mountain-car-continuous",
    "inverted-double-pendulum",  # shows some of what the environment observes
    "lunar-lander",
    "dm-pendulum-swingup",
    "dm-reacher-hard",
    "metaworld-reach",
    "metaworld-faucet-close",
    "babyai-goto-redball-grey",
    "minigrid-door-key-5x5",
    "taxi",
    "taxi-rainy",
    "frozen-lake",
    "frozen-lake-maps",
    "blackjack",
]
STEPS = 5


@pytest.fixture(scope="module")
def suite():
    return load_catalog().suite("gato")


def raw(session):
    """What the environment of a session observes, as the environment itself gives it."""
    if hasattr(session, "sight"):
        return session.sight
    if hasattr(session, "deal"):
        return session.deal.total, session.deal.shown, session.deal.usable
    if hasattr(session, "world"):
        return session.world.fields[session.state]
    return session._seen_now if hasattr(session, "_seen_now") else session.state


def same(one, other):
    for name in ("tokens", "local", "scored", "starts"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.placeholders == other.placeholders
    for name, patches in one.patches.items():
        np.testing.assert_array_equal(patches, other.patches[name])


@pytest.mark.parametrize("name", CONTROL)
def test_observations_of_an_environment_become_the_tokens_that_its_session_shows(name, suite):
    task = load_task(name, suite)
    control, session = ControlInterface(task), task.session("report", 3)
    assert control.limit == session.limit
    for step in range(STEPS):
        shown = session.observe()
        same(control.observed(raw(session), first=step == 0), shown)
        taken = session.expert()
        np.testing.assert_array_equal(control.ids(control.action(taken)), taken)
        if session.act(taken):
            break


@pytest.mark.parametrize("name", CONTROL)
def test_what_is_no_observation_of_the_task_is_refused_in_one_line(name, suite):
    control = ControlInterface(load_task(name, suite))
    for wrong in (
        np.zeros(57),
        "left",
        None,
        [[1], [2, 3]],
        {"image": np.zeros((5, 5, 3))},
        np.full(4, np.nan),
    ):
        with pytest.raises(StudyFileError, match=f"task '{name}' observes") as caught:
            control.observed(wrong, first=True)
        assert "\n" not in str(caught.value)


def test_a_state_of_gymnasium_stands_for_its_fields(suite):
    task = load_task("taxi", suite)
    session = task.session("report", 0)
    same(ControlInterface(task).observed(session.state, first=True), session.observe())


def scene(task, index):
    rng = task.rng("report", index)
    return {"image": render(draw_scene_of("report", rng), rng)}


def scenes(task, index):
    rng = task.rng("report", index)
    question = task.draw("report", rng)
    return {"text": question.prompt, "image": [render(scene, rng) for scene in question.scenes]}


def key(task, index):
    rng = task.rng("report", index)
    return {"audio": dial(int(rng.integers(len(DIGITS))), rng)}


def sound(task, index):
    rng = task.rng("report", index)
    question = task.draw("report", rng)
    return {"text": question.prompt, "audio": question.sound(rng)}


QUESTIONS = {
    "digits": lambda task, index: {"image": load_scans("report").images[index]},
    "shape-captions": scene,
    "shape-match": scenes,
    "dialled-digits": key,
    "tone-order": sound,
    "wine": lambda task, index: {"features": rows_of(task.table, "report").features[index]},
    "diabetes": lambda task, index: {"features": rows_of(task.table, "report").features[index]},
    "symbols-addition": lambda task, index: {"text": task.example("report", index).prompt},
}


def ask(question, text="", image=None, audio=None, features=None):
    return question.question(text, image, audio, features)


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_parts_of_a_question_become_the_tokens_that_its_session_shows(name, suite):
    task = load_task(name, suite)
    question = QuestionInterface(task)
    for index in range(3):
        session = task.session("report", index)
        parts = QUESTIONS[name](task, index)
        same(ask(question, **parts), session.observe())
        said = question.answer(session.expert())
        assert said == task.tokenizer.decode(session.expert()) if isinstance(said, str) else said > 0


def test_images_may_be_whole_numbers_and_sounds_log_mel(suite):
    task = load_task("digits", suite)
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    same(ask(QuestionInterface(task), image=pixels), ask(QuestionInterface(task), image=pixels / 255))
    mel = np.zeros((16, sounds.tasks.BANDS))
    assert len(ask(QuestionInterface(load_task("dialled-digits", suite)), audio=mel).patches["audio"]) == 4


@pytest.mark.parametrize(
    ("name", "parts", "message"),
    [
        ("digits", {}, "is asked with image"),
        ("digits", {"text": "which", "image": np.zeros((8, 8))}, "is asked with image, and nothing else"),
        ("digits", {"image": np.zeros((9, 9))}, "images .* of sides that 8 divides, got float64 of shape"),
        ("digits", {"image": np.zeros((16, 16))}, "1 patches of image, got 4"),
        ("digits", {"image": np.full((8, 8), 7.0)}, r"floats in \[0, 1\]"),
        ("shape-kind", {"image": np.zeros((16, 16))}, "is asked with text and image"),
        ("dialled-digits", {"audio": np.zeros(100)}, "float samples"),
        ("wine", {"features": np.zeros(4)}, r"numbers of shape \(13,\), got float64 of shape \(4,\)"),
        ("wine", {"text": "which"}, "is asked with features"),
    ],
)
def test_a_question_that_the_task_does_not_ask_is_refused_in_one_line(name, parts, message, suite):
    with pytest.raises(StudyFileError, match=message) as caught:
        ask(QuestionInterface(load_task(name, suite)), **parts)
    assert "\n" not in str(caught.value)


def test_each_kind_of_task_is_used_in_its_own_way(suite):
    with pytest.raises(StudyFileError, match="act: task 'digits' is not one of control"):
        ControlInterface(load_task("digits", suite))
    with pytest.raises(StudyFileError, match="answer: task 'cartpole' is not one of questions"):
        QuestionInterface(load_task("cartpole", suite))
    for name in ("python-docs", "diabetes"):
        with pytest.raises(StudyFileError, match="is not one of control"):
            ControlInterface(load_task(name, suite))
