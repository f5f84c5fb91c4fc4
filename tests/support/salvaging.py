"""Work that is left in a worktree, and what is saved of it."""

from __future__ import annotations

from pathlib import Path

from parallel_loop.worktrees.salvage import salvage
from support.repository import attempt_git, commit, git
from support.worktrees import IDENTITY, Place

REF = "refs/parallel-loop/salvage/item/1"


def save(place: Place, **options: bool) -> str | None:
    """The commit that keeps what is in the worktree; None when nothing has to be kept."""
    kept = salvage(place.worktree, REF, "salvaged", IDENTITY, **options)
    return None if kept is None else kept.commit


def diverge(wt: Path) -> None:
    """Two commits that do not merge: on the branch `side`, and checked out."""
    git(wt, "switch", "-q", "-c", "side")
    commit(wt, {"f.txt": "side\n"})
    git(wt, "switch", "-q", "--detach", "HEAD^")
    commit(wt, {"f.txt": "here\n"})


def conflict(wt: Path, command: str) -> None:
    """Two commits that do not merge, and `command` stopped between them."""
    diverge(wt)
    assert attempt_git(wt, command, "side").returncode != 0
