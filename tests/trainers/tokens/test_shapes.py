"""Arrays that go in and out of tokens have the shapes and types that the signatures state."""

import inspect
from dataclasses import fields

import numpy as np
import pytest
from jaxtyping import AbstractArray, jaxtyped

from trainers.tasks.episodes import PatchStore
from trainers.tokens import audio, image, sequence, values
from trainers.tokens.vocabulary import Vocabulary

VOCABULARY = Vocabulary(text=8, bins=16, discrete=4, encoders=("image",))
LINEAR = values.Linear(-2.0, 2.0)
SOUND = np.sin(np.arange(2176) / 3)
FLOATS, BINS = np.linspace(-1, 1, 6).reshape(2, 3), np.arange(6).reshape(2, 3)
PIXELS = np.random.default_rng(0).random((2, 192)).astype(np.float32)
CALLS = [
    (image.image_patches, (np.zeros((16, 24, 3)), 8)),
    (audio.log_mel, (SOUND, 8000, 8, 256, 128, (300.0, 2000.0))),
    (audio.audio_patches, (np.zeros((8, 4), np.float32), 4)),
    (values.encode, (FLOATS, 16, LINEAR)),
    (values.encode, (np.full(5, 0.5), 16, values.MuLaw())),
    (values.decode, (BINS, 16, LINEAR)),
    (LINEAR.squash, (FLOATS,)),
    (values.MuLaw().expand, (FLOATS,)),
    (VOCABULARY.continuous_ids, (BINS,)),
    (VOCABULARY.continuous_bins, (BINS + 8,)),
    (VOCABULARY.discrete_ids, (BINS % 4,)),
    (VOCABULARY.discrete_values, (BINS % 4 + 24,)),
    (sequence.action_local, (sequence.text([1, 2], scored=True), 3)),
    (PatchStore.of(PIXELS).rows, (np.array([1, 0, 1]),)),
]


def check(function, arguments, result):
    """Compare array arguments and the result with the annotations, dimensions by name."""
    signature = inspect.signature(function)
    bound = signature.bind(*arguments).arguments
    with jaxtyped("context"):
        for name, value in bound.items():
            stated = signature.parameters[name].annotation
            if isinstance(stated, type) and issubclass(stated, AbstractArray):
                assert isinstance(value, stated), (function, name)
        assert isinstance(result, signature.return_annotation), function


@pytest.mark.parametrize(("function", "arguments"), CALLS, ids=lambda value: getattr(value, "__name__", None))
def test_results_have_the_stated_shape(function, arguments):
    result = function(*arguments)
    check(function, arguments, result)
    with pytest.raises(AssertionError):
        check(function, arguments, np.zeros((1, 2, 3, 4, 5, 6, 7), dtype=bool))


def test_the_fields_of_a_chunk_have_one_length():
    seen = sequence.observation(VOCABULARY, prompt=[1, 2], patches={"image": PIXELS}, ids=[9, 10])
    for chunk in (
        seen,
        seen.slice(1, 4),
        sequence.Chunk.concat([seen, seen]),
        sequence.text([], scored=True),
    ):
        with jaxtyped("context"):
            for field in fields(chunk)[:4]:
                assert isinstance(getattr(chunk, field.name), field.type), field.name
