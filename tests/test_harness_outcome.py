"""What an attempt came to: the whole table, from evidence to record."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from parallel_loop.harness.configuration.settings import Program
from parallel_loop.harness.dialects.events import Result, Waits
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.job import Ended, Run
from parallel_loop.harness.outcome import Evidence, Landing, find, judge
from parallel_loop.queue.records import Entry, Item, Record
from parallel_loop.queue.retry import RetryPolicy

AT = "2026-01-01T00:00:00.000000Z"
DUE = "2026-01-01T00:00:10.000000Z"
POLICY = RetryPolicy(attempts=2, first_seconds=10.0)
BASE = Evidence(
    at=AT, agent="agent-1", started_at=AT, seconds=1.23456, branch="the/branch", log="the.log", output="end"
)
CLAIM = Record(kind="claimed", at=AT, agent="agent-1")
FAILED = Record(kind="released", at=AT, outcome="failed")

ENDS: tuple[Ended, ...] = ("exited", "timed-out", "stopped", "fenced", "not-started")
FAILURES = {"stopped": "interrupted", "timed-out": "timed-out", "not-started": "not-started", "exited": "failed"}
SUCCESSES: dict[Landing, tuple[str, str, bool]] = {
    "auto": ("landing", "done", True),
    "review": ("waiting", "review", True),
    "never": ("waiting", "unlanded", True),
}


def entry(*before: Record) -> Entry:
    return Entry(Item(id="one", title="One", added_at=AT), (*before, CLAIM))


def expected(evidence: Evidence, land: Landing) -> tuple[str, str, bool] | None:
    """Kind, outcome and whether it counts, for a first attempt: the first rule that applies."""
    ended = evidence.run.ended if evidence.run else None
    rules: list[tuple[object, tuple[str, str, bool] | None]] = [
        (ended == "fenced", None),
        (ended == "stopped" and not evidence.unasked, ("released", "interrupted", False)),
        (evidence.shortage, ("released", "no-room", False)),
        (evidence.error, ("released", "error", True)),
        (ended is None, None),
        (evidence.question, ("waiting", "asked", True)),
        (evidence.run and not evidence.run.ok, ("released", FAILURES.get(ended or "", ""), True)),
        (evidence.failed_check, ("released", "check-failed", True)),
        (evidence.commits == 0, ("done", "done", True)),
        (True, SUCCESSES[land]),
    ]
    return next(result for applies, result in rules if applies)


def all_evidence() -> list[Evidence]:
    runs: list[Run | None] = [None, *(Run(ended, 1.0, returncode=1) for ended in ENDS), Run("exited", 1.0, 0)]
    return [
        replace(
            BASE,
            run=run,
            commits=commits,
            commit="abc" if commits else None,
            question=question,
            failed_check=check,
            error=error,
            shortage=shortage,
            unasked=unasked,
        )
        for run, commits, question, check, (error, shortage), unasked in itertools.product(
            runs,
            (0, 2),
            ("", "which?"),
            (None, "it failed"),
            ((None, False), ("git failed", False), ("full", True)),
            (False, True),
        )
    ]


@pytest.mark.parametrize("land", SUCCESSES)
def test_every_combination_of_evidence(land: Landing) -> None:
    for evidence in all_evidence():
        record = judge(evidence, entry(), POLICY, land)
        found = None if record is None else (record.kind, record.outcome, record.counted)
        assert found == expected(evidence, land), evidence
        if record is None:
            continue
        assert (record.at, record.agent, record.started_at, record.log) == (AT, "agent-1", AT, "the.log")
        assert (record.branch, record.commit) == (("the/branch", "abc") if evidence.commits else (None, None))
        assert record.seconds == 1.235
        failed = record.kind == "released" and record.counted
        assert record.not_before == (DUE if failed else None)
        assert record.text == ("end" if failed else None), "output is kept for the next attempt's prompt"
        assert record.why or record.kind == "landing"


def test_the_last_attempt_fails_for_good() -> None:
    failure = replace(BASE, run=Run("exited", 1.0, 3))
    record = judge(failure, entry(CLAIM, FAILED), POLICY, "auto")
    assert record is not None
    assert (record.kind, record.outcome, record.why) == ("failed", "failed", "the program ended with exit code 3")
    assert record.not_before is None


def test_an_interruption_is_never_the_last_attempt() -> None:
    for evidence in (replace(BASE, run=Run("stopped", 1.0)), replace(BASE, error="disk full", shortage=True)):
        record = judge(evidence, entry(CLAIM, FAILED, CLAIM, FAILED), POLICY, "auto")
        assert record is not None
        assert (record.kind, record.counted) == ("released", False)


def test_reasons_name_what_a_person_needs() -> None:
    committed = replace(BASE, run=Run("exited", 1.0, 0), commits=1, commit="abc")
    review, never = (judge(committed, entry(), POLICY, land) for land in ("review", "never"))
    assert review is not None
    assert never is not None
    assert review.why == "wants a look"
    assert never.why == "left on its branch the/branch, as configured; `parallel-loop land one` lands it"
    full = judge(replace(BASE, error="No space left on device", shortage=True), entry(), POLICY, "auto")
    assert full is not None
    assert "No space left on device" in (full.why or "")


@pytest.mark.parametrize(
    ("code", "ok", "outcome"), [(1, True, "done"), (1, False, "failed"), (143, True, "failed"), (-9, True, "failed")]
)
def test_a_result_says_more_than_an_exit_code(code: int, ok: bool, outcome: str) -> None:
    story = Story(result=Result(ok=ok))
    evidence = replace(BASE, run=Run("exited", 1.0, code), commits=1, story=story)
    record = judge(evidence, entry(), POLICY, "auto")
    assert record is not None
    assert (record.outcome, evidence.is_done) == (outcome, outcome == "done")


def test_who_falls_silent_while_it_tries_again_is_judged_by_what_it_told_of_that() -> None:
    waits = Waits(kind="overload", seconds=5.0)
    busy = find(Story(), Program(), Run("stalled", 1.0, waits=waits), now=100.0)
    assert busy is not None
    assert (busy.word, busy.resets_at) == ("overload", 105.0)
    stalled = Run("stalled", 1.0, waits=Waits(kind="other"))
    assert find(Story(), Program(), stalled, now=100.0) is None, "it is stalled, no more"
