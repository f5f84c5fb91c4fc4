"""Landing: one branch at a time is merged, checked as merged, and only then becomes the landing branch.

Guarantees:
- whatever the landing branch points to has passed the checks, in a worktree of its own, as merged;
- the landing branch moves by compare-and-swap, and an item is done only after it moved; killed between the
  two, the next lander sees that the commit has landed and finishes the record;
- one lander at a time (a lock that ends with the process).

The target follows as soon as git can move it without touching the user's files (target_keeper.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..harness.child import hold_for_life, serve
from ..harness.heart import Heart
from ..harness.keeping.processes import end_marked
from ..harness.keeping.tree import become_subreaper
from ..harness.orders import Orders
from ..harness.project import Project
from ..harness.room import Room
from ..harness.setting_up import ensure_landing_branch
from ..harness.shortage import is_shortage
from ..queue.atomic import Unreadable
from ..queue.records import Entry, Record
from ..queue.watching import BellWatch
from ..worktrees.branches import attempt_branch, free_branch
from ..worktrees.errors import GitError
from ..worktrees.landing import LANDING_BRANCH, Candidate, Conflict
from ..worktrees.pool import Pool
from ..worktrees.recycle import RecycleFailed
from ..worktrees.repository import Repository
from ..worktrees.setup import OutsideTree
from .checking import Checker
from .target_keeper import TargetKeeper, describe_conflict
from .target_report import LANDER

_MOST_FAULTS = 3  # of git with one item, before it is given back; another git may have been in the way
_FAULT_PAUSE_SECONDS = 1.0
_FAULTS = (GitError, RecycleFailed, OutsideTree)
_MOST_MOVES = 5  # of the landing branch by others while one item is checked: then it is the check that moves it


class Lander:
    """The one who lands. Holds the landing worktree and the landing lock while it exists."""

    def __init__(self, project: Project, target: str, orders: Orders) -> None:
        self._project, self._target, self._orders = project, target, orders
        orders.obey_death(project.config.on_coordinator_death)
        agent = project.state.agent(LANDER)
        agent.create()
        self._lock = hold_for_life(project.state.landing_lock, "landing")
        become_subreaper()
        end_marked(project.state.root, {LANDER})
        self._heart = Heart(agent, project.config.health.heartbeat_seconds)
        self._heart.tell("starting")
        self._repository = Repository.open(project.root)
        self._pool = Pool(self._repository, project.worktrees, project.state.worktrees_lock)
        worktree = self._pool.ensure(LANDER)
        self._branch = ensure_landing_branch(self._repository, worktree, target)
        self._branch.take_over()
        self._tip = self._branch.tip()  # where we left the landing branch
        for commit in self._branch.candidates_left():
            self._branch.abandon(Candidate(commit, "", ""))
        self._room = Room(project, orders, self._heart, LANDER)
        checker = Checker(project, self._pool, worktree, self._branch, self._room)
        self._check = checker.check
        self._keeper = TargetKeeper(project, target, self._repository, self._branch, checker)
        self._faults: Counter[str] = Counter()
        self._heart.rest()

    def run(self) -> None:
        """Land what comes until the orders say to finish."""
        with contextlib.closing(BellWatch(self._project.queue.bell)) as watch:
            while not self._orders.finishing:
                if not self.land_next():
                    if self._keeper.is_due():
                        self.look_at_target()
                    self._heart.beat()
                    seconds = min(self._heart.seconds_until_beat, self.seconds_until_look)
                    seconds = min(seconds, self._room.longest_wait_seconds)
                    self._orders.wait_for_ring(watch, seconds)

    def land_all(self) -> None:
        """Land everything that waits now, and let the target follow."""
        landed = False
        while not self._orders.stopping and self.land_next():
            landed = True
        if landed or self._keeper.is_due():
            self.look_at_target()

    def land_next(self) -> bool:
        """Land, or send back, the branch that has waited longest; False when none waits, or there is no room for it."""
        return self._room.lack() is None and self._with_patience(self._land_next)

    def _with_patience(self, act: Callable[[], bool]) -> bool:
        """Return what `act` returns; False, a moment later, when it fails for want of room: nothing is lost by that.

        Every step of landing can be begun again, whatever of it was done before.
        """
        try:
            return act()
        except (*_FAULTS, OSError) as error:
            if not self._is_want_of_room(error):
                raise
            self._heart.rest()
            self._room.wait(error)
            return False

    def _is_want_of_room(self, error: Exception) -> bool:
        return is_shortage(error) or self._room.lack() is not None  # git does not always say why

    def _land_next(self) -> bool:
        queue = self._project.queue
        for item_id in queue.hints.landing():
            try:
                entry = queue.entry(item_id)
            except Unreadable:  # `attention` names it; the others must not wait for it
                continue
            if entry is None or entry.last is None or entry.last.kind != "landing":
                self._unmark(item_id)
                continue
            if self._keeper.branch_checked_out():  # told of by the keeper's next look
                return False
            self._heart.tell("landing", item=item_id, attempt=entry.attempts)
            self._land_or_send_back(entry, entry.last)
            self._heart.rest(done=1)
            return not self._orders.stopping
        return False

    @property
    def seconds_until_look(self) -> float:
        """For how long the target need not be looked at."""
        return max(self._keeper.seconds_until_due, self._room.least_wait_seconds)

    def look_at_target(self) -> None:
        """Let the target follow, after merging in what the user committed there."""
        if self._room.lack() is None:
            self._with_patience(self._look_at_target)

    def _look_at_target(self) -> bool:
        self._pool.ensure(LANDER)  # anybody may have deleted it
        self._restore_branch()
        self._keeper.look()
        self._tip = self._branch.tip()
        return True

    # --- one item -------------------------------------------------------------------------------------

    def _land_or_send_back(self, entry: Entry, handed: Record) -> None:
        try:
            self._pool.ensure(LANDER)
            self._restore_branch()
            landed = self._land(entry, handed)
        except _FAULTS as error:
            if self._is_want_of_room(error):
                raise OSError(errno.ENOSPC, str(error)) from error
            if isinstance(error, GitError) and self._keeper.note_obstacle(error):
                self.look_at_target()
                self._orders.wait(
                    _FAULT_PAUSE_SECONDS
                )  # and again: the work is done, it must not be done twice for this
                return
            self._faults[entry.item.id] += 1
            gone = handed.commit is None or self._repository.resolve(handed.commit) is None
            if gone or self._faults[entry.item.id] >= _MOST_FAULTS:  # the others must not wait for it any longer
                self._send_back(entry, handed, "error", str(error))
            else:
                self._orders.wait(_FAULT_PAUSE_SECONDS)
            return
        self._faults.pop(entry.item.id, None)
        self._keeper.note_obstacle(None)
        if landed:
            self._keeper.look()

    def _land(self, entry: Entry, handed: Record) -> bool:
        """Land the item or send it back; False when it has not landed."""
        item = entry.item
        if handed.commit is None:
            self._send_back(entry, handed, "error", "it was handed over for landing without a commit")
            return False
        message = (
            f"{item.title}\n\nItem: {item.id}\nAttempt: {entry.attempts}\nAgent: {handed.agent}\n"
            f"Branch: {handed.branch}\n"
        )
        is_wanted = self._is_still_landing(entry)
        heir = free_branch(self._repository.git, attempt_branch(item.id, entry.attempts + 1))
        for _ in range(_MOST_MOVES):
            if self._branch.is_landed(handed.commit):
                self._record_landed(entry, handed, handed.commit)
                return True
            candidate = self._branch.merge(handed.commit, message)
            if isinstance(candidate, Conflict):
                self._send_back(entry, handed, "conflict", describe_conflict(candidate))
                return False
            verdict = self._check(candidate, f"{item.id}-{entry.attempts}", is_wanted)
            if not verdict.passed or not is_wanted():  # looked at after the heir's name was: see branches.py
                self._branch.abandon(candidate)
                if verdict.failed:
                    why = f"{verdict.failed} on the result of merging it with what landed before"
                    self._send_back(entry, handed, "check-failed", why, verdict.output)
                return False
            if self._branch.advance(candidate, heir=heir):
                self._tip = candidate.commit
                self._record_landed(entry, handed, candidate.commit)
                return True
            self._branch.abandon(candidate)
        self._send_back(entry, handed, "error", f"{LANDING_BRANCH} moved {_MOST_MOVES} times while it was checked")
        return False

    def _is_still_landing(self, entry: Entry) -> Callable[[], bool]:
        """Return what tells whether the item still waits for landing: it may be cancelled meanwhile."""
        has_record, item_id, number = self._project.queue.chain.has_record, entry.item.id, entry.next_number
        return lambda: not has_record(item_id, number)

    def _record_landed(self, entry: Entry, handed: Record, commit: str) -> None:
        self._repository.flush()
        done = msgspec.structs.replace(handed, kind="done", at=self._project.queue.now(), commit=commit)
        self._close(entry, done, "landed")

    def _send_back(self, entry: Entry, handed: Record, outcome: str, why: str, output: str = "") -> None:
        """Give the item back for another attempt, which is told why; out of attempts, it is failed."""
        failure = msgspec.structs.replace(
            handed, kind="released", at=self._project.queue.now(), outcome=outcome, why=why, text=output or None
        )
        record = self._project.retry.after_failure(entry, failure)
        self._close(entry, record, record.kind)
        self._faults.pop(entry.item.id, None)

    def _close(self, entry: Entry, record: Record, event: str) -> None:
        if self._project.queue.append(entry, record):
            self._project.state.record_event(
                event,
                item=entry.item.id,
                attempt=entry.attempts,
                agent=record.agent,
                outcome=record.outcome,
                why=record.why,
                commit=record.commit,
                seconds=record.seconds,
            )
        self._unmark(entry.item.id)

    def _unmark(self, item_id: str) -> None:
        """Remove the hint that the item waits for landing, unless it does: another attempt may have come so far.

        Removed first, then looked at: whoever hands it over makes the record first, then the hint.
        """
        queue = self._project.queue
        queue.hints.unmark_landing(item_id)
        with contextlib.suppress(Unreadable):
            entry = queue.entry(item_id)
            if entry is not None and entry.last_is("landing"):
                queue.refresh_hints(entry)

    # --- the landing branch ---------------------------------------------------------------------------

    def _restore_branch(self) -> None:
        """Put the landing branch back where we left it when somebody deleted it.

        A worker that met the gap may have begun it again at the target, which need not have all that landed.
        """
        now = self._repository.branch_tip(LANDING_BRANCH)
        if now is None:
            self._branch.ensure(self._tip)
        elif now != self._tip and self._is_behind(now):
            self._branch.advance(Candidate(self._tip, "", now))
        else:
            return
        self._project.state.record_event("restored", commit=self._tip, why=f"{LANDING_BRANCH} was deleted or moved")

    def _is_behind(self, tip: str) -> bool:
        return self._repository.git.run("merge-base", "--is-ancestor", tip, self._tip, ok=(0, 1)).returncode == 0

    def close(self) -> None:
        """Give the landing worktree and the lock up."""
        os.close(self._lock)


def main(arguments: list[str]) -> int:
    """Land: `arguments` are repository, target and the file of the configuration."""
    root, target, *accepted = arguments
    return serve(lambda orders: Lander(Project.open(Path(root), accepted=accepted), target, orders))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
