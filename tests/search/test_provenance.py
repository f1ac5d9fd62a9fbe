"""Which rule proposed a candidate and why: in the database, the terminal, JSON, remarks and the page."""

import json
from contextlib import closing

import pytest
from factories import make_study, suite
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, update
from test_propose import grow, proposer
from toy_trainers import toy_config

from search.choose.propose import Proposer
from search.choose.provenance import LENGTH, SEPARATOR, Provenance, provenance
from search.choose.sampler import Suggestion
from search.choose.snapshot import Snapshot
from search.database import tables
from search.read.remarks import remarks
from search.read.results import Reader

ORIGINS = [
    *["control", "control"],
    *(f"stratified; pathfront waits for results: {n} of 10 candidates" for n in (2, 9)),
    *(f"pathfront model; the law weighs 0.{n}" for n in (61, 83)),
    "pathfront random",
    "pathfront fallback; no suggestion of 5,000 was new and within the limits",
]


@pytest.fixture
def url(tmp_path):
    """A study of which every candidate has one of `ORIGINS`, in turn."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    make_study(url, trials=24, finished=True)
    set_origins(url, lambda ordinal: ORIGINS[ordinal % len(ORIGINS)])
    return url


def set_origins(url, origin):
    engine = create_engine(url)
    with engine.begin() as connection:
        for ordinal in range(200):
            of = tables.candidates.c.ordinal == ordinal
            connection.execute(update(tables.candidates).where(of).values(origin=origin(ordinal)))
    engine.dispose()


def status(url):
    with closing(Reader(url)) as reader:
        return reader.status("quick")


@given(st.text("ab ;:", max_size=20).map(str.strip), st.text("ab ;:", max_size=300))
def test_an_origin_is_read_as_it_was_written_within_its_length(rule, reason):
    rule = rule.replace(";", "")
    origin = Provenance(rule, reason).origin
    assert len(origin) <= LENGTH
    found = provenance(origin)
    assert found.rule == rule
    assert reason.startswith(found.reason)
    assert provenance("tpe fallback") == ("tpe fallback", "")
    assert SEPARATOR not in found.rule


def test_candidates_are_counted_by_rule_with_the_latest_reason(url):
    now = status(url)
    assert sum(now.origins.values()) == now.candidates
    assert list(now.origins)[:3] == ["control", "stratified", "pathfront model"]
    assert set(now.origins) == {provenance(origin).rule for origin in ORIGINS}
    last = max(n for n in range(now.candidates) if n % len(ORIGINS) in (4, 5))
    assert now.reasons["pathfront model"] == provenance(ORIGINS[last % len(ORIGINS)]).reason
    assert "control" not in now.reasons


def test_the_terminal_and_json_say_how_many_and_why(url, pathfront):
    now = status(url)
    code, said, _ = pathfront("status", "quick", "--storage", url)
    assert code == 0
    assert f"{now.origins['pathfront model']} pathfront model" in said
    count, reason = now.origins["pathfront model"], now.reasons["pathfront model"]
    assert f"proposed by pathfront model, {count} of {now.candidates}: {reason}" in said
    data = json.loads(pathfront("status", "quick", "--json", "--storage", url)[1])
    assert data["origins"] == now.origins
    assert data["reasons"] == now.reasons


def test_a_trial_names_its_rule_its_reason_and_how_many_more(url, pathfront):
    with closing(Reader(url)) as reader:
        row = next(row for row in reader.trials("quick") if row.origin == ORIGINS[4])
    said = pathfront("show", "quick", row.number, "--storage", url)[1]
    count = status(url).origins["pathfront model"]
    assert f"proposed by: pathfront model, as {count} candidates of this study; the law weighs 0.61" in said
    data = json.loads(pathfront("show", "quick", row.number, "--json", "--storage", url)[1])
    assert data["proposed_by"] == {
        "rule": "pathfront model",
        "reason": "the law weighs 0.61",
        "candidates": count,
    }
    assert data["row"]["origin"] == ORIGINS[4]
    assert "pathfront model " in pathfront("trials", "quick", "--storage", url)[1]


def test_a_model_that_fell_back_to_chance_is_remarked_with_share_and_reason(url):
    now = status(url)
    count = now.origins["pathfront fallback"]
    assert (
        f"{count} of {now.candidates} candidates ({count / now.candidates:.0%}) fell back to chance"
        " (pathfront fallback): no suggestion of 5,000 was new and within the limits"
    ) in remarks(now, url)
    set_origins(url, lambda ordinal: "tpe fallback" if ordinal == 3 else "tpe")  # as older versions noted it
    assert any(
        remark.startswith("1 of ")
        and remark.endswith("(tpe fallback): no suggestion was new and within the limits")
        for remark in remarks(status(url), url)
    )


def test_a_study_that_ended_before_its_model_was_asked_says_so(url):
    set_origins(
        url, lambda n: "control" if n < 2 else f"stratified; tpe waits for results: {n} of 10 candidates"
    )
    last = status(url).candidates - 1
    assert (
        f"no candidate was suggested by the study's sampler: tpe waits for results: {last} of 10 candidates"
        in remarks(status(url), url)
    )
    set_origins(url, lambda n: "control" if n < 2 else "stratified")
    assert remarks(status(url), url) == []
    set_origins(url, lambda n: "tpe" if n == 9 else "stratified; tpe waits for results")
    assert remarks(status(url), url) == []


SAMPLERS = """
from search.choose.sampler import Suggestion


