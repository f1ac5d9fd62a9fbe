"""Recognise dialled keys, Morse code and tones: log-mel patches in, a word out; experts analyse signals."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from space.records import Sense, Split
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tasks.families.sounds import morse, tones
from trainers.tasks.parts.questions import Question, QuestionKind, QuestionTask, draw_one
from trainers.tokens.audio import audio_patches, log_mel

DIGITS = tuple(str(digit) for digit in range(10))
ORDINALS = ("first", "second")
GLIDES = ("up", "flat", "down")
KEYPAD = ("123", "456", "789", "*0#")
ROWS = (697.0, 770.0, 852.0, 941.0)  # Hz, ITU-T Q.23
COLUMNS = (1209.0, 1336.0, 1477.0)
TONES = tuple(
    next((ROWS[r], COLUMNS[c]) for r in range(4) for c in range(3) if KEYPAD[r][c] == word) for word in DIGITS
)

RATE = 8000
SAMPLES = 2176  # 0.27 s
SHORTEST, LONGEST = 720, 1760  # samples of a tone
DETUNE = 0.03
TWIST = 3.0  # dB between the two tones, at most
NOISE_RATIO = (-14.0, 2.0)  # dB, tones over noise while they sound
BANDS, FRAME, HOP, LIMITS = 32, 256, 128, (300.0, 2000.0)
PATCH_FRAMES = 4

PAIR_SAMPLES = 4224  # 32 frames
LETTER_SAMPLES = 5248  # 40 frames
WORD_SAMPLES = 11904  # 92 frames
UNITS = tuple(range(32, 37))  # steps of an envelope that a unit of Morse code may last
SIDE_TONES = (600.0, 800.0)  # Hz, of receivers of Morse code
SHORT_LETTERS = tuple("adeikmnrstuw")  # three marks at most
WORD_LENGTH = 3
TONE_SAMPLES = (1200, 1900)
INTERVALS = (2.0, 7.0)  # semitones
HIGHEST_STEP = 2 ** (INTERVALS[1] / 12)
LONGER_SAMPLES, SHORTER = (1300.0, 2000.0), (0.3, 0.7)
MOST_BEATS, SHORTEST_BEAT, LONGEST_BEAT = 6, 280, 420
STILL = 120.0  # Hz per second
WAVE_PITCHES = (320.0, 460.0)  # Hz, of which three harmonics are heard too
WAVE_LOUDNESS = (0.0, 10.0)  # dB

GOERTZEL_WINDOW = 720
GOERTZEL_HOP = 104
GOERTZEL_PITCHES = np.linspace(1 - DETUNE, 1 + DETUNE, 9)


class DialledDigits(AnswerTask):
    """Dual tones (DTMF) of varied pitch, length, onset and balance under white noise."""

    name = "dialled-digits"
    family = "sounds"
    domain = "audio"
    modality: Sense = "audio"
    metric = "accuracy"
    unit = "rate"
    expert_name = "Goertzel's algorithm"
    eval_episodes = 256
    num_train_episodes = 24_000

    def example(self, split: Split, index: int) -> Example:
        """Press a random key."""
        rng = self.rng(split, index)
        digit = int(rng.integers(len(DIGITS)))
        sound = dial(digit, rng)
        mel = log_mel(sound, RATE, BANDS, FRAME, HOP, LIMITS)
        return Example(
            patches={"audio": audio_patches(mel, PATCH_FRAMES)},
            answer=DIGITS[digit],
            expert=lambda: DIGITS[digit if split == "train" else hear(sound)],
        )

    def answer(self, split: Split, index: int) -> str:
        """The key, which is drawn before its sound."""
        return DIGITS[int(self.rng(split, index).integers(len(DIGITS)))]

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right digit."""
        return exact_match(answer, right)


