"""A worker: the process that fills an agent's place. It takes items one at a time and makes attempts at them.

Guarantees: one worker at most has an agent's place (a lock that ends with the process); what a killed
predecessor left running there is ended before the worktree is touched.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from pathlib import Path

from ..queue.clock import seconds_until
from ..queue.markers import Owner
from ..queue.records import Record
from ..queue.taking import Claim, Taker
from ..queue.watching import BellWatch
from ..worktrees.pool import Pool
from ..worktrees.repository import Repository
from .attempt import NO_FAULT_OF_THE_PROGRAM, Attempt
from .child import hold_for_life, serve
from .floors import Room
from .heart import Heart
from .identity import own_identity
from .orders import Orders
from .outcome import NO_ROOM
from .processes import end_marked
from .project import Project
from .shortage import once_there_is_room
from .tree import become_subreaper
from .trials import Trials
from .workplace import Workplace

_ROOM_SECONDS = 1.0  # how soon it is noticed that a disk is not full any more
_BREATH_SECONDS = 5.0  # between attempts that found no room; so the queue is not churned through
_HELD_SECONDS = 5.0  # between looks whether there is memory and disk enough to start an attempt again
_LOOK_AGAIN_SECONDS = 30.0  # after which an idle worker trusts no earlier listing: a ring of the bell can be lost


class Worker:
    """The worker of one agent."""

    def __init__(self, project: Project, agent_name: str, target: str, orders: Orders) -> None:
        self._project = project
        self._orders = orders
        orders.obey_death(project.config.on_coordinator_death)
        self._agent = project.state.agent(agent_name)
        self._agent.create()
        self._lock = hold_for_life(self._agent.lock, agent_name)
        self._heart = Heart(self._agent, project.config.health.heartbeat_seconds)
        self._heart.tell("starting")  # before what takes time
        become_subreaper()
        end_marked(project.state.root, {agent_name})
        repository = Repository.open(project.root)
        pool = Pool(repository, project.worktrees, project.state.worktrees_lock)
        self._place = Workplace(project, repository, self._agent, pool, target, orders, self._heart)
        with self._heart.beating():
            self._place.worktree()
        self._look_again_at = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._taker = Taker(project.queue, Owner(agent_name, *own_identity()), project.wip)
        self._trials = Trials(project)
        self._held_by: Room | None = None
        self._heart.rest()

    def run(self) -> None:
        """Work until the orders say to finish."""
        with contextlib.closing(BellWatch(self._project.queue.bell)) as watch:
            while not self._orders.finishing:
                if not self.work_once():
                    self.wait(watch)

    def wait(self, watch: BellWatch, at_most_seconds: float = math.inf) -> None:
        """Wait until the bell rings, an order comes, or it is time for something that nobody tells of."""
        self._heart.beat()
        now = time.monotonic()
        if now >= self._look_again_at:
            self._taker.look_again()
            self._look_again_at = now + _LOOK_AGAIN_SECONDS
            return
        due = math.inf if self._orders.paused else self._seconds_until_due()
        seconds = min(at_most_seconds, due, self._heart.seconds_until_beat, self._look_again_at - now)
        self._orders.wait_for_ring(watch, seconds)

    def _seconds_until_due(self) -> float:
        if self._held_by is not None:
            return _HELD_SECONDS
        due = seconds_until(self._taker.next_due, self._project.queue.now())
        return min(due, self._trials.seconds_until_due)

    def work_once(self) -> bool:
        """Make one attempt at the first item that can be taken; False when there is none, or none is wanted."""
        if self._orders.finishing or self._lacks_room() or self._orders.paused:
            return False
        claim = self._trials.take(self._taker)
        if claim is None:
            return False
        self._tell_event("claimed", claim, None)
        attempt = Attempt(self._place, self._taker, claim)
        record = self._trials.settle(claim.item, attempt.make(), attempt.evidence)
        if record is None or not self._record(claim, record):
            self._abandon(claim)
            return True
        self._tell_event(record.kind, claim, record)
        succeeded = record.kind in {"landing", "done"}
        self._heart.rest(done=int(succeeded), failed=int(record.counted and not succeeded))
        if record.outcome == NO_ROOM:
            self._orders.wait(_BREATH_SECONDS)
        return True

    @property
    def is_held(self) -> bool:
        """Whether there was too little memory or disk for another attempt at the last look."""
        return self._held_by is not None

    def _lacks_room(self) -> bool:
        """Look whether there is memory and disk enough for another attempt; if not, say so in the heartbeat."""
        short = self._project.want_of_room
        before, self._held_by = self._held_by, short
        if short is not None and (before is None or before.what != short.what):  # not at each change of the amount
            self._heart.tell("held", why=short.describe())
        elif short is None and before is not None:
            self._heart.rest()
        return short is not None

    def _record(self, claim: Claim, record: Record) -> bool:
        """End the claim with `record`, waiting for room on the disk if need be; False when it is not ours any more.

        The work is done and may have been expensive: to end instead would have it done again. Raises OSError when
        it cannot be written for another reason, or when we are to stop at once; the claim is then that of a dead
        worker, and is taken back.
        """

        told = False

        def wait(why: str) -> bool:
            nonlocal told
            if not told:
                self._tell_event("cannot-record", claim, record, why)
            told = True
            self._orders.wait(_ROOM_SECONDS)
            self._heart.beat()
            return not self._orders.stopping and self._taker.holds(claim)

        try:
            return once_there_is_room(lambda: self._taker.end(claim, record), wait)
        except OSError:
            if self._taker.holds(claim):
                raise
            return False

    def _abandon(self, claim: Claim) -> None:
        """The claim is not ours any more: keep what was done for a person to look at, and record nothing."""
        self._taker.forget(claim)
        why = None
        with self._heart.beating():
            try:
                self._place.rescue(self._place.worktree())
            except NO_FAULT_OF_THE_PROGRAM as error:  # it stays where it is; the next attempt begins with the same
                why = str(error)
        self._tell_event("abandoned", claim, None, why)
        self._heart.rest()

    def _tell_event(self, event: str, claim: Claim, record: Record | None, why: str | None = None) -> None:
        self._project.state.record_event(
            event,
            item=claim.item.id,
            attempt=claim.attempt,
            agent=self._agent.name,
            outcome=record.outcome if record else None,
            why=why or (record.why if record else None),
        )

    def close(self) -> None:
        """Give the place up."""
        self._taker.close()
        os.close(self._lock)


def main(arguments: list[str]) -> int:
    """Run the worker of an agent: `arguments` are repository, agent, target and the file of the configuration."""
    root, agent_name, target, *accepted = arguments
    return serve(lambda orders: Worker(Project.open(Path(root), accepted=accepted), agent_name, target, orders))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
