"""Morse code: how it is keyed, and how it is read from the evidence for a tone over time.

The code is that of ITU-R M.1677: a dash lasts three units, a gap within a letter one, between letters three.
"""

from functools import cache

import numpy as np

CODE = {
    "a": ".-",
    "b": "-...",
    "c": "-.-.",
    "d": "-..",
    "e": ".",
    "f": "..-.",
    "g": "--.",
    "h": "....",
    "i": "..",
    "j": ".---",
    "k": "-.-",
    "l": ".-..",
    "m": "--",
    "n": "-.",
    "o": "---",
    "p": ".--.",
    "q": "--.-",
    "r": ".-.",
    "s": "...",
    "t": "-",
    "u": "..-",
    "v": "...-",
    "w": ".--",
    "x": "-..-",
    "y": "-.--",
    "z": "--..",
}
LETTERS = tuple(CODE)
GAP = 3  # units between letters


@cache
def key(letter: str) -> np.ndarray:
    """Whether the key is down in each unit of a letter, (units,) bool."""
    marks = [[True] * (1 if mark == "." else 3) for mark in CODE[letter]]
    return np.array([down for mark in marks for down in (*mark, False)][:-1])


def key_word(word: str) -> np.ndarray:
    """Whether the key is down in each unit of a word, (units,) bool."""
    parts = [part for letter in word for part in (key(letter), np.zeros(GAP, dtype=bool))]
    return np.concatenate(parts[:-1])


def read(for_tone: np.ndarray, units: tuple[int, ...], letters: tuple[str, ...], count: int) -> str:
    """The likeliest word of `count` letters.

    The likelihood of a word is the sum of evidence while its key is down; the best one over all speeds and
    onsets comes from its last letter backwards (dynamic programming).

    Args:
        for_tone: evidence for a tone, positive or negative, over time.
        units: lengths that a unit may have, in values of the evidence.
        letters: what a letter may be.
        count: letters in the word.
    """
    sums = np.concatenate([[0.0], np.cumsum(for_tone)])
    best, word = -np.inf, ""
    for unit in units:
        totals = np.zeros(len(sums))  # of the letters from each time on
        words = np.full(len(sums), "", dtype=f"<U{count}")
        for _ in range(count):
            totals, words = _prepend(sums, unit, letters, totals, words)
        start = int(np.argmax(totals))
        if totals[start] > best:
            best, word = float(totals[start]), str(words[start])
    return word


def _prepend(
    sums: np.ndarray, unit: int, letters: tuple[str, ...], totals: np.ndarray, words: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The best letter that may begin at each time before the best of what follows it."""
    times = np.arange(len(sums))
    last = len(sums) - 1
    best = np.full(len(sums), -np.inf)
    chosen = np.full_like(words, "")
    for letter in letters:
        down = key(letter)
        edges = np.minimum(times[:, None] + unit * np.arange(len(down) + 1), last)  # (times, units + 1)
        following = np.minimum(edges[:, -1] + unit * GAP, last)
        whole = np.diff(sums[edges], axis=1)[:, down].sum(axis=1) + totals[following]
        whole[edges[:, -1] >= last] = -np.inf
        better = whole > best
        best = np.where(better, whole, best)
        chosen = np.where(better, np.char.add(letter, words[following]), chosen)
    return best, chosen
