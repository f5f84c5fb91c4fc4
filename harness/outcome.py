"""What an attempt came to, decided by evidence: how the program ended, what it committed, whether the checks pass.

A pure function from what was observed to the record that ends the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from ..queue.clock import later
from ..queue.records import Entry, Record, Usage
from ..queue.requests import DENIED, REVIEW, UNLANDED, WANTS_A_LOOK
from ..queue.retry import RetryPolicy
from .configuration.settings import Program
from .dialects.events import brief
from .dialects.story import Story
from .dialects.verdict import Finding, told_well
from .dialects.verdict import find as find_in
from .job import Run

NO_ROOM = "no-room"  # an outcome; the worker takes a breath after it
Landing = Literal["auto", "review", "never"]


# What an attempt comes to by what its program told; the words are those of dialects/verdict.py.
OUTCOMES = {
    "usage": "limited",
    "rate": "rate-limited",
    "overload": "overloaded",
    "auth": "auth-failed",
    "context": "context-full",
    "network": "network",
    "server": "server-error",
    "denied": DENIED,
    "budget": "over-budget",
    "turns": "out-of-turns",
    "loop": "looping",
    "refused": "refused",
    "no-result": "no-result",
    "other": "failed",
}
AT_NO_COST = {"usage", "rate", "overload", "auth"}  # they say something of the account, and nothing of the item
_MOST_WORDS = 300
_LOST = {"refused", "other"}  # as one ends that is to go on with a session and has not got it any more
_NOT_RESUMED = "its session could not be gone on with, and is begun anew"
_BREATH_SECONDS = 5.0  # before an item goes on whose account says when; should nobody know of that, it is no race


@dataclass(frozen=True)
class Evidence:
    """What is known when the program and the checks have run. Times are as recorded, see queue/clock.py."""

    at: str
    agent: str
    started_at: str
    seconds: float
    branch: str
    log: str
    run: Run | None = None
    commit: str | None = None
    commits: int = 0
    question: str = ""
    failed_check: str | None = None
    error: str | None = None
    shortage: bool = False  # `error` says that the machine lacked something, see shortage.py
    output: str = ""
    program: str | None = None
    story: Story | None = None  # what the program told of its work, if that is understood
    session: str | None = None  # what we called the program's session, where it does not tell that itself
    finding: Finding | None = None  # what follows from that
    interruption: str = ""  # what a person said who interrupted the program
    resumed: bool = False  # it was to go on with a session
    used_before: Usage | None = None  # by that session
    unasked: bool = False  # somebody else than the coordinator told the worker to stop

    @property
    def usage(self) -> Usage | None:
        """What the program used, None where it told of nothing."""
        return None if self.story is None else self.story.usage(self.used_before) or None

    @property
    def ended_well(self) -> bool:
        """Whether the program did, by what it told and else by its exit code."""
        run, story = self.run, self.story
        told = run is not None and run.ended == "exited" and story is not None and told_well(story, run.returncode)
        return told or (run is not None and run.ok)

    @property
    def is_done(self) -> bool:
        """Whether nothing that is known before the checks have run stands against it."""
        return self.ended_well and not self.question and self.finding is None


def judge(evidence: Evidence, entry: Entry, policy: RetryPolicy, land: Landing) -> Record | None:
    """Return the record that ends the attempt, None when there is nothing to say: the claim is not ours any more."""
    run = evidence.run
    if run is not None and run.ended == "fenced":
        return None
    interruption = _interruption(evidence, entry)
    if interruption is not None:
        return _record(evidence, "released", *interruption, text=evidence.interruption or None, counted=False)
    if evidence.error is not None:
        return _failure(evidence, entry, policy, NO_ROOM if evidence.shortage else "error", evidence.error)
    return None if run is None else _judge_run(run, evidence, entry, policy) or _success(evidence, entry.item.id, land)


def _judge_run(run: Run, evidence: Evidence, entry: Entry, policy: RetryPolicy) -> Record | None:
    """Return what follows from how the program ended and what it told; None when all is well."""
    if evidence.question:
        return _record(evidence, "waiting", "asked", evidence.question)
    if evidence.finding is not None:
        return _after(evidence.finding, evidence, entry, policy)
    failure = (None if evidence.ended_well else _program_failure(run)) or _check_failure(evidence)
    return _failure(evidence, entry, policy, *failure) if failure else None


def _after(finding: Finding, evidence: Evidence, entry: Entry, policy: RetryPolicy) -> Record:
    """Return the record that follows from what the program told."""
    outcome = OUTCOMES[finding.word]
    if finding.word == "denied":
        return _record(evidence, "waiting", outcome, finding.why)
    if finding.word in _LOST and evidence.resumed and evidence.story is not None and evidence.story.steps == 0:
        return _record(evidence, "released", outcome, f"{_NOT_RESUMED}: {finding.why}", counted=False)
    if finding.word in AT_NO_COST:
        record = _record(evidence, "released", outcome, finding.why, counted=False)
        return msgspec.structs.replace(record, not_before=later(evidence.at, _BREATH_SECONDS))
    return _failure(evidence, entry, policy, outcome, finding.why)


def find(story: Story, program: Program, run: Run, now: float) -> Finding | None:
    """Return what follows from what the program told and from how it ended, None when that is nothing; `now`: epoch."""
    waits = run.waits
    if run.ended in {"announced", "stalled"} and waits is not None and waits.kind != "other":
        resets_at = None if waits.seconds is None else now + waits.seconds
        return Finding(waits.kind, run.describe("the program"), resets_at)
    if run.ended != "exited" or program.dialect is None:
        return None
    from .dialects.table import BY_NAME  # see commands.py

    return find_in(story, BY_NAME[program.dialect], run.returncode)


def at_no_cost(failure: Record) -> Record:
    """Return `failure` as one that says nothing about its item, which is takable again at once."""
    return msgspec.structs.replace(failure, kind="released", counted=False, not_before=None)


def _interruption(evidence: Evidence, entry: Entry) -> tuple[str, str] | None:
    """Return outcome and reason when the attempt says nothing about the item."""
    if evidence.run is not None and evidence.run.ended == "stopped" and not evidence.unasked:
        return "interrupted", "stopped before it was done; it costs the item no attempt"
    if evidence.run is not None and evidence.run.ended == "interrupted":
        said = evidence.interruption
        return "interrupted", f"a person interrupted it: {said}" if said else "a person interrupted it"
    if evidence.shortage and not (evidence.run is not None and _met_the_same_before(entry)):
        return NO_ROOM, f"no room to work in: {evidence.error}"
    return None


def _met_the_same_before(entry: Entry) -> bool:
    """Whether the attempt before found no room either: then the program itself may fill the disk, and for ever."""
    before = entry.records[-2:-1]
    return bool(before) and before[0].outcome == NO_ROOM


def _program_failure(run: Run) -> tuple[str, str]:
    """Return outcome and reason of a program that did not end as it should."""
    if run.ended == "stopped":
        return "interrupted", "its worker was told to end (SIGTERM), and not by the coordinator; that costs an attempt"
    outcome = "failed" if run.ended == "exited" else run.ended
    return outcome, run.describe("the program")


def _check_failure(evidence: Evidence) -> tuple[str, str] | None:
    return None if evidence.failed_check is None else ("check-failed", evidence.failed_check)


def _success(evidence: Evidence, item_id: str, land: Landing) -> Record:
    if evidence.commits == 0:
        said = "" if evidence.story is None else " ".join(evidence.story.said.split())
        words = f"; it said: {brief(said, _MOST_WORDS)}" if said else ""  # a question, often, or what stood in its way
        return _record(evidence, "done", "done", f"nothing to land: the program changed nothing{words}")
    if land == "review":
        return _record(evidence, "waiting", REVIEW, WANTS_A_LOOK)
    if land == "never":
        why = f"left on its branch {evidence.branch}, as configured; `parallel-loop land {item_id}` lands it"
        return _record(evidence, "waiting", UNLANDED, why)
    return _record(evidence, "landing", "done", None)


def _failure(evidence: Evidence, entry: Entry, policy: RetryPolicy, outcome: str, why: str) -> Record:
    record = _record(evidence, "released", outcome, why, text=evidence.output or None)
    return policy.after_failure(entry, record)


def _record(
    evidence: Evidence,
    kind: Literal["released", "waiting", "done", "landing"],
    outcome: str,
    why: str | None,
    *,
    text: str | None = None,
    counted: bool = True,
) -> Record:
    return Record(
        kind=kind,
        at=evidence.at,
        agent=evidence.agent,
        outcome=outcome,
        why=why,
        started_at=evidence.started_at,
        seconds=round(evidence.seconds, 3),
        branch=evidence.branch if evidence.commit else None,
        commit=evidence.commit,
        log=evidence.log,
        counted=counted,
        text=text,
        program=evidence.program,
        session=(evidence.story.session if evidence.story else None) or evidence.session,
        usage=evidence.usage,
    )
