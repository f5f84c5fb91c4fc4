"""What the lander tidies between landings: branches that nobody needs, and what was left where nobody works any more.

Guarantees: nothing is thrown away here that is not on the target or in a ref; saved work is let go of by age alone, and
only when `salvage: keep:` says so. What cannot be done now is done at the next look, and hinders no landing.

Assumes: one lander. An agent's place that is not wanted is free unless a process holds its lock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from ..harness.attempt import NO_FAULT_OF_THE_PROGRAM
from ..harness.child import PlaceTaken, hold_for_life
from ..harness.project import Project
from ..harness.rescuing import rescue
from ..harness.state import AgentDirectory, read_session
from ..worktrees.git import Git
from ..worktrees.pool import Pool
from ..worktrees.recycle import detach
from ..worktrees.repository import Repository
from ..worktrees.salvaged import prune, saved
from .control import read_wanted
from .spent_branches import SpentBranches

_AT_MOST_EVERY_SECONDS = 1.0  # for a branch that landed a moment ago there is no hurry
_LOOK_SECONDS = 60.0  # for what moves no branch: an item that was cancelled, a place that is not wanted any more
_PRUNE_SECONDS = 3600.0


class Housekeeper:
    """Tidies for one lander; `git` is bound to the landing worktree, so that its locks are known for ours."""

    def __init__(self, project: Project, target: str, repository: Repository, pool: Pool, git: Git) -> None:
        self._project, self._repository, self._pool, self._git = project, repository, pool, git
        self._target = target
        self._branches = SpentBranches(project, target, repository)
        self._seen: object = None
        self._looked_at = self._pruned_at = -_PRUNE_SECONDS
        self._rescued: dict[str, int] = {}  # by agent: the session that was looked after

    def tidy_when_due(self) -> None:
        """Tidy when the target has moved since the last time, or that was long ago."""
        since = time.monotonic() - self._looked_at
        if since >= _AT_MOST_EVERY_SECONDS and (since >= _LOOK_SECONDS or self._trace() != self._seen):
            self.tidy()

    def tidy(self) -> None:
        """Do all of it now, as far as it can be done."""
        self._looked_at, self._seen = time.monotonic(), self._trace()
        for act in (self._rescue_unwanted, self._delete_branches, self._prune):
            self._try(act)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except NO_FAULT_OF_THE_PROGRAM:
            return  # a lock in the way, no room: landing says so where it matters

    def _trace(self) -> object:
        folder = self._repository.git_dir
        return [_times(f"{folder}/{name}") for name in (f"refs/heads/{self._target}", "packed-refs")]

    def _delete_branches(self) -> None:
        self._branches.delete(self._git, self._branches.find())

    def _rescue_unwanted(self) -> None:
        """Save what workers left that were killed in places which are not filled again, since fewer are wanted."""
        wanted = read_wanted(self._project.state)
        if wanted is None:
            return
        for name in self._project.state.agent_names():
            agent = self._project.state.agent(name)
            if agent.number > wanted.agents and name.startswith("agent-") and self._is_new(agent):
                self._rescue(agent)

    def _is_new(self, agent: AgentDirectory) -> bool:
        try:
            return self._rescued.get(agent.name) != agent.session.stat().st_mtime_ns
        except OSError:
            return False

    def _rescue(self, agent: AgentDirectory) -> None:
        session_time = agent.session.stat().st_mtime_ns
        try:
            descriptor = hold_for_life(agent.lock, agent.name)
        except PlaceTaken:
            return
        try:
            if agent.name in self._pool.names() and read_session(agent) is not None:
                worktree = self._pool.ensure(agent.name)
                rescue(self._project.state, agent, self._repository, worktree)
                detach(worktree)
            self._rescued[agent.name] = session_time
        finally:
            os.close(descriptor)

    def _prune(self) -> None:
        keep_seconds = self._project.config.salvage.keep_seconds
        now = time.monotonic()
        if keep_seconds is None or now < self._pruned_at + _PRUNE_SECONDS:
            return
        self._pruned_at = now
        oldest = time.time() - keep_seconds
        old = [one for one in saved(self._repository) if one.at_seconds < oldest]
        prune(self._git, old)
        for one in old:
            self._project.state.record_event("salvage-pruned", item=one.item, ref=one.ref, commit=one.commit)


def _times(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 (asked at each ring)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns
