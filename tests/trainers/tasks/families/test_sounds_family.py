"""Signals are made as they should be, and the experts measure them."""

import numpy as np
import pytest

from trainers.tasks.families.sounds import morse, tones
from trainers.tasks.families.sounds import tasks as sounds
from trainers.tasks.registry import load_task


def test_letters_are_keyed_as_the_standard_says():
    assert morse.key("a").tolist() == [True, False, True, True, True]
    assert len(morse.key_word("paris")) == 43  # 50 with the gap between words, by which speed is defined
    assert len(morse.CODE) == len(set(morse.CODE.values())) == 26


@pytest.mark.parametrize("word", ["e", "t", "q", "sun", "eee"])
def test_a_word_is_read_back_from_clean_evidence(word):
    down = np.repeat(morse.key_word(word), sounds.UNITS[1])
    for_tone = np.concatenate([np.full(70, -1.0), np.where(down, 1.0, -1.0), np.full(40, -1.0)])
    assert morse.read(for_tone, sounds.UNITS, morse.LETTERS, len(word)) == word


def test_evidence_divides_two_levels():
    levels = np.repeat([0.1, 0.9, 0.1], [30, 20, 50])
    for_tone = tones.evidence(levels)
    assert for_tone == pytest.approx(np.where(levels > 0.5, 0.4, -0.4))
    assert tones.longest_run(for_tone) == 20


@pytest.mark.parametrize("number", [0, 1, 3])
def test_tones_are_counted_without_their_flicker(number):
    beats = np.concatenate([[-1.0] * 20, *[[1.0] * 20 + [-1.0] * 20] * number])
    beats[25::40] *= -1  # a gap within each beat, and nothing but one value long
    assert tones.runs(beats, 10) == number


@pytest.mark.parametrize("frequency", [480.0, 777.0, 1350.0])
def test_pitch_is_measured(frequency):
    rng = np.random.default_rng(0)
    tone = tones.tone(np.full(1600, frequency), rng)
    sound = tones.in_noise([(300, tone)], 2200, rng)
    assert tones.peak(sound, 1200) == pytest.approx(frequency, abs=5)
    assert tones.carrier(sound) == pytest.approx(frequency, abs=10)


@pytest.mark.parametrize("rate", [-1500.0, 0.0, 600.0])
def test_a_glide_is_measured(rate):
    rng = np.random.default_rng(0)
    time = np.arange(1600) / tones.RATE
    sound = tones.in_noise([(200, tones.tone(800 + rate * time, rng))], sounds.SAMPLES, rng)
    assert tones.glide(sound) == pytest.approx(rate, abs=100)


@pytest.mark.parametrize("shape", tones.WAVES)
def test_waves_have_unit_power_and_their_harmonics(shape):
    rng = np.random.default_rng(0)
    wave = tones.wave(400.0, 2000, shape, rng)
    assert wave.var() == pytest.approx(1, rel=0.01)
    assert tones.harmonics(wave, 1200, (320.0, 460.0)) == pytest.approx(tones.WAVES[shape], abs=0.05)


@pytest.mark.parametrize("name", [name for name in sounds.TASKS if name != "dialled-digits"])
def test_experts_hear_nearly_everything(name, quick, tokenizer):
    task = load_task(name, quick, tokenizer, 10)
    count = 12 if name == "morse-words" else 30
    assert task.score(task.expert_policy()[1], "report", count).mean() > 0.85
    question = task.example("train", 0)
    assert question.expert() == question.answer
