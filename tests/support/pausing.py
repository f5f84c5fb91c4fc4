"""Workers and a program that is paused, as far as taking items and ending them go."""

from __future__ import annotations

import os

from parallel_loop.harness.job import Run
from parallel_loop.harness.outcome import Evidence
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.pausing.trials import Trials
from parallel_loop.harness.project import Project
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, Taker
from support.queues import Clock
from support.runs import add
from support.taking import claimed

MINE = "programs: {mine: {argv: [mine]}, yours: {argv: [yours]}}\nroles: {narrow: {wip: 1}}\n"


class Stand:
    """A worker as far as taking and ending go: its attempts come to what the test says."""

    def __init__(self, project: Project, name: str = "agent-1") -> None:
        self.project = project
        self.trials = Trials(project)
        self.taker = Taker(project.queue, Owner(name, os.getpid()), project.wip)

    def take(self) -> Claim | None:
        return self.trials.take(self.taker)

    def taken(self) -> str | None:
        """Take one and hold it."""
        claim = self.take()
        return claim and claim.item.id

    def end(
        self, claim: Claim, outcome: str = "failed", said: str = "sh: no", seconds: float = 1.0, **fields: object
    ) -> Record | None:
        """End the attempt as one whose program ran for a second and ended with exit code 1, if it failed."""
        at = self.project.queue.now()
        code = 0 if outcome in {"done", "check-failed"} else 1
        kind = "done" if outcome == "done" else "released"
        run = Run("exited", 1.0, code)
        evidence = Evidence(at, "agent-1", claim.started_at, seconds, "b", "l", run=run, output=said)
        record = Record(**({"kind": kind, "at": at, "outcome": outcome} | fields))
        settled = self.trials.settle(claim.item, record, evidence)
        assert settled is not None
        assert self.taker.end(claim, settled)
        return settled


def add_all(project: Project, *names: str, **fields: object) -> None:
    for name in names:
        add(project, name, **({"command": None, "program": "mine"} | fields))


def with_clock(project: Project, clock: Clock) -> Project:
    project.queue.now = clock
    return project


def end_three(stand: Stand, outcome: str = "failed", **fields: object) -> None:
    """Three attempts, the next that there are, end alike, and none of them is repeated soon."""
    for _ in range(3):
        stand.end(claimed(stand), outcome, **({"not_before": "2099-01-01T00:00:00.000000Z"} | fields))


def pause(project: Project, **fields: object) -> Stand:
    """Have three attempts at `mine` fail alike; return the worker that made them."""
    add_all(project, "p1", "p2", "p3", **({"priority": 0} | fields))
    stand = Stand(project)
    end_three(stand)
    assert PauseFile(project).in_force() != {}
    return stand
