"""A worker or a lander that stops itself (SIGSTOP) in the middle of its work, and goes on as if nothing had happened.

Arguments: KIND ROOT PLAN. A turn is one item. The file PLAN says after how much of a turn to stop (0 to 1), or nothing.
On standard output it says what it takes, where it stops, and when a turn is over. Its steps are the durable ones of the
queue's code, every git command (before and after), and the start of a program.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from parallel_loop.coordinator.lander import Lander
from parallel_loop.harness import runner
from parallel_loop.harness.child import Service, serve
from parallel_loop.harness.keeping.kept import Command, Kept
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.harness.worker import Worker
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.worktrees.git import Git
from support.steps import watched

_write = os.write  # as it is before it is watched
_STEPS_OF_A_LANDING = 70  # of one item, as counted; the landers that are stopped are in their first turn


def say(text: str) -> None:
    _write(1, f"{text}\n".encode())


class Stopper:
    """Counts the steps of a turn, and stops the process before the one that the plan means."""

    def __init__(self, plan: Path, expected: int) -> None:
        self._plan = plan
        self._expected = expected  # as many as the last turn had that was not stopped
        self._count, self._at = -1, -1  # -1: not in a turn; no stop in this one

    def begin(self) -> None:
        planned = self._plan.read_text()
        self._count, self._at = 0, int(float(planned) * self._expected) if planned else -1

    def end(self, *, worked: bool) -> None:
        if worked and self._at < 0:
            self._expected = self._count
        if worked or 0 <= self._at < self._count:
            say("through")
        self._count = -1

    def step(self, name: str) -> None:
        if self._count < 0:
            return
        if self._count == self._at:
            say(f"stopped before {name}")
            os.kill(os.getpid(), signal.SIGSTOP)
        self._count += 1


def watch(stopper: Stopper) -> None:
    """Make steps of git commands and of the start of a program, and tell of every claim, for good."""
    run, start, take = Git.run, runner.Kept, Taker.take

    def run_git(self: Git, *argv: str, **options: Any) -> Any:
        stopper.step(f"git {argv[0]}")
        result = run(self, *argv, **options)
        stopper.step(f"looking at git {argv[0]}")
        return result

    def start_program(command: Command) -> Kept:
        stopper.step("the program")
        kept = start(command)
        stopper.step("waiting for the program")
        return kept

    def take_and_tell(self: Taker) -> Claim | None:
        claim = take(self)
        if claim is not None:
            say("took")
        return claim

    Git.run = run_git  # type: ignore[method-assign]
    runner.Kept = start_program  # type: ignore[assignment,misc]
    Taker.take = take_and_tell  # type: ignore[method-assign]


class LateWorker(Worker):
    stopper: Stopper

    def work_once(self) -> bool:
        self.stopper.begin()
        worked = super().work_once()
        self.stopper.end(worked=worked)
        return worked


class LateLander(Lander):
    stopper: Stopper

    def land_next(self) -> bool:
        self.stopper.begin()
        landed = super().land_next()
        self.stopper.end(worked=landed)
        return landed


def main(kind: str, root: str, plan: str) -> int:
    stopper = Stopper(Path(plan), _STEPS_OF_A_LANDING if kind == "lander" else 0)
    LateWorker.stopper = LateLander.stopper = stopper

    def make(orders: Orders) -> Service:
        project = Project.open(Path(root))
        lands = kind == "lander"
        made = LateLander(project, "main", orders) if lands else LateWorker(project, "agent-1", "main", orders)
        watch(stopper)
        say("ready")
        return made

    with watched(lambda step: stopper.step(step.name)):
        return serve(make)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
