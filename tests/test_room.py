"""Want of room: what counts as such, and that on real machines all goes on by itself."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.harness import shortage
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.shortage import Lack, find_lack, is_shortage, lack_of, once_there_is_room
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.watchdog import Watch
from support import small_disks
from support.harness import make_workshop
from support.shortage import NO_SPACE


def try_for_real(command: list[str]) -> None:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.large  # as all of `make room`, but for the descriptors below
def test_a_disk_that_is_full_for_a_while_costs_nothing_and_is_told_of() -> None:
    if not small_disks.may_mount():
        pytest.skip("needs a small file system of its own, and so to be root on Linux and allowed to mount")
    try_for_real(small_disks.in_a_namespace("tmpfs", "bytes"))


def test_descriptors_that_run_out_for_a_while_cost_nothing_and_that_is_told_of() -> None:
    try_for_real(small_disks.inside("descriptors"))


LEAST = """
import resource, sys
from pathlib import Path
from parallel_loop.harness.shortage import find_lack
limit, soft = getattr(resource, sys.argv[1]), int(sys.argv[2])
resource.setrlimit(limit, (soft, resource.getrlimit(limit)[1]))
lack = find_lack([Path(sys.argv[3])])
sys.stdout.write("nothing" if lack is None else f"{lack.why}|{lack.next}")
"""


@pytest.mark.parametrize(("soft", "said"), [(64, "nothing"), (12, "Too many open files|prlimit --pid ")])
def test_descriptors_are_looked_for_before_there_is_none_left(tmp_path: Path, soft: int, said: str) -> None:
    argv = [sys.executable, "-P", "-c", LEAST, "RLIMIT_NOFILE", str(soft), str(tmp_path)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.startswith(said)


def test_what_was_tried_leaves_nothing_behind_and_a_directory_that_is_missing_is_no_want_of_room(
    tmp_path: Path,
) -> None:
    assert find_lack([tmp_path, tmp_path]) is None
    assert list(tmp_path.iterdir()) == []
    assert find_lack([tmp_path / "missing"]) is None


def test_a_thread_that_cannot_be_started_is_a_want_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    git = Git(tmp_path)
    monkeypatch.setattr("threading.Thread.start", refuse)
    monkeypatch.setattr("parallel_loop.worktrees.watchdog._watch", Watch())  # of a process that has run no git yet
    lack = find_lack([tmp_path])
    assert lack is not None
    assert lack.why == "No process or thread can be started"
    with pytest.raises(GitError) as failure:
        git.run("init", "--quiet")
    assert shortage.is_shortage(failure.value)
    assert list(tmp_path.iterdir()) == [], "git was not started without somebody to end it"
    heart = Heart(make_workshop(tmp_path / "repo").project.state.agent("agent-1"), 5.0)
    with heart.beating():
        pass


@pytest.mark.parametrize(
    ("error", "why", "remedy"),
    [
        (OSError(errno.ENOSPC, "x", "/d"), "No space left on device (/d)", "df -h /d"),
        (OSError(errno.EROFS, "x", "/a b"), "Read-only file system (/a b)", "findmnt --target '/a b'"),
        (OSError(errno.EDQUOT, "x"), "Disk quota exceeded", "quota -s"),
        (OSError(errno.EMFILE, "x", "/d"), "Too many open files", "prlimit --pid PID --nofile=4096"),
        (OSError(errno.EIO, "x", "/d"), "Input/output error", "parallel-loop doctor"),
        (GitError(("gc",), Path("/d"), 1, "no"), "git gc failed in /d (exit code 1): no", "parallel-loop doctor"),
    ],
)
def test_each_lack_is_one_line_and_one_command(error: Exception, why: str, remedy: str) -> None:
    assert lack_of(error) == Lack(why, remedy.replace("PID", str(os.getpid())))


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (NO_SPACE, True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (GitError((), Path("/"), 128, "fatal: sha1 file write error: No space left on device"), True),
        (GitError((), Path("/"), 128, "fatal: unable to create thread: Resource temporarily unavailable"), True),
        (GitError((), Path("/"), 128, "fatal: not a valid object name"), False),
        (ValueError("No space left on device"), False),
    ],
)
def test_what_counts_as_want_of_room(error: Exception, short: bool) -> None:
    asked: list[Exception] = []

    def act() -> None:
        raise error

    assert is_shortage(error) == short
    with pytest.raises(type(error)):
        once_there_is_room(act, lambda why: bool(asked.append(why)))
    assert asked == ([error] if short else [])
