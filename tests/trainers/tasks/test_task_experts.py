"""Each expert is what it is said to be, and each environment is stepped as its authors step it."""

import numpy as np
import pytest
from gymnasium.envs.toy_text.taxi import TaxiEnv

from trainers.tasks.answers import exact_match, token_f1
from trainers.tasks.families import images, shapes
from trainers.tasks.families.shapes import DrawnShape
from trainers.tasks.families.sounds import tasks as sounds
from trainers.tasks.families.toy_text import tasks as toy_text
from trainers.tasks.registry import load_task


def test_value_iteration_delivers_every_passenger_in_the_shortest_time():
    env = TaxiEnv()
    distance = {}  # breadth-first from deliveries backwards, by the environment's own transitions
    frontier = {s for s in env.P for a in env.P[s] if env.P[s][a][0][3]}
    steps = 1
    while frontier:
        distance.update(dict.fromkeys(frontier, steps))
        steps += 1
        frontier = {s for s in env.P if s not in distance for a in env.P[s] if env.P[s][a][0][1] in distance}
    longest, (_, policy) = 0, toy_text.world_of(toy_text.FAIR)
    for start in np.concatenate([toy_text.start_states(split) for split in toy_text.SPLIT_SIZES]):
        state, taken, over = int(start), 0, False
        while not over:
            _, state, _, over = env.P[state][int(policy[state])][0]
            taken += 1
        assert taken == distance[int(start)]
        longest = max(longest, taken)
    assert longest < toy_text.LIMIT


def test_taxi_splits_share_all_300_starts():
    starts = [set(toy_text.start_states(split).tolist()) for split in toy_text.SPLIT_SIZES]
    assert [len(s) for s in starts] == list(toy_text.SPLIT_SIZES.values())
    assert set.union(*starts) == set(np.flatnonzero(TaxiEnv().initial_state_distrib).tolist())
    assert sum(map(len, starts)) == 300


def test_the_regulator_saves_the_pole_for_all_500_timesteps(quick, tokenizer):
    task = load_task("cartpole", quick, tokenizer)
    assert task.score(task.expert_policy()[1], "train", 4).tolist() == [500.0] * 4


def test_goertzel_measures_the_power_of_a_tone():
    time = np.arange(800) / sounds.RATE
    windows = np.sin(2 * np.pi * 770 * time)[None]
    power = sounds.goertzel(windows, np.array([697.0, 770.0, 852.0]))[0]
    spectrum = np.exp(-2j * np.pi * np.outer([697.0, 770.0, 852.0], time)) @ (windows[0] * np.hanning(800))
    assert power == pytest.approx(np.abs(spectrum) ** 2, rel=1e-6, abs=1e-6)
    assert power.argmax() == 1


def test_keys_sound_as_the_standard_says():
    assert sounds.TONES[1] == (697.0, 1209.0)
    assert sounds.TONES[6] == (770.0, 1477.0)
    assert sounds.TONES[0] == (941.0, 1336.0)


def test_goertzel_hears_nearly_every_key():
    heard = []
    for index in range(60):
        rng = np.random.default_rng(index)
        heard.append(sounds.hear(sounds.dial(index % 10, rng)) == index % 10)
    assert np.mean(heard) > 0.9


def test_training_varies_a_scan_after_its_first_round(quick, tokenizer):
    task = load_task("digits", quick, tokenizer)
    count = images.SPLIT_SIZES["train"]
    first, second = (task.example("train", i) for i in (3, 3 + count))
    assert first.answer == second.answer
    assert not np.array_equal(first.patches["image"], second.patches["image"])
    held_out = [task.example("select", i).patches["image"] for i in (3, 3 + images.SPLIT_SIZES["select"])]
    assert np.array_equal(*held_out)


@pytest.mark.parametrize(
    ("scene", "caption"),
    [
        ([DrawnShape(3, "cross", "pink")], "pink cross"),
        ([DrawnShape(0, "circle", "red"), DrawnShape(1, "square", "blue")], "red circle beside blue square"),
        ([DrawnShape(1, "circle", "red"), DrawnShape(2, "square", "blue")], "red circle above blue square"),
        (
            [DrawnShape(2, "triangle", "red"), DrawnShape(3, "cross", "white")],
            "red triangle beside white cross",
        ),
    ],
)
def test_captions_say_what_is_where(scene, caption):
    assert shapes.describe(tuple(scene)) == caption


def test_shapes_are_drawn_where_and_as_they_should_be():
    rng = np.random.default_rng(0)
    picture = shapes.render((DrawnShape(1, "square", "green"),), rng)
    assert picture.shape == (16, 16, 3)
    assert picture[3:5, 11:13, 1].mean() > 0.5
    assert picture[3:5, 11:13, 0].mean() < 0.3
    assert picture[8:].max() < 0.5


def test_answers_are_scored_by_their_words():
    assert token_f1("red circle above blue cross", "red circle above blue cross") == 1.0
    assert token_f1("red circle", "red circle above blue cross") == pytest.approx(4 / 7)
    assert token_f1("red red", "red circle") == 0.5
    assert token_f1("", "red circle") == 0.0
    assert (exact_match(" 7", "7"), exact_match("77", "7")) == (1.0, 0.0)


@pytest.mark.parametrize("name", ["cartpole", "taxi", "babyai-goto-redball-grey", "metaworld-reach"])
def test_slips_stand_in_the_tokens_and_are_no_targets(name, quick, tokenizer, vocabulary):
    task = load_task(name, quick, tokenizer, 12)
    episodes = task.episodes()
    length = task.session("train", 0).spec.length
    acted = sum(int((chunk.tokens == vocabulary.separator).sum()) for chunk in episodes) * length
    scored = sum(int(chunk.scored.sum()) for chunk in episodes)
    assert 0.5 * acted < scored < acted
