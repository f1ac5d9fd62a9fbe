"""Hit or stick: the hand's sum, the dealer's card and the ace in, one of two actions out.

The deck is endless, so the optimal play is known exactly. The luck of the cards is many times what play can
gain, so an episode is not scored by who wins it: its value is the expected return of optimal play less what
each decision gave away, which on average is the return (the sum of the policy's advantages; Kakade and
Langford 2002, "Approximately optimal approximate reinforcement learning", lemma 6.1).
"""

from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np

from space.records import SPLITS, Sense, Split
from trainers.tasks.control import Choices, ControlSession
from trainers.tasks.parts.observed import whole_numbers
from trainers.tasks.sessions import SessionTask
from trainers.tokens import sequence
from trainers.tokens.sequence import Chunk
from trainers.tokens.vocabulary import Vocabulary

CARDS = np.arange(1, 11)  # an ace counts 1 here; ten, jack, queen and king count 10
CHANCE = np.array([1.0] * 9 + [4.0]) / 13
BEST = 21
DEALER_STANDS = 17
BUST = BEST + 1
STICK, HIT = 0, 1
HELD_OUT = 0.2  # of the beginnings, for each of select and report

Hand = tuple[int, int]
"""Sum and whether an ace in it counts 11."""


@dataclass(frozen=True)
class Deal:
    """The player's observation.

    Attributes:
        total: sum of the player's cards.
        shown: the dealer's open card.
        usable: 1 where an ace counts 11.
    """

    total: int
    shown: int
    usable: int


def add(hand: Hand, card: int) -> Hand:
    """A hand with one more card; a sum above 21 is bust."""
    total, usable = hand
    if card == 1 and total + 11 <= BEST:
        return total + 11, 1
    total += card
    return (total - 10, 0) if total > BEST and usable else (total, usable)


@cache
def dealer(hand: Hand) -> np.ndarray:
    """Probabilities of the dealer's final sum after a hand, (BUST + 1,); bust is the last."""
    total, _ = hand
    if total >= DEALER_STANDS:
        return np.eye(BUST + 1)[min(total, BUST)]
    return sum((p * dealer(add(hand, int(card))) for card, p in zip(CARDS, CHANCE, strict=True)), np.zeros(1))


@cache
def returns(deal: Deal) -> tuple[float, float]:
    """Expected return of sticking, and of hitting and playing optimally from there on."""
    last = dealer(add((0, 0), deal.shown))
    sums = np.arange(BUST + 1)
    won = last[sums < deal.total].sum() + last[BUST] - last[(sums > deal.total) & (sums < BUST)].sum()
    hit = 0.0
    for card, chance in zip(CARDS, CHANCE, strict=True):
        total, usable = add((deal.total, deal.usable), int(card))
        hit += chance * (-1.0 if total > BEST else max(returns(Deal(total, deal.shown, usable))))
    return float(won), hit


class BlackjackSession(ControlSession):
    """One game; its value is the expected return of optimal play, less the expected loss of each mistake."""

    def __init__(self, vocabulary: Vocabulary, deal: Deal, rng: np.random.Generator) -> None:
        self.actions = Choices(vocabulary, 2)
        super().__init__(vocabulary, self.actions.spec, BEST)
        self.deal = deal
        self.value = optimum()
        self._rng = rng

    def look(self) -> Chunk:
        """The hand's sum, the dealer's card, whether an ace counts 11."""
        seen = np.array([self.deal.total, self.deal.shown, self.deal.usable])
        return sequence.observation(self.vocabulary, ids=self.vocabulary.discrete_ids(seen))

    def expert(self) -> np.ndarray:
        """The action with the higher expected return."""
        stick, hit = returns(self.deal)
        return self.actions.encode(HIT if hit > stick else STICK)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Hit or stick."""
        return self.actions.random(rng)

    def step(self, tokens: np.ndarray) -> bool:
        """Hit or stick; True after sticking and with more than 21."""
        action = self.actions.decode(tokens)
        self.value -= max(returns(self.deal)) - returns(self.deal)[action]
        if action == STICK:
            return True
        card = int(self._rng.choice(CARDS, p=CHANCE))
        total, usable = add((self.deal.total, self.deal.usable), card)
        self.deal = Deal(total, self.deal.shown, usable)
        return total > BEST


class Blackjack(SessionTask):
    """Blackjack-v1 of Gymnasium, scored without the luck of the cards."""

    name = "blackjack"
    family = "toy-text"
    domain = "discrete"
    modality: Sense = "discrete"
    metric = "return"
    unit = "stakes"
    expert_name = "dynamic programming"
    memorisable = True
    eval_episodes = 256
    reference_episodes = 1000
    num_train_episodes = 12_000
    packages = ("numpy",)

    def session(self, split: Split, index: int) -> BlackjackSession:
        """Draw one of the split's deals, with the deck's probabilities."""
        rng = self.rng(split, index)
        deals, chances = deals_of(split)
        return BlackjackSession(self.vocabulary, deals[int(rng.choice(len(deals), p=chances))], rng)

    def tokens_of(self, observation: Any) -> Chunk:
        """The hand's sum, the dealer's card, whether an ace counts 11."""
        seen = whole_numbers(self.name, observation, (3,), BUST + 10)
        return sequence.observation(self.vocabulary, ids=self.vocabulary.discrete_ids(seen))

    def constants(self) -> list[np.ndarray]:
        """Always stick, always hit."""
        return Choices(self.vocabulary, 2).constants()


@cache
def all_deals() -> tuple[list[Deal], np.ndarray]:
    """Every deal and its probability."""
    chances: dict[Deal, float] = {}
    for first, second, shown in product(CARDS, CARDS, CARDS):
        total, usable = add(add((0, 0), int(first)), int(second))
        deal = Deal(total, int(shown), usable)
        chances[deal] = chances.get(deal, 0) + float(np.prod(CHANCE[[first - 1, second - 1, shown - 1]]))
    return list(chances), np.array(list(chances.values()))


@cache
def deals_of(split: Split) -> tuple[list[Deal], np.ndarray]:
    """A split's share of the deals, and their relative probabilities."""
    deals, chances = all_deals()
    order = np.random.default_rng(0).permutation(len(deals))
    ends = np.cumsum([round((1 - 2 * HELD_OUT) * len(deals)), round(HELD_OUT * len(deals))])
    own = np.split(order, ends)[SPLITS.index(split)]
    return [deals[i] for i in own], chances[own] / chances[own].sum()


@cache
def optimum() -> float:
    """Expected return of optimal play."""
    deals, chances = all_deals()
    return float(chances @ [max(returns(deal)) for deal in deals])


TASKS = {"blackjack": Blackjack}