def dial(digit: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a key, (SAMPLES,), with noise of variance 1."""
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    onset = int(rng.integers(SAMPLES - length + 1))
    time = np.arange(length) / RATE
    frequencies = np.array(TONES[digit]) * rng.uniform(1 - DETUNE, 1 + DETUNE)
    twist = 10 ** (rng.uniform(-TWIST, TWIST) / 40 * np.array([1, -1]))
    phases = rng.uniform(0, 2 * np.pi, 2)
    tones = (twist[:, None] * np.sin(2 * np.pi * frequencies[:, None] * time + phases[:, None])).sum(0)
    sound = rng.standard_normal(SAMPLES)
    sound[onset : onset + length] += tones * 10 ** (rng.uniform(*NOISE_RATIO) / 20)
    return sound


def hear(sound: np.ndarray) -> int:
    """Which key sounds: the strongest pair of tones over all windows and pitches (Goertzel 1958)."""
    windows = np.lib.stride_tricks.sliding_window_view(sound, GOERTZEL_WINDOW)[::GOERTZEL_HOP]
    low = goertzel(windows, np.outer(ROWS, GOERTZEL_PITCHES).ravel())
    high = goertzel(windows, np.outer(COLUMNS, GOERTZEL_PITCHES).ravel())
    shape = (len(windows), -1, len(GOERTZEL_PITCHES))
    pairs = low.reshape(shape)[:, :, None] + high.reshape(shape)[:, None]  # (windows, rows, columns, pitches)
    power = pairs.max(axis=(0, 3))
    strength = [power[ROWS.index(row), COLUMNS.index(column)] for row, column in TONES]
    return int(np.argmax(strength))


def goertzel(windows: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    """Power of each frequency in Hz in each window, (windows, samples) -> (windows, frequencies)."""
    factor = 2 * np.cos(2 * np.pi * frequencies / RATE)
    last = before = np.zeros((len(windows), len(frequencies)))
    for sample in windows.T * _window(windows.shape[1])[:, None]:
        last, before = sample[:, None] + factor * last - before, last
    return last**2 + before**2 - factor * last * before


@cache
def _window(size: int) -> np.ndarray:
    return np.hanning(size)


@dataclass(frozen=True)
class SoundQuestion(Question):
    """A question on a sound.

    Attributes:
        sound: makes it, (samples,), with all that varies in it and does not matter.
        listen: the expert: the sound -> its answer.
    """

    sound: Callable[[np.random.Generator], np.ndarray]
    listen: Callable[[np.ndarray], str]


class SoundTask(QuestionTask[SoundQuestion]):
    """Questions on sounds under noise; each sound has new noise, so splits share no sound.

    The expert of the training questions knows their answers; that of the others hears them.
    """

    family = "sounds"
    domain = "audio"
    modality: Sense = "audio"

    def show(self, question: SoundQuestion, split: Split, rng: np.random.Generator) -> Example:
        """Make the sound."""
        sound = question.sound(rng)
        mel = log_mel(sound, RATE, BANDS, FRAME, HOP, LIMITS)
        return Example(
            question.answer,
            lambda: question.answer if split == "train" else question.listen(sound),
            prompt=question.prompt,
            patches={"audio": audio_patches(mel, PATCH_FRAMES)},
        )


def ask_pair(rng: np.random.Generator) -> SoundQuestion:
    """Which two keys are dialled, one after the other."""
    first, second = rng.integers(len(DIGITS), size=2).tolist()

    def sound(rng: np.random.Generator) -> np.ndarray:
        return np.concatenate([dial(first, rng), dial(second, rng)])[:PAIR_SAMPLES]

    return SoundQuestion("dial", f"{first} {second}", sound, hear_pair)


def hear_pair(sound: np.ndarray) -> str:
    """Two keys by Goertzel's algorithm, each in its own half."""
    return " ".join(DIGITS[hear(half)] for half in (sound[:SAMPLES], sound[SAMPLES:]))


def ask_letter(rng: np.random.Generator) -> SoundQuestion:
    """Which letter is keyed in Morse code."""
    letter = draw_one(rng, morse.LETTERS)
    return SoundQuestion("morse", letter, partial(keyed, letter, LETTER_SAMPLES), partial(read_morse, 1))


def ask_word(rng: np.random.Generator) -> SoundQuestion:
    """Which three short letters are keyed in Morse code."""
    word = "".join(draw_one(rng, SHORT_LETTERS) for _ in range(WORD_LENGTH))
    listen = partial(read_morse, WORD_LENGTH, letters=SHORT_LETTERS)
    return SoundQuestion("morse", " ".join(word), partial(keyed, word, WORD_SAMPLES), listen)


def keyed(word: str, samples: int, rng: np.random.Generator) -> np.ndarray:
    """A word in Morse code, of varied pitch, speed, onset and loudness, (samples,)."""
    unit = tones.STEP * int(rng.choice(UNITS))
    down = np.repeat(morse.key_word(word), unit)
    pitch = float(rng.uniform(*SIDE_TONES))
    tone = tones.tone(np.full(len(down), pitch), rng) * down * tones.draw_gain(rng)
    return tones.in_noise([(int(rng.integers(samples - len(down) + 1)), tone)], samples, rng)


def read_morse(count: int, sound: np.ndarray, letters: tuple[str, ...] = morse.LETTERS) -> str:
    """The likeliest letters of a sound, with spaces between them."""
    return " ".join(morse.read(tones.evidence(_levels(sound)), UNITS, letters, count))


def ask_higher(rng: np.random.Generator) -> SoundQuestion:
    """Which of two tones is higher."""
    low = tones.draw_pitch(rng, HIGHEST_STEP)
    pair = [low, low * 2 ** (rng.uniform(*INTERVALS) / 12)]
    answer = int(rng.integers(2))
    pitches = pair[::-1] if answer == 0 else pair

    def sound(rng: np.random.Generator) -> np.ndarray:
        gain = tones.draw_gain(rng)
        beeps = [
            tones.tone(np.full(int(rng.integers(*TONE_SAMPLES)), pitch), rng) * gain for pitch in pitches
        ]
        return _halves(beeps, rng)

    return SoundQuestion("higher", ORDINALS[answer], sound, hear_higher)


def hear_higher(sound: np.ndarray) -> str:
    """Compare the peaks of the spectra of both halves."""
    first, second = (tones.peak(half, TONE_SAMPLES[0]) for half in np.split(sound, 2))
    return ORDINALS[int(second > first)]


def ask_longer(rng: np.random.Generator) -> SoundQuestion:
    """Which of two tones of one pitch is longer."""
    longer = float(rng.uniform(*LONGER_SAMPLES))
    pair = [int(longer), int(longer * rng.uniform(*SHORTER))]
    answer = int(rng.integers(2))
    lengths = pair if answer == 0 else pair[::-1]

    def sound(rng: np.random.Generator) -> np.ndarray:
        pitch, gain = tones.draw_pitch(rng), tones.draw_gain(rng)
        return _halves([tones.tone(np.full(n, pitch), rng) * gain for n in lengths], rng)

    return SoundQuestion("longer", ORDINALS[answer], sound, hear_longer)


def hear_longer(sound: np.ndarray) -> str:
    """Compare the likeliest intervals of a tone in the two halves of the envelope."""
    first, second = np.split(tones.evidence(_levels(sound)), [len(_levels(sound)) // 2])
    return ORDINALS[int(tones.longest_run(second) > tones.longest_run(first))]


def ask_beats(rng: np.random.Generator) -> SoundQuestion:
    """How many beeps sound, one to `MOST_BEATS`."""
    number = int(rng.integers(1, MOST_BEATS + 1))
    return SoundQuestion("beeps", str(number), partial(beats, number), hear_beats)


def beats(number: int, rng: np.random.Generator) -> np.ndarray:
    """Beeps of one length and pitch with gaps of at least `SHORTEST_BEAT`, (LETTER_SAMPLES,)."""
    length = int(rng.integers(SHORTEST_BEAT, LONGEST_BEAT + 1))
    slack = LETTER_SAMPLES - number * (length + SHORTEST_BEAT)
    onsets = np.sort(rng.integers(slack + 1, size=number)) + np.arange(number) * (length + SHORTEST_BEAT)
    pitch, gain = tones.draw_pitch(rng), tones.draw_gain(rng)
    beeps = [(int(onset), tones.tone(np.full(length, pitch), rng) * gain) for onset in onsets]
    return tones.in_noise(beeps, LETTER_SAMPLES, rng)


def hear_beats(sound: np.ndarray) -> str:
    """Count how often a tone begins on the likeliest path through the envelope."""
    return str(tones.runs(tones.evidence(_levels(sound)), SHORTEST_BEAT * 3 // 4 // tones.STEP))


def ask_glide(rng: np.random.Generator) -> SoundQuestion:
    """Whether a tone goes up, goes down or stays."""
    answer = draw_one(rng, GLIDES)
    sign = 1 - GLIDES.index(answer)

    def sound(rng: np.random.Generator) -> np.ndarray:
        length = int(rng.integers(*TONE_SAMPLES))
        middle = tones.draw_pitch(rng, HIGHEST_STEP) * HIGHEST_STEP**0.5
        half = 2 ** (sign * rng.uniform(*INTERVALS) / 24)
        part = tones.tone(np.linspace(middle / half, middle * half, length), rng) * tones.draw_gain(rng)
        return tones.in_noise([(int(rng.integers(SAMPLES - length + 1)), part)], SAMPLES, rng)

    return SoundQuestion("glide", answer, sound, hear_glide)


def hear_glide(sound: np.ndarray) -> str:
    """Undo glides of all rates (dechirping)."""
    rate = tones.glide(sound)
    return GLIDES[1 if abs(rate) < STILL else 0 if rate > 0 else 2]


def ask_wave(rng: np.random.Generator) -> SoundQuestion:
    """Whether a tone is a sine, a square or a sawtooth wave."""
    shape = draw_one(rng, tuple(tones.WAVES))

    def sound(rng: np.random.Generator) -> np.ndarray:
        length = int(rng.integers(*TONE_SAMPLES))
        part = tones.wave(float(rng.uniform(*WAVE_PITCHES)), length, shape, rng)
        onset = int(rng.integers(SAMPLES - length + 1))
        return tones.in_noise([(onset, part * tones.draw_gain(rng, WAVE_LOUDNESS))], SAMPLES, rng)

    return SoundQuestion("wave", shape, sound, hear_wave)


def hear_wave(sound: np.ndarray) -> str:
    """The wave form whose harmonics are nearest to those of the sound."""
    heard = tones.harmonics(sound, TONE_SAMPLES[0], WAVE_PITCHES)
    return min(tones.WAVES, key=lambda shape: float(np.abs(heard - tones.WAVES[shape]).sum()))


def _levels(sound: np.ndarray) -> np.ndarray:
    """The envelope of the tone that is switched on and off in a sound."""
    return tones.envelope(sound, tones.carrier(sound))


def _halves(beeps: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Two beeps under noise, somewhere in their halves, (PAIR_SAMPLES,)."""
    half = PAIR_SAMPLES // 2
    onsets = [i * half + int(rng.integers(half - len(beep) + 1)) for i, beep in enumerate(beeps)]
    return tones.in_noise(list(zip(onsets, beeps, strict=True)), PAIR_SAMPLES, rng)


LEVELS = (
    QuestionKind("dialled-pairs", ask_pair, ("0 0",), variant=True, expert="Goertzel's algorithm"),
    QuestionKind("morse-letters", ask_letter, morse.LETTERS, expert="maximum likelihood"),
    QuestionKind(
        "morse-words",
        ask_word,
        tuple(" ".join([letter] * WORD_LENGTH) for letter in SHORT_LETTERS),
        variant=True,
        expert="maximum likelihood",
        num_train_episodes=8000,
    ),
    QuestionKind("tone-order", ask_higher, ORDINALS, expert="spectral peaks"),
    QuestionKind("tone-length", ask_longer, ORDINALS, expert="envelope"),
    QuestionKind("beat-count", ask_beats, DIGITS[1 : MOST_BEATS + 1], expert="envelope"),
    QuestionKind("tone-glide", ask_glide, GLIDES, expert="dechirping"),
    QuestionKind("tone-wave", ask_wave, tuple(tones.WAVES), expert="harmonics"),
)
TASKS = {"dialled-digits": DialledDigits, **{level.name: partial(SoundTask, level) for level in LEVELS}}
