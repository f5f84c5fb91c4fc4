"""What `doctor --repair` does in git: finds again what killed processes left there, and tidies it.

Guarantees: what somebody worked in is saved before anything is done to it; a lock is removed only when no git of ours
can hold it (its lease is free, and so is the place); what a living worker or lander has is left alone.

Assumes: the caller holds the coordinator's lock, so that no place is filled meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from ..harness.child import PlaceTaken, hold_for_life
from ..harness.project import Project
from ..harness.rescuing import rescue
from ..harness.setting_up import LANDER_IDENTITY
from ..worktrees.errors import GitError, WorktreeGone
from ..worktrees.following import discard_draft, finish_interrupted, is_interrupted, lease_of_steps
from ..worktrees.locks import LockTimeout, hold
from ..worktrees.operations import operation_in_progress
from ..worktrees.pool import ForeignDirectory, Pool
from ..worktrees.recycle import RecycleFailed, detach, reset_to
from ..worktrees.repository import EmptyRepository, Repository
from ..worktrees.spent import change_refs
from ..worktrees.worktree import Worktree
from .git_leftovers import GitLeftovers
from .target_report import LANDER

_PATIENCE_SECONDS = 5.0  # a git that outlived its worker ends by itself; one that hangs is left alone
_REFUSALS = (GitError, WorktreeGone, LockTimeout, ForeignDirectory, RecycleFailed, EmptyRepository, OSError)


def repair_git(project: Project, repository: Repository) -> list[str]:
    """Do what is safe, and return what was done, or why it was not."""
    project.worktrees.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        repair = _Repair(project, repository, stack)
        done: list[str] = []
        for act in repair.acts():
            try:
                done += act()
            except _REFUSALS as error:
                done.append(f"left alone: {error}")
    return done


class _Repair:
    """Repairs one repository, holding all free places until `stack` ends."""

    def __init__(self, project: Project, repository: Repository, stack: ExitStack) -> None:
        self._project, self._repository, self._stack = project, repository, stack
        self._pool = Pool(repository, project.worktrees, project.state.worktrees_lock)
        self._left = GitLeftovers(project, repository)
        self._left.taken |= {name for name in self._left.names - self._left.taken if not self._hold(name)}
        self._git = repository.leased_git(LANDER_IDENTITY)

    def _hold(self, name: str) -> bool:
        state = self._project.state
        agent = state.agent(name)
        agent.create()  # it may have been deleted, and its worktree not
        try:
            descriptor = hold_for_life(state.landing_lock if name == LANDER else agent.lock, name)
        except PlaceTaken:
            return False
        self._stack.callback(os.close, descriptor)
        return True

    def acts(self) -> Iterator[Callable[[], list[str]]]:
        """Yield what is to be done, in an order in which each finds what it needs."""
        yield self._remove_ref_locks
        yield self._clear_half_made
        yield self._abandon_candidates
        yield self._finish_journal
        for name, worktree in self._left.worktrees:
            if name not in self._left.taken:
                yield lambda name=name, worktree=worktree: self._mend(name, worktree)  # type: ignore[misc]
        yield self._delete_branches

    def _remove_ref_locks(self) -> list[str]:
        locks = self._left.ref_locks()
        if not locks:
            return []
        leases = [worktree.lease for _, worktree in self._left.worktrees]
        leases += [self._repository.lease, lease_of_steps(self._repository)]
        with ExitStack() as held:
            for lease in leases:
                held.enter_context(hold(lease, timeout_seconds=_PATIENCE_SECONDS))
            for lock in locks:
                lock.unlink(missing_ok=True)
        return [f"removed {lock}, which a git that was killed had left" for lock in locks]

    def _clear_half_made(self) -> list[str]:
        names = self._left.half_made()
        for name in names:
            self._pool.clear_half_made(name)
        return [f"removed the worktree {self._project.worktrees / name}, which was not finished" for name in names]

    def _abandon_candidates(self) -> list[str]:
        left = self._left.candidates()
        if left:
            change_refs(self._git, (f"delete {ref}\0{commit}\0" for ref, commit in left), "abandoned")
        return [f"let go of merges that a killed lander had not landed ({len(left)})"] if left else []

    def _finish_journal(self) -> list[str]:
        if LANDER in self._left.taken:
            return []
        discard_draft(self._repository)
        if not is_interrupted(self._repository):
            return []
        finish_interrupted(self._repository)
        return ["finished or undid the fast-forward of your checkout that was cut short"]

    def _mend(self, name: str, worktree: Worktree) -> list[str]:
        """Repair the worktree, save what an attempt left in it, and leave it clean, on no branch."""
        is_here = worktree.path.parent == self._project.worktrees.resolve()
        was_gone, locks = not worktree.path.is_dir(), len(worktree.locks())
        done = [f"removed what killed gits left in {worktree.path} (files: {locks})"] if locks else []
        done += [f"made {worktree.path} again, with what was staged there"] if was_gone and is_here else []
        worktree = self._pool.ensure(name) if is_here else self._pool.take_in(worktree)
        worktree.make_usable(_PATIENCE_SECONDS)
        if name != LANDER:
            agent = self._project.state.agent(name)
            kept = rescue(self._project.state, agent, self._repository, worktree, knows_session=is_here)
            done += [f"saved what is in {worktree.path} as {kept.ref}"] if kept is not None and kept.is_new else []
            head = worktree.head()
            if head is not None and (kept is not None or operation_in_progress(worktree.git_dir)):
                reset_to(worktree, head)
            elif head is not None:
                detach(worktree)
        if not is_here:
            self._pool.discard(worktree)
            done.append(f"removed the worktree {worktree.path}, which is of another `worktrees:`")
        return done

    def _delete_branches(self) -> list[str]:
        branches = self._left.branches()
        gone = branches.delete(self._git, branches.find()) if branches is not None else []
        done = [f"kept {one.branch.name} as {one.keep}" for one in gone if one.keep is not None]
        return [*done, f"deleted branches of items that are done or cancelled ({len(gone)})"] if gone else []
