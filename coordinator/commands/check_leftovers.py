"""What `doctor` finds of killed gits and dead workers in the repository."""

from __future__ import annotations

from collections.abc import Iterator

from ...harness.project import Project
from ...queue.atomic import Unreadable
from ...queue.store import NewerFormat
from ...worktrees.errors import GitError
from ...worktrees.repository import Repository
from ..git_leftovers import GitLeftovers
from ..lock import read_holder
from .findings import Finding, failed_with, warn

_MEND = "`parallel-loop run` or `parallel-loop doctor --repair` tidies it; nothing that somebody made is lost"


def check_git_leftovers(project: Project, repository: Repository) -> Iterator[Finding]:
    """Look for them, unless a coordinator is at work: it mends what there is, and makes what would look the same."""
    if not project.state.root.is_dir() or read_holder(project.state.coordinator_lock) is not None:
        return
    try:
        for found in GitLeftovers(project, repository).look():
            yield warn(found.kind, found.detail, _MEND)
    except (GitError, NewerFormat, Unreadable, OSError) as error:
        yield failed_with("git", error)
