"""Keeps the target with the landing branch: it follows, and what the user commits there is merged in first.

Guarantees: the user's commits reach the landing branch only after the checks passed on the merged result; what cannot
go on is reported with the one command that frees it, and landing goes on meanwhile. The same for its remote
(remote_keeper.py), which is talked to in between and never waited for.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Callable

import msgspec

from ..harness.project import Project
from ..worktrees.errors import GitError
from ..worktrees.landing import LANDING_BRANCH, LandingBranch
from ..worktrees.locks import LockTimeout
from ..worktrees.recycle import RecycleFailed
from ..worktrees.remote import RemoteBranch
from ..worktrees.repository import Repository
from ..worktrees.target import Blocked, Diverged, Followed, follow
from .checking import Checker
from .incoming import Incoming, Source
from .remote_keeper import RemoteKeeper
from .target_report import TargetReport, read_target, write_target

_LEFT_LOCK = re.compile(r"Unable to create '(.+\.lock)': File exists")
_LOOK_SECONDS = 3.0  # how soon the user's own commits on the target are noticed
_SETTLE_SECONDS = 60.0  # of waiting for the remote when the process ends
_REMOTE_LOOK_SECONDS = 0.1
_TRUST_SECONDS = 60.0  # for so long, branches that nobody touched need no git to be looked at


class TargetKeeper:
    """Looks at one target now and then."""

    def __init__(
        self, project: Project, target: str, repository: Repository, branch: LandingBranch, checker: Checker
    ) -> None:
        self._project, self._target = project, target
        self._repository, self._branch = repository, branch
        self._incoming = Incoming(project, branch, checker)
        self._remote: RemoteKeeper | None = None
        if project.config.remote is not None:
            remote = RemoteBranch(repository, project.config.remote, target)
            self._remote = RemoteKeeper(project, remote, repository, branch, self._incoming)
        self._obstacle: Blocked | None = None  # a lock file
        self._obstruction: Blocked | None = None
        self._next_look = self._looked = 0.0
        self._settled: tuple[object, ...] | None = None  # the trace of the branches when all was as it should be
        self._settled_until = 0.0

    def obstruct(self, blocked: Blocked | None) -> None:
        """Have the report say that nothing lands, or that it does again."""
        if blocked != self._obstruction:
            self._obstruction, self._settled, self._next_look = blocked, None, 0.0

    def is_obstacle(self, error: GitError) -> bool:
        """Whether git failed at a lock file that stands in its way."""
        return _LEFT_LOCK.search(error.stderr) is not None

    def note_obstacle(self, error: GitError | None) -> bool:
        """Remember a lock file that a killed git left in the repository, or that it has gone; False if it is none."""
        found = _LEFT_LOCK.search(error.stderr) if error is not None else None
        self._obstacle = None
        if found is not None:
            why = f"{found[1]} is in the way, so nothing can land; a git that was killed may have left it there"
            self._obstacle = Blocked(why, f"rm {shlex.quote(found[1])}  # if no git runs in the repository")
        return found is not None

    @property
    def seconds_until_due(self) -> float:
        """For how long `is_due` need not be asked."""
        seconds = max(0.0, self._next_look - time.monotonic())
        return seconds if self._remote is None else min(seconds, self._seconds_until_remote(self._remote))

    def _seconds_until_remote(self, remote: RemoteKeeper) -> float:
        """For how long the remote needs no look; not again at once, also when the last look failed half-way."""
        return max(0.0, remote.seconds_until_due, self._looked + _REMOTE_LOOK_SECONDS - time.monotonic())

    def is_due(self) -> bool:
        """Whether the last look was long enough ago, and something may have changed since: git is not free."""
        now = time.monotonic()
        if self._remote is not None and self._seconds_until_remote(self._remote) <= 0:
            return True
        if now < self._next_look:
            return False
        if self._settled is None or now >= self._settled_until or self._trace() != self._settled:
            return True
        self._next_look = now + _LOOK_SECONDS
        return False

    def _trace(self) -> tuple[object, ...]:
        return self._repository.trace(self._target, LANDING_BRANCH)

    def look(self) -> None:
        """Let the target follow, after merging in what the user committed there, and report how it stands."""
        self._looked = time.monotonic()
        self._next_look = self._looked + _LOOK_SECONDS
        self._settled, self._settled_until = None, time.monotonic() + _TRUST_SECONDS
        before = self._trace()
        try:
            if self._remote is not None:
                self._remote.hear()
            obstacle = self.branch_checked_out() or self._obstacle
            if obstacle is None and self._remote is not None:
                self._remote.take_in()
            result = obstacle or self._follow()
            if isinstance(result, Diverged):
                result = self._merge(result.target_tip) or self._follow()
            if self._remote is not None:
                self._remote.give_out()
        except (GitError, LockTimeout, RecycleFailed) as error:
            where = shlex.quote(str(self._repository.root))
            result = Blocked(f"git could not do it: {error}", f"git -C {where} status")
        if isinstance(result, Followed) and self._obstruction is not None:
            result = self._obstruction
        if isinstance(result, Followed):  # what blocks it may be in the user's files, which leave no trace here
            self._settled = before
        if not isinstance(result, Diverged):  # committed to once more in between: there is nothing to say yet
            self._report(result)

    def branch_checked_out(self) -> Blocked | None:
        """Blocked while somebody has the landing branch checked out: if it moved, their next commit would undo work."""
        for checkout in self._repository.checkouts_of(LANDING_BRANCH):
            where = shlex.quote(str(checkout.path))
            return Blocked(
                f"{LANDING_BRANCH} is checked out in {where}, so nothing can land", f"git -C {where} switch --detach"
            )
        return None

    def _follow(self) -> Followed | Blocked | Diverged:
        return follow(self._repository, self._target, self._branch.tip())

    def _merge(self, tip: str) -> Blocked | None:
        """Bring the user's new commits onto the landing branch; Blocked when they cannot be, checked as merged."""
        where, target = shlex.quote(str(self._repository.root)), shlex.quote(self._target)
        remedy = f"cd {where} && git switch {target} && git merge {LANDING_BRANCH}"
        return self._incoming.merge(Source(self._target, "your commit", remedy), tip)

    def _report(self, result: Followed | Blocked) -> None:
        blocked = result if isinstance(result, Blocked) else None
        report = TargetReport(
            self._target,
            self._branch.tip(),
            blocked.why if blocked else None,
            blocked.remedy if blocked else None,
            self._remote.report if self._remote is not None else None,
        )
        before = read_target(self._project.state.root)
        if not write_target(self._project.state.root, report):
            return
        if before is None or msgspec.structs.replace(before, remote=report.remote) != report:
            event = "target-blocked" if report.blocked else "target-followed"
            self._project.state.record_event(event, why=report.blocked, commit=report.landed, target=report.name)
        self._project.queue.bell.ring()

    # --- the remote -----------------------------------------------------------------------------------

    def settle(self, wait: Callable[[float], None], is_stopping: Callable[[], bool]) -> None:
        """Push what landed before this process ends, as far as a minute of waiting for the remote allows."""
        waited = 0.0
        with contextlib.suppress(GitError):  # the next lander sees what is left to push
            while self._remote is not None and self._remote.is_unsettled and waited < _SETTLE_SECONDS:
                if is_stopping():
                    break
                wait(_REMOTE_LOOK_SECONDS)
                waited += _REMOTE_LOOK_SECONDS
                self.look()

    def close(self) -> None:
        """End what is under way with the remote."""
        if self._remote is not None:
            self._remote.close()
