from functools import partial

import numpy as np
import pytest
import torch
from toys import ToyTask, toy_suite

from space.errors import Interrupted, TaskError
from trainers.evaluate import ModelPolicy, score_candidate
from trainers.model.decoder import Decoder
from trainers.tasks.sessions import play
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk


@pytest.fixture
def decoder(sparse_arch, suite):
    torch.manual_seed(1)
    decoder = Decoder(sparse_arch, suite)
    with torch.no_grad():
        for parameter in decoder.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)  # opinions strong enough to differ from one observation to the next
    return decoder


class Alone:
    """A policy that plays each session in a batch of its own."""

    def __init__(self, decoder):
        self.decoder = decoder

    def begin(self, count):
        self.policies = [ModelPolicy(self.decoder) for _ in range(count)]
        for policy in self.policies:
            policy.begin(1)

    def act(self, live, observations, sessions):
        return [
            self.policies[index].act([0], [observed], [session])[0]
            for index, observed, session in zip(live, observations, sessions, strict=True)
        ]


class Kept:
    """A policy whose answers are written down."""

    def __init__(self, policy):
        self.policy = policy
        self.answers = []

    def begin(self, count):
        self.policy.begin(count)

    def act(self, live, observations, sessions):
        answers = self.policy.act(live, observations, sessions)
        self.answers += [(i, a.tolist()) for i, a in zip(live, answers, strict=True)]
        return answers


@pytest.mark.parametrize(("name", "twist"), [("echo", 0), ("echo", 1), ("spell", 0)])
def test_many_at_once_answer_as_each_alone(decoder, suite, name, twist):
    task = ToyTask(name, suite, twist)
    together, alone = Kept(ModelPolicy(decoder)), Kept(Alone(decoder))
    np.testing.assert_array_equal(task.score(together, "select", 9), task.score(alone, "select", 9))
    assert together.answers == alone.answers
    assert len({tuple(answer) for _, answer in together.answers}) > 1


def replay(decoder, head, shown, answers, context):
    """What a decoder without a cache, given the window that the rule keeps after its head, answers last."""
    policy = ModelPolicy(decoder)
    history = Chunk.concat(shown[:1])
    for observed, answer in zip(shown[1:], answers, strict=True):
        local = sequence.action_local(history, 2)
        history = Chunk.concat([history, sequence.action(answer, local)])
        if len(head) + len(history) + len(observed) + 1 > context:
            starts = np.flatnonzero(history.starts)
            kept = starts[starts >= len(history) - ((context - len(head)) // 2 - len(observed))]
            history = history.slice(int(kept[0]) if len(kept) else len(history), len(history))
        history = Chunk.concat([history, observed])
    history = Chunk.concat([head, history])
    patches = policy._patches(history.tokens, [history.patches])
    tokens, local = (torch.from_numpy(a.astype(np.int64)[None]) for a in (history.tokens, history.local))
    with torch.no_grad():
        hidden, _ = decoder(tokens, local, patches)
    return policy._choose(hidden[0, -1:], [policy.vocabulary.choices(4)])[0]


@pytest.mark.parametrize("instruction", [[], [3, 4, 5]])
@pytest.mark.parametrize("prompted", [False, True])
def test_a_full_window_keeps_its_head_and_goes_on_from_its_last_half(decoder, suite, instruction, prompted):
    task = ToyTask("echo", suite, twist=1)
    demonstration = task.episodes()[0].slice(0, 6) if prompted else sequence.text([], scored=False)
    session = task.session("select", 0)
    session.values = [int(v) for v in np.random.default_rng(0).integers(4, size=25)]
    policy = ModelPolicy(decoder, (lambda number: demonstration) if prompted else None)
    policy.begin(1)
    head = sequence.instruction(instruction)
    shown, answers, over = [], [], False
    while not over:
        shown.append(session.observe())
        given = shown[-1] if answers else Chunk.concat([head, shown[-1]])
        answer = policy.act([0], [given], [session])[0]
        before = Chunk.concat([demonstration, head])
        assert answer[0] == replay(decoder, before, shown, answers, suite.context)
        answers.append(answer)
        over = session.act(answer)
    assert sum(len(chunk) for chunk in shown) > 3 * suite.context


@pytest.mark.parametrize("lanes", [1, 3, 20])
@pytest.mark.slow
def test_who_comes_later_takes_the_place_of_who_has_ended(decoder, suite, lanes):
    task = ToyTask("echo", suite, twist=1)
    openers = [partial(task.session, "select", index) for index in range(9)]
    alone = task.score(Alone(decoder), "select", 9)
    np.testing.assert_array_equal(play(ModelPolicy(decoder), openers, lanes), alone)


def test_a_timestep_longer_than_the_context_is_refused(decoder, suite):
    task = ToyTask("echo", suite)
    session = task.session("select", 0)
    policy = ModelPolicy(decoder)
    policy.begin(1)
    long = sequence.observation(policy.vocabulary, ids=policy.vocabulary.discrete_ids(np.zeros(24, int)))
    session.last = long
    with pytest.raises(TaskError, match="fit into the context of 24"):
        policy.act([0], [long], [session])


def test_nats_are_those_of_the_softmax_whatever_stands_beside(decoder, suite):
    task = ToyTask("read", suite)
    documents = [task.document("select", index) for index in range(5)]
    policy = ModelPolicy(decoder)
    together = policy.nats(documents)
    for document, nats in zip(documents, together, strict=True):
        assert nats.shape == (len(document) - 1,)
        np.testing.assert_allclose(policy.nats([document])[0], nats, rtol=1e-3, atol=1e-4)
        tokens = torch.from_numpy(document.tokens.astype(np.int64))[None]
        with torch.no_grad():
            hidden, _ = decoder(tokens[:, :-1], torch.zeros_like(tokens[:, :-1]), {})
            whole = decoder.logits(hidden)[0].log_softmax(-1)
        expected = -whole[torch.arange(len(document) - 1), tokens[0, 1:]]
        np.testing.assert_allclose(nats, expected.numpy(), rtol=1e-3, atol=1e-4)


def test_a_chunk_longer_than_the_window_is_refused(decoder):
    with pytest.raises(TaskError, match="at most context"):
        ModelPolicy(decoder).nats([sequence.text(np.zeros(26, int), scored=True)])


@pytest.mark.usefixtures("toys")
def test_shares_of_the_episodes_are_nested(decoder):
    suite = toy_suite()
    whole = score_candidate(decoder, suite, "select")
    half = score_candidate(decoder, suite, "select", share=0.5)
    for name in suite.tasks:
        assert len(whole[name]) == 6
        np.testing.assert_allclose(half[name], whole[name][:3], rtol=1e-4)


@pytest.mark.usefixtures("toys")
def test_scoring_stops_when_asked(decoder, suite):
    def stop():
        raise Interrupted("enough")

    with pytest.raises(Interrupted):
        score_candidate(decoder, suite, "select", between=stop)


def test_a_continuous_value_is_the_median_bin_and_a_choice_the_likeliest(decoder):
    policy = ModelPolicy(decoder)
    low, high = policy.vocabulary.continuous_range
    shares = torch.tensor([0.3, 0.05, 0.05, 0.2, 0.2, 0.1, 0.05, 0.05])
    hidden = torch.ones(1, decoder.head.in_features)
    with torch.no_grad():
        decoder.head.weight[low:high] = shares.log()[:, None] / decoder.head.in_features
        choices = policy.vocabulary.choices(4)
        decoder.head.weight[choices[0] : choices[1]] = shares[:4].log()[:, None]
    ranges = [(low, high), choices, (low, low + 2)]
    assert policy._choose(hidden.expand(3, -1), ranges) == [low + 3, choices[0], low]
