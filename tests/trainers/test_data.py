import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from toys import ToyTask, toy_suite

from space.errors import TaskError
from space.mixture import TaskMixture
from trainers import data
from trainers.data import Corpus, Mixer
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary


@pytest.fixture
def corpora(suite):
    return {name: Corpus.of(name, ToyTask(name, suite).episodes()) for name in suite.tasks}


def mixer(corpora, suite, seed=0, **weights):
    mixture = TaskMixture.of(weights) if weights else TaskMixture.uniform(suite.tasks)
    return Mixer(corpora, mixture, suite, seed)


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, int):
        return a == b
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return all(same(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_is_a_function_of_seed_and_step(corpora, suite):
    first, again = mixer(corpora, suite), mixer(corpora, suite)
    first.batch(3)
    assert same(first.batch(7), again.batch(7))
    assert not same(first.batch(7), first.batch(8))
    assert not same(first.batch(7), mixer(corpora, suite, seed=1).batch(7))


def test_a_copy_for_another_process_reads_its_data_there(corpora, suite, monkeypatch):
    copy = pickle.loads(pickle.dumps(mixer(corpora, suite)))
    monkeypatch.setattr(data, "load_corpora", lambda _: corpora)
    assert same(copy.batch(2), mixer(corpora, suite).batch(2))


@pytest.mark.parametrize(
    "weights", [{"echo": 1, "spell": 1, "read": 1}, {"echo": 0.61, "spell": 0.02, "read": 0.37}]
)
def test_shares_are_the_mixture(corpora, suite, weights):
    mixed = mixer(corpora, suite, **weights)
    drawn = mixed.schedule(np.arange(1000))
    share = np.array([weights[name] for name in suite.tasks]) / sum(weights.values())
    for step in (10, 100, 1000):
        counts = np.bincount(drawn[:step].ravel(), minlength=3)
        assert np.abs(counts - share * step * mixed.num_sequences).max() < 4
    each = np.stack([(drawn == task).sum(axis=1) for task in range(3)])
    exact = share[:, None] * mixed.num_sequences
    assert (each >= np.floor(exact) - 1).all()
    assert (each <= np.ceil(exact) + 1).all()


def test_epochs_are_tokens_drawn_over_tokens_there(corpora, suite):
    mixed = mixer(corpora, suite, echo=1, spell=1, read=1)
    epochs = mixed.epochs(100)
    drawn = sum(epochs[name] * len(corpora[name]) for name in suite.tasks)
    assert drawn == pytest.approx(100 * mixed.step_tokens)


def test_windows_are_runs_of_episodes_from_a_start(corpora):
    corpus = corpora["echo"]
    rng = np.random.default_rng(0)
    for _ in range(200):
        index, segment = corpus.window(rng, 25)
        assert len(index) == len(segment) == 25
        assert index[0] in corpus.starts
        cuts = np.flatnonzero(np.diff(segment)) + 1
        assert set(index[cuts]) <= set(corpus.episodes.offsets)
        assert set(index[cuts - 1] + 1) <= set(corpus.episodes.offsets)
        assert (np.diff(index)[np.diff(segment) == 0] == 1).all()


def test_targets_are_the_next_scored_tokens_of_the_same_segment(corpora, suite):
    vocabulary = Vocabulary.of(suite)
    low, high = vocabulary.choices(4)
    mixed = mixer(corpora, suite, echo=1)
    for step in range(20):
        batch = mixed.batch(step)
        assert batch.tokens.shape == (8, 24)
        assert ((batch.targets >= low) & (batch.targets < high)).all()
        tokens, segment = batch.tokens.flatten(), batch.segment.flatten()
        inside = (batch.at + 1) % 24 != 0
        after = batch.at[inside] + 1
        assert torch.equal(tokens[after], batch.targets[inside])
        assert torch.equal(segment[after], segment[batch.at[inside]])


def test_each_patch_stands_at_its_placeholder(corpora, suite):
    vocabulary = Vocabulary.of(suite)
    mixed = mixer(corpora, suite)
    for step in range(20):
        batch = mixed.batch(step)
        at, pixels = batch.patches["image"]
        placeholders = (batch.tokens.flatten() == vocabulary.placeholder("image")).nonzero().flatten()
        assert torch.equal(at, placeholders)
        value = vocabulary.discrete_range[0] + pixels.argmax(-1)
        inside = (at + 1) % 24 != 0
        assert torch.equal(batch.tokens.flatten()[at[inside] + 1], value[inside])


def test_each_task_weighs_its_share_of_the_sequences(corpora, suite):
    batch = mixer(corpora, suite, echo=0.5, spell=0.25, read=0.25).batch(0)
    for task in range(3):
        weight = batch.weights[batch.task == task].sum().item()
        assert weight == pytest.approx((batch.sequence_task == task).float().mean().item())


def test_a_task_without_targets_is_refused():
    with pytest.raises(TaskError, match="scored tokens"):
        Corpus.of("mute", [sequence.text([1, 2, 3], scored=False, starts=True)])


def told(text, timesteps):
    """An episode with an instruction of so many pieces."""
    vocabulary = Vocabulary.of(toy_suite())
    parts = [sequence.instruction(text)]
    for value in range(timesteps):
        seen = sequence.observation(vocabulary, ids=vocabulary.discrete_ids(np.array([value % 8])))
        parts += [seen, sequence.action(vocabulary.discrete_ids(np.array([1])), np.array([2]))]
    return Chunk.concat(parts)


@pytest.fixture
def instructed():
    return [told([1, 2], 12), told([3], 5), told([], 7)]


def test_an_instruction_stands_before_each_window_of_its_episode(instructed):
    corpus = Corpus.of("told", instructed)
    rng = np.random.default_rng(0)
    begun = set()
    for _ in range(200):
        index, segment = corpus.window(rng, 20)
        for number in range(segment.max() + 1):
            here = index[segment == number]
            episode = np.searchsorted(corpus.episodes.offsets, here[0], side="right") - 1
            head = np.arange(corpus.episodes.offsets[episode], corpus.firsts[episode])
            np.testing.assert_array_equal(here[: len(head)], head[: len(here)])
            if len(here) > len(head):
                assert here[len(head)] in corpus.starts
                begun.add(int(here[len(head)]))
    assert begun == set(corpus.starts.tolist())


def test_a_share_of_the_windows_begins_with_a_demonstration(instructed):
    corpus = Corpus.of("told", instructed, prompt_share=0.25)
    rng = np.random.default_rng(0)
    offsets, ends, prompted = corpus.episodes.offsets, 0, 0
    for _ in range(2000):
        index, segment = corpus.window(rng, 24)
        first = index[segment == 0]
        jumps = np.flatnonzero(np.diff(first) != 1) + 1
        episode = np.searchsorted(offsets, first, side="right") - 1
        begins = [i for i in jumps if first[i] in offsets[:-1] or episode[i] != episode[i - 1]]
        if begins:
            prompted += 1
            assert begins[0] <= 12
            ends += first[begins[0] - 1] + 1 in offsets
    assert 0.15 < prompted / 2000 < 0.25  # some demonstrations are of the very episode, or do not fit
    assert 0.5 < ends / prompted < 0.85


def test_windows_hold_no_padding(instructed):
    corpus = Corpus.of("told", instructed, prompt_share=0.5)
    rng = np.random.default_rng(0)
    for _ in range(100):
        index, segment = corpus.window(rng, 33)
        assert len(index) == len(segment) == 33
        assert (np.diff(segment) >= 0).all()


def test_an_episode_without_a_start_is_refused():
    mute = sequence.text([1, 2, 3], scored=True)
    with pytest.raises(TaskError, match="0 of them with such a place"):
        Corpus.of("mute", [mute])


def test_text_in_which_a_window_may_begin_anywhere_needs_no_list_of_places():
    rng = np.random.default_rng(0)
    documents = [sequence.text(rng.integers(0, 99, n), scored=True, starts=True) for n in (300, 40, 900)]
    short = Corpus.of("text", documents, prompt_share=0.5)
    assert isinstance(short.starts, range)
    listed = replace(short, starts=np.arange(len(short)))
    for step in range(50):
        windows = [one.window(np.random.default_rng(step), 129) for one in (short, listed)]
        assert all(np.array_equal(a, b) for a, b in zip(*windows, strict=True))
