"""What an attempt came to, decided by evidence: how the program ended, what it committed, whether the checks pass.

A pure function from what was observed to the record that ends the attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from ..queue.records import Entry, Record
from ..queue.requests import REVIEW, UNLANDED
from ..queue.retry import RetryPolicy
from .runner import Run

NO_ROOM = "no-room"  # an outcome; the worker takes a breath after it
Landing = Literal["auto", "review", "never"]


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
    unasked: bool = False  # somebody else than the coordinator told the worker to stop


def judge(evidence: Evidence, entry: Entry, policy: RetryPolicy, land: Landing) -> Record | None:
    """Return the record that ends the attempt, None when there is nothing to say: the claim is not ours any more."""
    run = evidence.run
    if run is not None and run.ended == "fenced":
        return None
    interruption = _interruption(evidence, entry)
    if interruption is not None:
        return _record(evidence, "released", *interruption, counted=False)
    if evidence.error is not None:
        return _failure(evidence, entry, policy, NO_ROOM if evidence.shortage else "error", evidence.error)
    if run is None:
        return None
    if evidence.question:
        return _record(evidence, "waiting", "asked", evidence.question)
    failure = _program_failure(run) or _check_failure(evidence)
    return _failure(evidence, entry, policy, *failure) if failure else _success(evidence, entry.item.id, land)


def at_no_cost(failure: Record) -> Record:
    """Return `failure` as one that says nothing about its item, which is takable again at once."""
    return msgspec.structs.replace(failure, kind="released", counted=False, not_before=None)


def _interruption(evidence: Evidence, entry: Entry) -> tuple[str, str] | None:
    """Return outcome and reason when the attempt says nothing about the item."""
    if evidence.run is not None and evidence.run.ended == "stopped" and not evidence.unasked:
        return "interrupted", "stopped before it was done; it costs the item no attempt"
    if evidence.shortage and not (evidence.run is not None and _met_the_same_before(entry)):
        return NO_ROOM, f"no room to work in: {evidence.error}"
    return None


def _met_the_same_before(entry: Entry) -> bool:
    """Whether the attempt before found no room either: then the program itself may fill the disk, and for ever."""
    before = entry.records[-2:-1]
    return bool(before) and before[0].outcome == NO_ROOM


def _program_failure(run: Run) -> tuple[str, str] | None:
    """Return outcome and reason when the program did not end as it should."""
    if run.ok:
        return None
    if run.ended == "stopped":
        return "interrupted", "its worker was told to end (SIGTERM), and not by the coordinator; that costs an attempt"
    outcome = "failed" if run.ended == "exited" else run.ended
    return outcome, run.describe("the program")


def _check_failure(evidence: Evidence) -> tuple[str, str] | None:
    return None if evidence.failed_check is None else ("check-failed", evidence.failed_check)


def _success(evidence: Evidence, item_id: str, land: Landing) -> Record:
    if evidence.commits == 0:
        return _record(evidence, "done", "done", "nothing to land: the program changed nothing")
    if land == "review":
        why = (
            f"wants a look before it lands: `parallel-loop diff {item_id}`, then "
            f"`parallel-loop approve {item_id}` or `parallel-loop reject {item_id} REASON`"
        )
        return _record(evidence, "waiting", REVIEW, why)
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
    )
