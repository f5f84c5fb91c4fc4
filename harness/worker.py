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
from ..worktrees.errors import GitError
from ..worktrees.landing import LANDING_BRANCH
from ..worktrees.pool import Pool
from ..worktrees.repository import Repository
from .accounts.governor import Governor
from .attempt import NO_FAULT_OF_THE_PROGRAM, Attempt
from .budgets import RunBudget
from .child import hold_for_life, serve
from .heart import Heart
from .identity import own_identity
from .keeping.processes import end_marked
from .keeping.tree import become_subreaper
from .orders import Orders
from .outcome import NO_ROOM
from .overlaps.choice import Choice
from .overlaps.named import Names
from .pausing.trials import Trials
from .project import Project
from .room import Room
from .shortage import is_shortage, once_there_is_room
from .state import read_session
from .workplace import Workplace

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
        self._room = Room(project, orders, self._heart, agent_name)
        self._room.keep_ballast()
        self._place = Workplace(project, repository, self._agent, pool, target, orders, self._heart, self._room)
        with self._heart.beating():
            self._rescue_what_is_left()
        self._look_again_at = time.monotonic() + _LOOK_AGAIN_SECONDS
        self._taker = Taker(project.queue, Owner(agent_name, *own_identity()), project.wip)
        self._trials = Trials(project)
        self._run_budget = RunBudget(project)
        names = Names(repository.git, f"refs/heads/{LANDING_BRANCH}")
        self._governor = Governor(project, agent_name, self._trials)
        left = read_session(self._agent)
        if left is not None:
            self._governor.keep_session(left.item)
        self._choice = Choice(project, self._governor, names)
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
        seconds = min(seconds, self._room.longest_wait_seconds)
        self._orders.wait_for_ring(watch, seconds)

    def _seconds_until_due(self) -> float:
        if self._room.is_lacking:  # what is due stays due meanwhile
            return math.inf
        due = seconds_until(self._taker.next_due, self._project.queue.now())
        return min(due, self._trials.seconds_until_due, self._governor.seconds_until_due)

    def work_once(self) -> bool:
        """Make one attempt at the first item that can be taken; False when there is none, or none is to be taken."""
        if self._orders.finishing or self._room.lack_to_begin() is not None or self._orders.paused:
            return False
        claim = self._take()
        if claim is None:
            return False
        self._tell_event("claimed", claim, None)
        self._run_budget.add_what_was_lost(claim.entry)
        attempt = Attempt(self._place, self._taker, claim, self._note_lasting)
        record = self._governor.settle(claim, attempt.make(), attempt.evidence)
        record = self._trials.settle(claim.item, record, attempt.evidence)
        self._run_budget.add(attempt.evidence.program or "", attempt.evidence.usage)
        if record is None or not self._record(claim, record):
            self._abandon(claim)
            return True
        self._tell_event(record.kind, claim, record)
        succeeded = record.kind in {"landing", "done"}  # what waits for a person has done neither
        self._heart.rest(done=int(succeeded), failed=int(record.counted and record.kind in {"released", "failed"}))
        if record.outcome == NO_ROOM:
            self._room.take_a_breath(lambda: self._orders.finishing)
        else:
            self._room.breathe_freely()
        return True

    def _note_lasting(self) -> None:
        self._trials.note_lasting()
        self._governor.note_lasting()

    @property
    def is_held(self) -> bool:
        """Whether there was no room for another attempt at the last look."""
        return self._room.is_lacking

    def _take(self) -> Claim | None:
        try:
            return self._choice.take(self._taker)
        except OSError as error:
            if not is_shortage(error):
                raise
            self._room.wait(error)
            return None

    def _record(self, claim: Claim, record: Record) -> bool:
        """End the claim with `record`, waiting for room on the disk if need be; False when it is not ours any more.

        The work is done and may have been expensive: to end instead would have it done again. Raises OSError when
        it cannot be written for another reason, or when we are to stop at once and have no ballast left; the claim is
        then that of a dead worker, and is taken back.
        """
        told = False

        def wait(error: OSError | GitError) -> bool:
            nonlocal told
            told = told or self._tell_event("cannot-record", claim, record, str(error))
            if self._orders.stopping:
                return self._taker.holds(claim) and self._room.throw_off_ballast()
            self._room.wait(error)
            return self._taker.holds(claim)

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

    def _rescue_what_is_left(self) -> None:
        """Make the worktree if need be, and save what a worker that was killed here left in it.

        Now and not at the next attempt: there may be nothing to take for long, and the item has been taken back.
        """
        worktree = self._place.worktree()
        if read_session(self._agent) is not None:
            with contextlib.suppress(*NO_FAULT_OF_THE_PROGRAM):  # it stays where it is, and `salvage` lists it
                self._place.rescue(worktree)

    def _tell_event(self, event: str, claim: Claim, record: Record | None, why: str | None = None) -> bool:
        return self._project.state.record_event(
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
