"""Rows of small tables, as numbers: iris, wine and breast cancer to a label, diabetes to a number.

The tables are those that come with scikit-learn. Of each five rows with like targets, three are for training
and one for each of the other splits. Experts are fitted to the training rows, and chosen by cross-validation
on them.
"""

from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from space.records import Sense, Split, SuiteRecord
from trainers.tasks.answers import AnswerTask, Example, exact_match
from trainers.tasks.base import ActionSpec, Policy
from trainers.tasks.control import ControlSession
from trainers.tasks.parts.observed import floats
from trainers.tasks.policies import ExpertPolicy
from trainers.tasks.sessions import SessionTask
from trainers.tokens import sequence, values
from trainers.tokens.sequence import Chunk
from trainers.tokens.text import Tokenizer
from trainers.tokens.vocabulary import Vocabulary

BLOCK = 5  # rows with like targets, of which each held-out split gets one
FOLDS = 5
JITTER = 0.1  # standard deviations of a feature
SWAPPED = 0.05  # share of the values of a varied row that another row lends
NUM_CONSTANTS = 32


@dataclass(frozen=True)
class Table:
    """A table that comes with scikit-learn.

    Attributes:
        name: of the task.
        loader: of the function in `sklearn.datasets`.
        prompt: what tells it from other tables.
        held_out: rows in each held-out split.
        labels: words for its classes; empty if the target is a number.
    """

    name: str
    loader: str
    prompt: str
    held_out: int
    labels: tuple[str, ...] = ()


IRIS = Table("iris", "load_iris", "iris", 30, ("setosa", "versicolor", "virginica"))
WINE = Table("wine", "load_wine", "wine", 35, ("first", "second", "third"))
CANCER = Table("breast-cancer", "load_breast_cancer", "cancer", 113, ("malignant", "benign"))
DIABETES = Table("diabetes", "load_diabetes", "diabetes", 88)
TABLES = (IRIS, WINE, CANCER, DIABETES)


class Rows(NamedTuple):
    """Rows of a split: features (count, features) and targets (count,)."""

    features: np.ndarray
    targets: np.ndarray


class TableTask(SessionTask):
    """Base class of tasks on a table: training repeats its rows with noise and with values of other rows.

    Args:
        table: where the rows come from.
        suite: sequence settings.
        tokenizer: the suite's.
        train_episodes: how many rows to train on, repeats included.
    """

    family = "tabular"
    domain = "continuous"
    modality: Sense = "continuous"
    num_train_episodes = 6000
    packages = ("numpy", "scikit-learn", "scipy")

    def __init__(
        self, table: Table, suite: SuiteRecord, tokenizer: Tokenizer, train_episodes: int | None = None
    ) -> None:
        super().__init__(suite, tokenizer, train_episodes)
        self.table = table
        self.name = table.name
        self.eval_episodes = self.reference_episodes = table.held_out

    def ids_of(self, features: Any) -> np.ndarray:
        """A row's features as `feature_ids` shows those of the table, (features,).

        Raises:
            StudyFileError: there are not as many numbers as the table has features.
        """
        train = rows_of(self.table, "train").features
        row = floats(self.name, features, train.shape[1:])
        scale = values.Linear(tuple(train.min(axis=0).tolist()), tuple(train.max(axis=0).tolist()))
        return self.vocabulary.continuous_ids(values.encode(row, self.vocabulary.bins, scale))

    def expert_policy(self) -> tuple[str, Policy]:
        """The estimator that cross-validation chose."""
        return fitted(self.table).name, ExpertPolicy()


class Labels(TableTask, AnswerTask):
    """Which class a row belongs to."""

    metric = "accuracy"
    unit = "rate"

    def example(self, split: Split, index: int) -> Example:
        """The rows of the split in turn, repeated."""
        answer, which = self.answer(split, index), index % len(rows_of(self.table, split).targets)
        return Example(
            answer,
            lambda: answer if split == "train" else self.table.labels[predicted(self.table, split)[which]],
            prompt=self.table.prompt,
            ids=feature_ids(self.table, self.vocabulary, split, index, self.rng("vary", index)),
        )

    def answer(self, split: Split, index: int) -> str:
        """The label of the row."""
        targets = rows_of(self.table, split).targets
        return self.table.labels[int(targets[index % len(targets)])]

    def answer_score(self, answer: str, right: str) -> float:
        """1 for the right label."""
        return exact_match(answer, right)

    @cached_property
    def spec(self) -> ActionSpec:
        """Room for any label."""
        return self.spec_for(self.table.labels)