class Noted:
    def __init__(self, problem):
        self.problem = problem

    def suggest(self, view):
        if len(view.candidates) < 4:
            return None
        draws = self.problem.draws(self.problem.rng(view), view)
        return (Suggestion(params, f"rule; {len(view.candidates)}\\nresults") for params in draws)


class Patient(Noted):
    def waiting_for(self, view):
        return f"{len(view.candidates)} of 4 candidates"


class Repeating(Noted):
    def suggest(self, view):
        return iter([view.candidates[0].params] * 7)


class Mute(Noted):
    def suggest(self, view):
        return iter(())
"""


@pytest.mark.parametrize(
    ("name", "origins"),
    [
        ("Noted", ["stratified; Noted waits for results", "Noted rule; 4 results"]),
        ("Patient", ["stratified; Patient waits for results: 3 of 4 candidates", "Patient rule; 4 results"]),
        ("Repeating", ["Repeating fallback; no suggestion of 7 was new and within the limits"] * 2),
        ("Mute", ["Mute fallback; it suggested nothing"] * 2),
    ],
)
def test_samplers_of_users_say_why_too(tmp_path, monkeypatch, name, origins):
    (tmp_path / "noted_samplers.py").write_text(SAMPLERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = toy_config(search={"sampler": f"noted_samplers:{name}"})
    proposals, _ = grow(Proposer(config, suite()), 5)
    assert [found.origin for found in proposals] == ["control", "control", *proposals_of(origins, proposals)]
    assert [found.origin for found in proposals[3:]] == origins


def proposals_of(origins, proposals):
    """The origin of the third candidate is that of the fourth, but for its number."""
    return [origins[0].replace("3 of 4", "2 of 4"), *origins]


def test_a_suggestion_and_its_note_stay_together():
    ours = proposer()
    params = next(ours.problem.draws(ours.problem.rng(Snapshot((), (), 0.0)), Snapshot((), (), 0.0)))
    found = next(ours.problem.usable(iter([Suggestion(params, "model; why")]), Snapshot((), (), 0.0)))
    assert (found.note, found.params) == ("model; why", params)


def test_the_page_counts_the_rules_with_their_reasons(url):
    from dashboard.views.trials import proposals_in_words

    now = status(url)
    shown = dict(proposals_in_words(now))
    assert list(shown) == list(now.origins)
    count, of = now.origins["pathfront fallback"], now.candidates
    assert shown["pathfront fallback"] == (
        f"{count} of {of} ({count / of:.0%}): no suggestion of 5,000 was new and within the limits"
    )
    assert shown["control"] == f"{now.origins['control']} of {of} ({now.origins['control'] / of:.0%})"
