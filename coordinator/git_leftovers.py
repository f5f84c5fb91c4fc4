"""What killed processes left in git, and in worktrees that nobody works in: found, without changing anything.

Assumes: no coordinator runs. Workers and a lander may have outlived one; what is theirs is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..harness.project import Project
from ..harness.rescuing import Unsaved, unsaved
from ..worktrees.following import is_interrupted
from ..worktrees.pool import Pool, marked_worktrees
from ..worktrees.repository import Repository
from ..worktrees.worktree import Worktree
from .machine import is_place_taken
from .spent_branches import SpentBranches
from .target_report import LANDER

# Below these, nobody but us makes refs.
_OUR_REFS = ("refs/heads/parallel-loop", "refs/parallel-loop")


@dataclass(frozen=True)
class Found:
    """One thing that was left, in words."""

    kind: str
    detail: str


class GitLeftovers:
    """Looks at one repository; of the places, the lander's among them, a living process has those that are `taken`."""

    def __init__(self, project: Project, repository: Repository) -> None:
        self._project, self._repository = project, repository
        self.worktrees = marked_worktrees(repository)
        state = project.state
        self.names = {*state.agent_names(), *(name for name, _ in self.worktrees), LANDER}
        self.taken = {name for name in self.names if is_place_taken(state, name)}

    def look(self) -> Iterator[Found]:
        """Yield all that is found."""
        for name in self.half_made():
            yield Found("worktree", f"{self._project.worktrees / name} was not finished")
        for lock in self.locks():
            yield Found("git lock", f"{lock} was left by a git that was killed")
        candidates = len(self.candidates())
        if candidates:
            yield Found("candidates", f"{candidates} of a lander that was killed")
        if LANDER not in self.taken and is_interrupted(self._repository):
            yield Found("journal", "a fast-forward of your checkout was cut short")
        for name, worktree in self.orphans():
            yield Found("worktree", f"{worktree.path}, of {name}, is gone or of another `worktrees:`, but known to git")
        for left in self.unsaved():
            whose = f"{left.session.item}, attempt {left.session.attempt}" if left.session else "an unknown attempt"
            yield Found("salvage", f"{left.path} has work of {whose} that is saved nowhere else")
        branches = self.branches()
        spent = len(branches.find()) if branches is not None else 0
        if spent:
            yield Found("branches", f"{spent} of items that are done or cancelled")

    def half_made(self) -> list[str]:
        """Return the names of the worktrees that somebody was killed while making."""
        if not self._project.worktrees.is_dir():
            return []
        pool = Pool(self._repository, self._project.worktrees, self._project.state.worktrees_lock)
        return [name for name in pool.half_made() if name not in self.taken]

    def ref_locks(self) -> list[Path]:
        """Return the locks on refs that only we write; none while one of us lives, as it may hold them."""
        if self.taken:
            return []
        folders = (self._repository.git_dir / folder for folder in _OUR_REFS)
        return sorted(lock for folder in folders for lock in folder.rglob("*.lock"))

    def locks(self) -> list[Path]:
        """Return these, and the locks in worktrees that nobody has."""
        return self.ref_locks() + [lock for _, worktree in self._free() for lock in worktree.locks()]

    def candidates(self) -> list[tuple[str, str]]:
        """Return the refs, and their commits, of merges that no lander checks any more."""
        if LANDER in self.taken:
            return []
        listed = self._repository.git.text(
            "for-each-ref", "--format=%(refname) %(objectname)", "refs/parallel-loop/candidate"
        )
        return [(ref, commit) for ref, _, commit in (line.partition(" ") for line in listed.splitlines())]

    def orphans(self) -> list[tuple[str, Worktree]]:
        """Return the worktrees of ours that are not where they belong now: no place uses them again as they are."""
        here = self._project.worktrees.resolve()
        return [(name, one) for name, one in self._free() if one.path != here / name or not one.path.is_dir()]

    def unsaved(self) -> list[Unsaved]:
        """Return what dead workers left in worktrees."""
        skip = {*self.taken, LANDER}
        return list(unsaved(self._project.state, self._repository, self._project.worktrees, skip))

    def branches(self) -> SpentBranches | None:
        """Return who finds the branches that nobody needs; None while a lander does, or without a known target."""
        target = self._project.config.target or self._repository.branch_checked_out()
        if target is None or LANDER in self.taken:
            return None
        return SpentBranches(self._project, target, self._repository)

    def _free(self) -> list[tuple[str, Worktree]]:
        return [(name, worktree) for name, worktree in self.worktrees if name not in self.taken]
