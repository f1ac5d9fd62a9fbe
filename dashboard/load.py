"""Cached reads of a study.

Two keys decide when a cached value is read again. The change token changes with every step of a running
trial; the results key changes only when a trial ends, so that a new point of a training curve does not cause
all trials to be read again.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import streamlit as st
from sqlalchemy.engine import make_url

from search.database.storage import resolve_url
from search.read.picks import PICKS, picked
from search.read.remarks import remarks, why_no_front
from search.read.results import Reader
from search.read.rows import FrontRow, ListedTrial, StudyStatus, StudySummary, TrialDetail, TrialRow
from space.objectives import Objectives
from space.records import SuiteRecord
from space.study import StudyConfig

BUSY_SECONDS, IDLE_SECONDS = 2.0, 15.0  # between two reads of the change token
TRIALS_PER_SECOND = 1000  # a long study is read less often
KEPT = 8  # number of cached states of studies


def storage() -> str:
    """URL of the database: PATHFRONT_STORAGE, else the default.

    Raises:
        StorageError: the value is not a URL.
    """
    return resolve_url(None)


def studies(url: str) -> list[StudySummary]:
    """All studies, the latest launch first.

    Raises:
        NotFoundError: there is no database yet.
        StorageError: it cannot be read.
    """
    return reader(url).studies()


def reader(url: str) -> Reader:
    """The reader that all sessions share; a new one if the database file was replaced."""
    return _reader(url, _file_identity(url))


def token(url: str, study: str) -> str:
    """The change token; it is cheap to read and never cached."""
    return reader(url).change_token(study)


def status(url: str, study: str) -> StudyStatus:
    """Status of a study."""
    return _status(url, study, f"{_file_identity(url)} {token(url, study)}")


def results_key(now: StudyStatus) -> str:
    """A key that changes when a trial ends, the study ends, or the study starts or stops running."""
    settled = {state: count for state, count in now.states.items() if state in ("done", "failed")}
    best = now.best and (now.best.number, now.best.candidate, now.best.score)
    return repr((sorted(settled.items()), now.finished, now.stopping, now.halted, bool(now.running), best))


def listing_key(now: StudyStatus) -> str:
    """A key that also changes when a trial begins."""
    begun = [(trial.candidate, trial.rung, trial.seed, trial.attempt) for trial in now.running]
    return repr((results_key(now), sorted(now.states.items()), begun))


def remarks_of(url: str, now: StudyStatus) -> list[str]:
    """Remarks on a study, the most serious first."""
    return remarks(now, url)


def poll_seconds(now: StudyStatus) -> float:
    """Seconds until the change token is read again."""
    if not now.running:
        return IDLE_SECONDS
    return max(BUSY_SECONDS, sum(now.states.values()) / TRIALS_PER_SECOND)


@dataclass(frozen=True)
class Study:
    """One study at one moment.

    Attributes:
        key: its results key.
        origin: differs from that of an earlier study of the same name.
    """

    url: str
    name: str
    key: str
    origin: str

    @property
    def _cached(self) -> tuple[str, str, str]:
        return self.url, self.name, f"{self.origin} {self.key}"

    @property
    def suite(self) -> SuiteRecord:
        """Its tasks."""
        return _suite(*self._cached)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Trunk tokens at each rung."""
        return _config(*self._cached).rungs.tokens

    @property
    def objectives(self) -> Objectives:
        """What it trades off."""
        return _config(*self._cached).objectives

    @property
    def trials(self) -> list[TrialRow]:
        """All trials by number."""
        return _trials(*self._cached)

    @property
    def front(self) -> list[FrontRow]:
        """The front, best score first."""
        return _front(*self._cached)

    @property
    def scored(self) -> bool:
        """Whether any trial has a score."""
        return any(trial.score is not None for trial in self.trials)

    def has(self, number: int) -> bool:
        """Whether it has a trial of that number, running ones included."""
        return any(trial.number == number for trial in self.trials) or number in self._begun

    @property
    def _begun(self) -> set[int]:
        now = status(self.url, self.name)
        return {trial.number for trial in now.running if trial.number is not None}

    @property
    def picks(self) -> dict[str, int]:
        """Pick of `export --pick` -> trial number; empty if the front is empty."""
        rows = self.front
        if not rows:
            return {}
        return {pick: picked(rows, pick).trial for pick in PICKS}

    @property
    def marks(self) -> dict[int, str]:
        """Trial number -> names of its picks, such as "best" or "best, knee"."""
        words: dict[int, list[str]] = {}
        for pick, number in self.picks.items():
            words.setdefault(number, []).append(pick)
        return {number: ", ".join(picks) for number, picks in words.items()}

    def listing(self, key: str) -> list[ListedTrial]:
        """All trials, running and failed ones included; `key` is the listing key."""
        return _listing(self.url, self.name, f"{self.origin} {key}")

    @property
    def why_no_front(self) -> str | None:
        """Why the front is empty, in one line; None if it is not. Failures are shown elsewhere."""
        if self.front:
            return None
        if not self.scored:
            return "No trial has been scored, so there is no front yet."
        threshold = _config(*self._cached).threshold
        return why_no_front(self.name, reader(self.url).finalists(self.name), threshold=threshold)

    def detail(self, number: int) -> TrialDetail:
        """One trial.

        Raises:
            NotFoundError: there is no such trial.
        """
        return _detail(self.url, self.name, number, f"{self.origin} {token(self.url, self.name)}")

    def command(self, name: str, rest: str = "") -> str:
        """A command line about this study."""
        return reader(self.url).command(name, self.name, rest)


def open_study(url: str, name: str) -> Study:
    """Open a study in its present state.

    Raises:
        NotFoundError: there is no such study.
    """
    origin = sha256(reader(url).config(name).model_dump_json().encode()).hexdigest()
    return Study(url, name, results_key(status(url, name)), f"{_file_identity(url)} {origin}")


def _file_identity(url: str) -> int:
    """The inode of a SQLite file, else 0; it differs if the database was deleted and created again."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return 0
    path = Path(parsed.database)
    return path.stat().st_ino if path.is_file() else 0


@st.cache_resource(max_entries=2, show_spinner=False)
def _reader(url: str, identity: int) -> Reader:
    return Reader(url)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _status(url: str, study: str, changed: str) -> StudyStatus:
    return reader(url).status(study)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _suite(url: str, study: str, key: str) -> SuiteRecord:
    return reader(url).suite(study)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _config(url: str, study: str, key: str) -> StudyConfig:
    return reader(url).config(study)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _trials(url: str, study: str, key: str) -> list[TrialRow]:
    return reader(url).trials(study)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _listing(url: str, study: str, key: str) -> list[ListedTrial]:
    return reader(url).listed_trials(study)


@st.cache_resource(max_entries=KEPT, show_spinner=False)
def _front(url: str, study: str, key: str) -> list[FrontRow]:
    return reader(url).front(study)


@st.cache_resource(max_entries=8 * KEPT, show_spinner=False)
def _detail(url: str, study: str, number: int, changed: str) -> TrialDetail:
    return reader(url).trial(study, number)
