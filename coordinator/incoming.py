"""Commits that others made, on the target or on its remote, are merged into the landing branch.

Guarantees: they reach it only after the checks passed on the merged result; what was refused is not checked again until
there is something new.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..harness.project import Project
from ..worktrees.landing import Conflict, LandingBranch
from ..worktrees.target import Blocked
from .checking import Checker


@dataclass(frozen=True)
class Source:
    """Where commits come from: its `name`, what to call them ("your commit"), and what to do if they do not fit."""

    name: str
    whose: str
    remedy: str


class Incoming:
    """Merges what comes in, whatever its source."""

    def __init__(self, project: Project, branch: LandingBranch, checker: Checker) -> None:
        self._project, self._branch, self._checker = project, branch, checker
        self._rejections: dict[str, tuple[str, Blocked]] = {}

    def merge(self, source: Source, tip: str) -> Blocked | None:
        """Bring `tip` onto the landing branch; Blocked when it does not go together with what landed.

        None also when the branch moved meanwhile, or we are to stop: then it is to be tried again. Raises GitError.
        """
        rejection = self._rejections.get(source.name)
        if rejection is not None and rejection[0] == tip:
            return rejection[1]
        candidate = self._branch.merge(tip, f"Merge {source.name}")
        if isinstance(candidate, Conflict):
            return _blocked(source, tip, candidate.describe())
        name = "".join(c if c.isalnum() or c in "._-" else "-" for c in source.name)
        verdict = self._checker.check_twice(candidate.commit, candidate.tree, f"{name}-{tip[:12]}")
        if verdict.passed and self._branch.advance(candidate):
            self._project.state.record_event("target-merged", commit=candidate.commit, target=source.name)
            return None
        self._branch.abandon(candidate)
        if verdict.failed is None:
            return None
        blocked = _blocked(source, tip, verdict.failed)
        self._rejections[source.name] = (tip, blocked)  # checks may take long: not again every few seconds
        return blocked


def _blocked(source: Source, tip: str, problem: str) -> Blocked:
    why = f"{source.whose} {tip[:12]} on {source.name} does not go together with what landed: {problem}"
    return Blocked(why, source.remedy)
