"""Landing: what waits is merged, checked as merged, and only then becomes the landing branch (train.py).

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
import itertools
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..harness.child import hold_for_life, serve
from ..harness.heart import Heart
from ..harness.keeping.processes import end_marked
from ..harness.keeping.tree import become_subreaper
from ..harness.orders import Orders
from ..harness.project import Project
from ..harness.room import Room
from ..harness.setting_up import LANDER_IDENTITY, ensure_landing_branch
from ..harness.shortage import is_shortage
from ..queue.watching import BellWatch
from ..worktrees.branches import attempt_branch, attempt_branches, free_among
from ..worktrees.errors import GitError
from ..worktrees.landing import LANDING_BRANCH, Candidate
from ..worktrees.pool import Pool
from ..worktrees.recycle import RecycleFailed
from ..worktrees.repository import Repository
from ..worktrees.setup import OutsideTree
from ..worktrees.target import Blocked
from .checking import Checker
from .forecaster import Forecaster
from .housekeeping import Housekeeper
from .landing_records import LandingRecords, Waiting
from .target_keeper import TargetKeeper
from .target_report import LANDER
from .train import Faulty, RedBase, Train, Unsettled

_MOST_FAULTS = 3  # of git with one item, before it is given back; another git may have been in the way
_FAULT_PAUSE_SECONDS = 1.0
_FAULTS = (GitError, RecycleFailed, OutsideTree)
_MOST_MOVES = 5  # of the landing branch by others while one item is checked: then it is the check that moves it
_RED_SECONDS = 600.0  # after which what failed by itself is tried again: a service that the checks need may be back


class _RedBase:
    """A tip of the landing branch that fails the checks by itself, and the attempts that did not mend it."""

    def __init__(self, commit: str) -> None:
        self.commit = commit
        self.tried: set[tuple[str, int]] = set()
        self._until = 0.0

    def note(self, suspect: Waiting) -> None:
        """Leave out `suspect`: another one may mend it. All are tried again some time after the last was."""
        self.tried.add((suspect.item.id, suspect.attempt))
        self._until = time.monotonic() + _RED_SECONDS

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._until


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
        self._begun_at = self._branch.tip()
        for commit in self._branch.candidates_left():
            self._branch.abandon(Candidate(commit, "", ""))
        self._room = Room(project, orders, self._heart, LANDER)
        checker = Checker(project, self._pool, worktree, self._branch, self._room)
        self._keeper = TargetKeeper(project, target, self._repository, self._branch, checker)
        self._records = LandingRecords(project)
        self._train = Train(project, self._repository, self._branch, checker, self._records)
        self._forecaster = Forecaster(project, self._repository, worktree)
        self._red_base: _RedBase | None = None
        self._one_by_one = 0  # for so many rounds, to see who is at fault
        self._faults: Counter[str] = Counter()
        self._moves: Counter[str] = Counter()
        self._housekeeper = Housekeeper(project, target, self._repository, self._pool, worktree.git(LANDER_IDENTITY))
        self._heart.rest()

    def run(self) -> None:
        """Land what comes until the orders say to finish."""
        with contextlib.closing(BellWatch(self._project.queue.bell)) as watch:
            if self._project.config.remote is not None:  # what others pushed comes before what waits here
                self.look_at_target()
            while not self._orders.finishing:
                landed = self.land_next()
                if not landed and self._keeper.is_due():
                    self.look_at_target()
                if self._forecaster.is_due(busy=landed) and self._room.lack() is None:
                    self._forecaster.make()
                if not landed:
                    self._housekeeper.tidy_when_due()
                    self._heart.beat()
                    seconds = min(self._heart.seconds_until_beat, self.seconds_until_look)
                    seconds = min(seconds, max(self._forecaster.seconds_until_due, self._room.least_wait_seconds))
                    seconds = min(seconds, self._room.longest_wait_seconds)
                    self._orders.wait_for_ring(watch, seconds)
        self.settle()
        if not self._orders.stopping:
            self._with_patience(self._forget_recorded)
            self._housekeeper.tidy()

    def _forget_recorded(self) -> bool:
        """Remove the refs of what has landed and is recorded: the next batch, which does that, does not come."""
        self._train.tidy()
        return True

    def settle(self) -> None:
        """Push what landed, before this process ends."""
        self._keeper.settle(self._wait_beating, lambda: self._orders.stopping)

    def _wait_beating(self, seconds: float) -> None:
        self._heart.beat()
        self._orders.wait(seconds)

    def land_all(self) -> None:
        """Land everything that waits now, and let the target follow."""
        landed = False
        while not self._orders.stopping and self.land_next():
            landed = True
        if landed or self._keeper.is_due():
            self.look_at_target()
        self._housekeeper.tidy_when_due()

    def land_in_turn(self) -> None:
        """Land everything that waits now, until the orders say to finish, and let the target follow."""
        while not self._orders.finishing and self.land_next():
            self._orders.wait(0)  # hear them
        self.look_at_target()
        self.settle()

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
        batch = self._next_batch()
        if not batch:
            self._train.tidy()
        if not batch or self._keeper.branch_checked_out():  # told of by the keeper's next look
            return False
        self._heart.tell("landing", item=batch[0].item.id, attempt=batch[0].attempt)
        self._land(batch)
        ended = sum(not self._records.is_wanted(waiting) for waiting in batch)
        self._heart.rest(done=ended)
        return not self._orders.stopping

    def _next_batch(self) -> list[Waiting]:
        """Return what is to land next, who has waited longest first, but for what a red base keeps waiting."""
        if self._red_base is not None and (self._red_base.is_over or self._branch.tip() != self._red_base.commit):
            self._red_base = None
            self._keeper.obstruct(None)
        tried = self._red_base.tried if self._red_base is not None else ()
        size = 1 if self._one_by_one else self._train.size
        waiting = (found for found in self._records.waiting() if (found[0].item.id, found[0].attempts) not in tried)
        found = list(itertools.islice(waiting, size))
        self._one_by_one = max(0, self._one_by_one - 1)
        taken = attempt_branches(self._repository.git) if found else ()
        batch = []
        for entry, handed in found:
            if handed.commit is None:
                why = "it was handed over for landing without a commit"
                self._records.send_back(entry, handed, "error", why)
                continue
            heir = free_among(taken, attempt_branch(entry.item.id, entry.attempts + 1))
            batch.append(Waiting(entry, handed, heir))
        return batch

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
        return True

    # --- one batch ------------------------------------------------------------------------------------

    def _land(self, batch: Sequence[Waiting]) -> None:
        before = self._tip
        try:
            self._pool.ensure(LANDER)
            self._restore_branch()
            self._train.land(batch)
        except Faulty as fault:
            self._bear(fault.waiting, fault.error)
        except _FAULTS as error:
            if len(batch) == 1 or self._is_want_of_room(error) or self._is_obstacle(error):
                self._bear(batch[0], error)
            else:
                self._one_by_one = len(batch)  # it shows whose fault it is
        except RedBase as red:
            if self._red_base is None or self._red_base.commit != red.commit:
                self._red_base = _RedBase(red.commit)
            self._red_base.note(red.suspect)
            self._keeper.obstruct(self._describe(red))
        except Unsettled as unsettled:
            if unsettled.moved:
                self._note_move(batch)
        else:
            self._forget_faults(batch)
            self._keeper.note_obstacle(None)
        if self._branch.tip() != before:
            self._keeper.look()

    def _forget_faults(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            self._faults.pop(waiting.item.id, None)
            self._moves.pop(waiting.item.id, None)

    def _bear(self, waiting: Waiting, error: Exception) -> None:
        """Wait for what hinders git to pass; an item that it fails with again and again is given back."""
        if self._is_want_of_room(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        if isinstance(error, GitError) and self._keeper.note_obstacle(error):
            self.look_at_target()
            self._orders.wait(_FAULT_PAUSE_SECONDS)  # and again: the work is done, it must not be done twice for this
            return
        self._faults[waiting.item.id] += 1
        gone = self._repository.resolve(waiting.commit) is None
        if gone or self._faults[waiting.item.id] >= _MOST_FAULTS:  # the others must not wait for it any longer
            self._records.send_back(waiting.entry, waiting.handed, "error", str(error))
            self._forget_faults([waiting])
        else:
            self._orders.wait(_FAULT_PAUSE_SECONDS)

    def _is_obstacle(self, error: Exception) -> bool:
        return isinstance(error, GitError) and self._keeper.is_obstacle(error)

    def _note_move(self, batch: Sequence[Waiting]) -> None:
        """Somebody moved the landing branch while it was checked; if that goes on, it is what is checked that does."""
        for waiting in batch:
            self._moves[waiting.item.id] += 1
            if len(batch) == 1 and self._moves[waiting.item.id] >= _MOST_MOVES:
                why = f"{LANDING_BRANCH} moved {_MOST_MOVES} times while it was checked"
                self._records.send_back(waiting.entry, waiting.handed, "error", why)
                self._forget_faults([waiting])
        if len(batch) > 1:
            self._one_by_one = len(batch)

    def _describe(self, red: RedBase) -> Blocked:
        log = self._project.state.agent(LANDER).logs / f"base-{red.commit[:12]}.log"
        why = f"{red.verdict.failed} on what is there without any new work, so nothing lands but what mends that"
        return Blocked(why, f"less {shlex.quote(str(log))}")

    # --- the landing branch ---------------------------------------------------------------------------

    @property
    def _tip(self) -> str:
        """Where we left the landing branch; where somebody else moved it to, nobody has checked."""
        return self._branch.moved_to or self._begun_at

    def _restore_branch(self) -> None:
        """Put the landing branch back where we left it when somebody deleted it.

        A worker that met the gap may have begun it again at the target, which need not have all that landed.
        """
        left_at = self._tip
        now = self._repository.branch_tip(LANDING_BRANCH)
        if now is None:
            self._branch.ensure(left_at)
        elif now != left_at and self._is_behind(now):
            self._branch.advance(Candidate(left_at, "", now))
        else:
            return
        self._project.state.record_event("restored", commit=left_at, why=f"{LANDING_BRANCH} was deleted or moved")

    def _is_behind(self, tip: str) -> bool:
        return self._repository.git.run("merge-base", "--is-ancestor", tip, self._tip, ok=(0, 1)).returncode == 0

    def close(self) -> None:
        """Give the landing worktree and the lock up."""
        self._keeper.close()
        os.close(self._lock)


def main(arguments: list[str]) -> int:
    """Land: `arguments` are repository, target and the file of the configuration."""
    root, target, *accepted = arguments
    return serve(lambda orders: Lander(Project.open(Path(root), accepted=accepted), target, orders))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
