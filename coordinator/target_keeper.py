"""Keeps the target with the landing branch: it follows, and what the user commits there is merged in first.

Guarantees: the user's commits reach the landing branch only after the checks passed on the merged result; what cannot
go on is reported with the one command that frees it, and landing goes on meanwhile.
"""

from __future__ import annotations

import re
import shlex
import time

from ..harness.project import Project
from ..worktrees.errors import GitError
from ..worktrees.landing import LANDING_BRANCH, Conflict, LandingBranch
from ..worktrees.locks import LockTimeout
from ..worktrees.recycle import RecycleFailed
from ..worktrees.repository import Repository
from ..worktrees.target import Blocked, Diverged, Followed, follow
from .checking import Checker
from .target_report import TargetReport, write_target

_LEFT_LOCK = re.compile(r"Unable to create '(.+\.lock)': File exists")
_LOOK_SECONDS = 3.0  # how soon the user's own commits on the target are noticed
_TRUST_SECONDS = 60.0  # for so long, branches that nobody touched need no git to be looked at


class TargetKeeper:
    """Looks at one target now and then."""

    def __init__(
        self, project: Project, target: str, repository: Repository, branch: LandingBranch, checker: Checker
    ) -> None:
        self._project, self._target = project, target
        self._repository, self._branch, self._checker = repository, branch, checker
        self._rejection: tuple[str, Blocked] | None = None
        self._obstacle: Blocked | None = None  # a lock file
        self._obstruction: Blocked | None = None
        self._next_look = 0.0
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
        return max(0.0, self._next_look - time.monotonic())

    def is_due(self) -> bool:
        """Whether the last look was long enough ago, and something may have changed since: git is not free."""
        now = time.monotonic()
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
        self._next_look = time.monotonic() + _LOOK_SECONDS
        self._settled, self._settled_until = None, time.monotonic() + _TRUST_SECONDS
        before = self._trace()
        try:
            result = self.branch_checked_out() or self._obstacle or self._follow()
            if isinstance(result, Diverged):
                result = self._merge(result.target_tip) or self._follow()
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
        if self._rejection is not None and self._rejection[0] == tip:
            return self._rejection[1]
        candidate = self._branch.merge(tip, f"Merge {self._target}")
        if isinstance(candidate, Conflict):
            return self._blocked(tip, candidate.describe())
        name = f"{self._target.replace('/', '-')}-{tip[:12]}"
        verdict = self._checker.check_twice(candidate.commit, candidate.tree, name)
        if verdict.passed and self._branch.advance(candidate):
            self._project.state.record_event("target-merged", commit=candidate.commit, target=self._target)
            return None
        self._branch.abandon(candidate)
        if verdict.failed is None:
            return None
        blocked = self._blocked(tip, verdict.failed)
        self._rejection = (tip, blocked)  # checks may take long: not again every few seconds
        return blocked

    def _blocked(self, tip: str, problem: str) -> Blocked:
        where, target = shlex.quote(str(self._repository.root)), shlex.quote(self._target)
        why = f"your commit {tip[:12]} on {self._target} does not go together with what landed: {problem}"
        return Blocked(why, f"cd {where} && git switch {target} && git merge parallel-loop/landed")

    def _report(self, result: Followed | Blocked) -> None:
        blocked = result if isinstance(result, Blocked) else None
        report = TargetReport(
            self._target, self._branch.tip(), blocked.why if blocked else None, blocked.remedy if blocked else None
        )
        if write_target(self._project.state.root, report):
            event = "target-blocked" if report.blocked else "target-followed"
            self._project.state.record_event(event, why=report.blocked, commit=report.landed, target=report.name)
            self._project.queue.bell.ring()