class EstimateSession(ControlSession):
    """One row, and one number that is estimated from it.

    Args:
        vocabulary: the suite's.
        question: what is seen of the row.
        target: the right number.
        estimate: the expert's number.
        scale: the bins of a number.
        variance: of the split's targets.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        question: Chunk,
        target: float,
        estimate: float,
        scale: values.Linear,
        variance: float,
    ) -> None:
        super().__init__(vocabulary, ActionSpec(1, (vocabulary.continuous_range,)), limit=1)
        self.question = question
        self.target = target
        self.estimate = estimate
        self.scale = scale
        self.variance = variance

    def look(self) -> Chunk:
        """The row."""
        return self.question

    def expert(self) -> np.ndarray:
        """The bin of the expert's number, (1,)."""
        bins = values.encode(np.array([self.estimate]), self.vocabulary.bins, self.scale)
        return self.vocabulary.continuous_ids(bins)

    def random(self, rng: np.random.Generator) -> np.ndarray:
        """Any bin, (1,)."""
        return self.vocabulary.continuous_ids(rng.integers(self.vocabulary.bins, size=1))

    def step(self, tokens: np.ndarray) -> bool:
        """One minus the squared error over the variance: its mean over all rows of a split is R2."""
        bins = self.vocabulary.continuous_bins(tokens)
        said = float(values.decode(bins, self.vocabulary.bins, self.scale)[0])
        self.value = 1 - (said - self.target) ** 2 / self.variance
        return True


class Estimates(TableTask):
    """A number for each row, as one bin."""

    metric = "R2"
    unit = "R2"
    lanes = 256

    @cached_property
    def scale(self) -> values.Linear:
        """Even bins over the range of the training targets."""
        targets = rows_of(self.table, "train").targets
        return values.Linear(float(targets.min()), float(targets.max()))

    def session(self, split: Split, index: int) -> EstimateSession:
        """The rows of the split in turn, repeated."""
        targets = rows_of(self.table, split).targets
        target = float(targets[index % len(targets)])
        ids = feature_ids(self.table, self.vocabulary, split, index, self.rng("vary", index))
        prompt = self.tokenizer.encode(self.table.prompt)
        return EstimateSession(
            self.vocabulary,
            sequence.observation(self.vocabulary, prompt=prompt, ids=ids),
            target,
            target if split == "train" else float(predicted(self.table, split)[index % len(targets)]),
            self.scale,
            float(targets.var()),
        )

    def constants(self) -> list[np.ndarray]:
        """Evenly spaced bins, (1,) each."""
        bins = np.linspace(0, self.vocabulary.bins - 1, NUM_CONSTANTS).astype(np.int32)
        return [self.vocabulary.continuous_ids(bins[i : i + 1]) for i in range(len(bins))]


TASKS = {
    **{table.name: partial(Labels, table) for table in TABLES if table.labels},
    **{table.name: partial(Estimates, table) for table in TABLES if not table.labels},
}


@cache
def rows_of(table: Table, split: Split) -> Rows:
    """The rows of a split in random order."""
    from sklearn import datasets  # a second to import, and only evaluation and generation need it

    features, targets = (np.asarray(part) for part in getattr(datasets, table.loader)(return_X_y=True))
    rng = np.random.default_rng(0)
    mixed = rng.permutation(len(targets))
    alike = mixed[np.argsort(targets[mixed], kind="stable")]
    blocks = rng.permuted(alike[: BLOCK * table.held_out].reshape(table.held_out, BLOCK), axis=1)
    parts: dict[Split, np.ndarray] = {
        "train": np.concatenate([blocks[:, 2:].ravel(), alike[BLOCK * table.held_out :]]),
        "select": blocks[:, 0],
        "report": blocks[:, 1],
    }
    here = rng.permutation(parts[split])
    return Rows(features[here].astype(np.float64), targets[here])


def feature_ids(
    table: Table, vocabulary: Vocabulary, split: Split, index: int, rng: np.random.Generator
) -> np.ndarray:
    """A row's features in even bins of their ranges in training, (features,); later rounds are varied."""
    rows, train = rows_of(table, split).features, rows_of(table, "train").features
    round_, which = divmod(index, len(rows))
    row = rows[which]
    if split == "train" and round_:
        lent = np.where(rng.random(len(row)) < SWAPPED, train[rng.integers(len(train))], row)
        row = lent + rng.normal(0, JITTER, len(row)) * train.std(axis=0)
    scale = values.Linear(tuple(train.min(axis=0).tolist()), tuple(train.max(axis=0).tolist()))
    return vocabulary.continuous_ids(values.encode(row, vocabulary.bins, scale))


class Fitted(NamedTuple):
    """An expert: its name, and a fitted estimator of scikit-learn."""

    name: str
    model: Any


@cache
def fitted(table: Table) -> Fitted:
    """The candidate that cross-validation on the training rows finds best, fitted to all of them."""
    from sklearn.model_selection import cross_val_score

    train = rows_of(table, "train")
    candidates = _classifiers() if table.labels else _regressors()
    scores = {
        name: cross_val_score(model, train.features, train.targets, cv=FOLDS).mean()
        for name, model in candidates.items()
    }
    best = max(scores, key=lambda name: scores[name])
    return Fitted(best, candidates[best].fit(train.features, train.targets))


@cache
def predicted(table: Table, split: Split) -> np.ndarray:
    """The expert's prediction for each row of a split, (count,)."""
    return fitted(table).model.predict(rows_of(table, split).features)


def _classifiers() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "gradient boosting": GradientBoostingClassifier(random_state=0),
    }


def _regressors() -> dict[str, Any]:
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return {
        "ridge regression": make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 3, 11))),
        "gradient boosting": GradientBoostingRegressor(max_depth=2, n_estimators=50, random_state=0),
    }
