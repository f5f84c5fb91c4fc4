"""Moving a branch that is checked out nowhere, while the user may be about to check it out.

git reads where a branch is, then writes the files under its lock of the index, then says what is checked out. If the
branch moves in between, the user sees what landed as undone, and would undo it with their next commit.

Guarantees: where the branch was checked out meanwhile at its old commit, it is there again.

Assumes: a switch that has begun ends within two seconds.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from .git import GitError
from .half_done import HalfDone
from .links import worktree_dirs
from .operations import read_line
from .repository import Repository

_SWITCHING_SECONDS = 2.0
_FRESH_SECONDS = 60.0
_PAUSE_SECONDS = 0.01
_OURS = "ref: refs/heads/parallel-loop/"


def move_unseen(repository: Repository, branch: str, old: str, new: str) -> bool:
    """Move `branch` from `old` to `new`; False when the user was first, with a commit or by checking it out.

    Raises GitError.
    """
    try:
        _move(repository, branch, old, new)
    except GitError:
        if repository.branch_tip(branch) == old:
            raise
        return False
    if not _is_checked_out_at(repository, branch, old, new):
        return True
    with suppress(GitError):  # they have committed already
        _move(repository, branch, new, old)
    return False


def _move(repository: Repository, branch: str, old: str, new: str) -> None:
    repository.git.run("update-ref", "-m", "parallel-loop: follow", f"refs/heads/{branch}", new, old)


def _is_checked_out_at(repository: Repository, branch: str, old: str, new: str) -> bool:
    """Whether a work tree has the branch checked out by now, with the files of `old`."""
    admins = [repository.git_dir, *worktree_dirs(repository.git_dir)]
    locks = [admin / "index.lock" for admin in admins if not read_line(admin / "HEAD").startswith(_OURS)]
    deadline = time.monotonic() + _SWITCHING_SECONDS
    while time.monotonic() < deadline and any(map(_is_fresh, locks)):
        time.sleep(_PAUSE_SECONDS)
    found = repository.checkouts_of(branch)
    return any(not HalfDone(one.git(), one.git_dir, old, new).has_new_index() for one in found)


def _is_fresh(lock: Path) -> bool:
    """Whether there is a lock of a git that may live; an old one is not to hold up every step."""
    try:
        return time.time() - lock.stat().st_mtime < _FRESH_SECONDS
    except OSError:
        return False
