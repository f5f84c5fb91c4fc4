"""What `doctor` looks at outside the repository's content: Python, git, the file system."""

from __future__ import annotations

import errno
import os
import select
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from ...harness.project import Project
from ...worktrees.errors import GitError, GitMissing, GitTooOld
from .. import file_system
from .findings import Finding, fail, failed_with, ok, warn

_TELL_SECONDS = 1.0  # the kernel needs microseconds
# By what number the kernel says that a limit of inotify is reached; a shortage of open files has the first, too.
_REFUSALS = {
    errno.EMFILE: (
        "this user has no inotify instance left",
        "`sysctl fs.inotify.max_user_instances=1024` as root (each worker needs one), or raise `ulimit -n`",
    ),
    errno.ENOSPC: (
        "this user has no inotify watch left",
        "`sysctl fs.inotify.max_user_watches=524288` as root (each worker needs one)",
    ),
}
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
        trials = file_system.examine(directory)
    except OSError as error:
        yield fail(
            "writable", f"{directory}: {error.strerror}", "make it writable, or work in a copy of the repository"
        )
        return
    yield ok("writable", f"{directory} ({file_system.type_of(directory)})")
    for trial in trials:
        yield ok(trial.name, trial.detail) if trial.works else failed_with(trial.name, trial.detail)
    yield _check_waking(directory)
    yield _check_space(directory)


def _check_waking(directory: Path) -> Finding:
    """Try whether the kernel tells those who wait of a bell in `directory`."""
    from ...queue.bell import Bell
    from ...queue.watching import POLL_SECONDS, BellWatch

    cost = f"so whoever waits for work looks every {POLL_SECONDS:g} s"
    with (
        tempfile.TemporaryDirectory(prefix=".parallel-loop-probe-", dir=directory) as folder,
        closing(Bell(Path(folder, "bell"))) as bell,
        closing(BellWatch(bell)) as watch,
    ):
        if watch.refusal is not None:
            problem = f"the kernel watches no file for us ({watch.refusal.strerror})"
            other = (problem, "nothing has to be done: it costs a little processor time")
            problem, remedy = _REFUSALS.get(watch.refusal.errno or 0, other)
            return warn("waking", f"by polling: {problem}, {cost}", remedy)
        bell.ring()
        if select.select(watch.descriptors, (), (), _TELL_SECONDS)[0]:
            return ok("waking", f"by {watch.way}")
        problem = f"{watch.way} tells of no changes on this file system"
    return warn("waking", f"by polling: {problem}, {cost}", "keep the repository on a local disk")


def check_containment(project: Project) -> Finding:
    """Tell what holds the processes of an attempt together, or would."""
    from ...harness.keeping import containment
    from ..lock import read_holder

    found = containment.read_containment(project.state) if read_holder(project.state.coordinator_lock) else None
    found = found or containment.what_there_is()
    detail = f"processes are held together by {found.describe()}"
    return ok("containment", f"{detail}; limits are enforced by {'the kernel' if found.controllers else 'looking'}")


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
