"""What `doctor` looks at outside the repository's content: Python, git, the file system."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...queue.atomic import NoHardLinks
from ...worktrees.errors import GitError, GitMissing, GitTooOld
from .findings import Finding, fail, failed_with, ok, warn

_LOW_BYTES, _LEAST_BYTES = 1_000_000_000, 50_000_000  # a worktree for each agent, and logs, grow overnight


def check_python() -> Finding:
    return ok("python", f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}")


def check_git() -> Finding:
    from ...worktrees.git import Git, require_git

    try:
        require_git()
        return ok("git", Git(Path("/")).text("version").removeprefix("git version "))
    except (GitMissing, GitTooOld, GitError) as error:
        return failed_with("git", error)


def check_file_system(directory: Path) -> Iterator[Finding]:
    """Try in `directory` what claims and locks stand on, and leave nothing behind."""
    try:
        scratch = Path(tempfile.mkdtemp(prefix=".parallel-loop-doctor-", dir=directory))
    except OSError as error:
        yield fail(
            "writable", f"{directory}: {error.strerror}", "make it writable, or work in a copy of the repository"
        )
        return
    try:
        yield ok("writable", str(directory))
        yield _check_hard_links(scratch)
        yield _check_locks(scratch / "lock")
    finally:
        with suppress(OSError):
            shutil.rmtree(scratch)
    yield _check_space(directory)


def _check_hard_links(directory: Path) -> Finding:
    from ..run import try_hard_links

    try:
        try_hard_links(directory)
    except NoHardLinks as error:
        return failed_with("hard links", error)
    return ok("hard links", "work here")


def _check_locks(path: Path) -> Finding:
    """A second holder must be refused: some network file systems grant a lock to everybody."""
    with path.open("w") as first, path.open("w") as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return fail("locks", f"the file system has none ({error.strerror})", "move the repository to a local disk")
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ok("locks", "work here")
        return fail("locks", "two holders got the same lock", "move the repository to a local disk")


def _check_space(directory: Path) -> Finding:
    status = os.statvfs(directory)
    free = status.f_bavail * status.f_frsize
    detail = f"{free / 1e9:.1f} GB free"
    if status.f_files and status.f_favail < 10_000:  # 0 files in all: this file system has no limit on them
        detail, free = f"{status.f_favail} more files possible", 0
    if free < _LEAST_BYTES:
        return fail("disk", detail, "make room: every record of the queue needs some")
    if free < _LOW_BYTES:
        return warn("disk", detail, "make room before a long run: worktrees and logs grow")
    return ok("disk", detail)
