"""The journal of a fast-forward in the user's checkout, and what finishes one that was cut short.

git writes the files, then the index, then the branch. A kill in between, or a disk that is full, leaves files of both
commits under an index of the old one: a plain retry then refuses ("local changes would be overwritten"), and the user
sees changes that are not theirs. The journal, written when every path of the step was known to be unchanged, says
which files these can be; half_done.py tells them from the user's.

Guarantees: afterwards the checkout is wholly at the old commit, or wholly at the new one, but for edits that were made
since, which stay in their files; a file that was half written is also in a commit under
`refs/parallel-loop/salvage/follow/`. Locks that the killed git left are gone; one of somebody else's git is waited for.

Assumes: a kill, not a power loss: nothing here is forced to the disk.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from .environment import Identity
from .errors import GitError
from .git import Git
from .half_done import HalfDone
from .index import terminated
from .locks import hold, is_held_open
from .operations import read_line
from .preview import lease_of_repairs, wait_until_free
from .repository import Checkout, Repository, head_branch

_FILE = "parallel-loop.follow"
_IDENTITY = Identity("parallel-loop", "parallel-loop@localhost")
_LOCKED_SECONDS = 0.5


@dataclass(frozen=True)
class Journal:
    """One step of a branch from commit `old` to `new` in the checkout at `path`."""

    file: Path
    path: Path
    git_dir: Path
    branch: str
    old: str
    new: str

    @property
    def lease(self) -> Path:
        """The lock that git holds while it makes the step."""
        return _lease(self.file)

    @property
    def begun(self) -> Path:
        """A file that is there once git is known to have begun; its lock is gone then."""
        return self.file.with_name(f"{_FILE}.begun")

    def end(self) -> None:
        """Forget the step: it was made, or refused."""
        self.file.unlink(missing_ok=True)
        self.begun.unlink(missing_ok=True)


def begin(checkout: Checkout, branch: str, old: str, new: str) -> Journal:
    """Write down the step that is about to be made."""
    journal = Journal(_place(checkout.git_dir), checkout.path, checkout.git_dir, branch, old, new)
    journal.begun.unlink(missing_ok=True)
    draft = _draft(journal.file)
    draft.write_bytes(terminated([str(journal.path), str(journal.git_dir), branch, old, new]))
    draft.rename(journal.file)
    return journal


def is_interrupted(repository: Repository) -> bool:
    """Whether a step was begun that has not ended; while a lander lives, it may be at it."""
    return _place(repository.git_dir).exists()


def discard_draft(repository: Repository) -> None:
    """Remove what somebody was killed while writing; no lander may live."""
    _draft(_place(repository.git_dir)).unlink(missing_ok=True)


def lease_of_steps(repository: Repository) -> Path:
    """The lock that git holds while it makes a step in a checkout of the repository."""
    return _lease(_place(repository.git_dir))


def finish_interrupted(repository: Repository, *, begun: bool = False) -> None:
    """Undo or complete the step that was cut short, if there is one.

    `begun`: git is known to have begun it. Raises GitError, LockTimeout; then it is to be tried again.
    """
    journal = _read(_place(repository.git_dir))
    if journal is None:
        return
    if begun:
        journal.begun.touch()  # to be known also when what is done here fails, and is tried again
    with hold(journal.lease, timeout_seconds=60):  # git outlives us for a moment
        if journal.path.is_dir() and journal.git_dir.is_dir():
            lease = lease_of_repairs(journal.git_dir)
            wait_until_free(lease)  # the git of a repair that was killed would go on beside ours
            git = Git(journal.path, git_dir=journal.git_dir, identity=_IDENTITY, lease=lease)
            _remove_ref_locks(repository, journal)
            tip = repository.branch_tip(journal.branch)
            if tip not in {None, journal.new} and head_branch(git) == journal.branch:
                assert tip is not None
                _finish(git, journal, tip)
    journal.end()


def _finish(git: Git, journal: Journal, tip: str) -> None:
    half = HalfDone(git, journal.git_dir, journal.old, journal.new)
    lock = journal.git_dir / "index.lock"
    if lock.exists():
        # git takes its lock before it touches a file, and writes it when it has written all files.
        if is_held_open(lock) or (lock.stat().st_size > 0 and not half.is_all_new()):
            raise GitError(("merge", "--ff-only"), journal.path, 128, f"Unable to create '{lock}': File exists.")
        journal.begun.touch()
        lock.unlink()
    if tip == journal.old and half.has_new_index():
        moved = ("update-ref", "-m", f"merge {journal.new}: Fast-forward", "HEAD", journal.new, tip)
        git.run(*moved)
    else:
        half.undo(tip, begun=journal.begun.exists())
    half.clear()


def _remove_ref_locks(repository: Repository, journal: Journal) -> None:
    """Remove the locks that git left when it was killed while it moved the branch; others' live for milliseconds."""
    names = (
        repository.git_dir / f"refs/heads/{journal.branch}",
        journal.git_dir / "HEAD",
        journal.git_dir / "ORIG_HEAD",
    )
    locks = [name.with_name(f"{name.name}.lock") for name in names]
    seen = {lock: trace for lock in locks if (trace := _trace(lock)) is not None}
    if seen:
        time.sleep(_LOCKED_SECONDS)
    for lock, trace in seen.items():
        if _trace(lock) == trace:
            lock.unlink(missing_ok=True)


def _trace(lock: Path) -> tuple[int, int] | None:
    try:
        status = lock.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns


def _place(git_dir: Path) -> Path:
    """The journal's file, in the git directory that all worktrees share."""
    shared = read_line(git_dir / "commondir")  # which a linked worktree has, and nobody else
    return (git_dir / shared).resolve() / _FILE if shared else git_dir / _FILE


def _draft(file: Path) -> Path:
    return file.with_name(f"{_FILE}.draft")


def _lease(file: Path) -> Path:
    return file.with_name(f"{_FILE}.lease")


def _read(file: Path) -> Journal | None:
    try:
        path, git_dir, branch, old, new, rest = file.read_bytes().split(b"\0")
    except (FileNotFoundError, ValueError):
        return None
    assert rest == b""
    return Journal(
        file, Path(os.fsdecode(path)), Path(os.fsdecode(git_dir)), os.fsdecode(branch), old.decode(), new.decode()
    )
