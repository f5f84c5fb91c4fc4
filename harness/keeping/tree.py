"""What lives below a process: finding it, measuring it, ending it.

Guarantees: `end_below` signals nobody but descendants of the caller, each told by process id and start. When it has
returned, none of them is alive, also not one that forks faster than it can be listed: with no child left, nothing
can be below us.

Assumes: Linux and a caller that is a subreaper (`become_subreaper`), so that every orphan becomes its child. Elsewhere
a daemon that left its parents escapes, and psutil is asked. A process of another user cannot be ended by us anywhere,
and one that is stuck in the kernel cannot be ended by anybody: both are left.

On Linux only the standard library: the keeper runs without site-packages, and a coordinator is kept small by it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable

LOOK_SECONDS = 0.005
STUCK_SECONDS = 30.0  # what has not died so long after SIGKILL hangs in the kernel; we must not hang with it
_PR_SET_CHILD_SUBREAPER = 36
_HAS_PROC = os.path.exists("/proc/self/stat")  # noqa: PTH110 (pathlib would double the keeper's start)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Member:
    """One process. `start` is the kernel's word for when it began: with the id (`key`), it is nobody else.

    `cpu_seconds` are its own and those of the children that it waited for.
    """

    __slots__ = ("cpu_seconds", "pid", "rss_bytes", "start")  # a NamedTuple would cost the keeper 7 ms: `typing`

    def __init__(self, pid: int, start: str, cpu_seconds: float = 0.0, rss_bytes: int = 0) -> None:
        self.pid, self.start, self.cpu_seconds, self.rss_bytes = pid, start, cpu_seconds, rss_bytes

    @property
    def key(self) -> tuple[int, str]:
        return self.pid, self.start


def become_subreaper() -> bool:
    """Make every orphan among our descendants our child, so that none escapes; False where that cannot be."""
    try:
        import ctypes

        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def below(pid: int, keep: Collection[int] = ()) -> list[Member]:
    """Return all that lives below `pid`, without the children in `keep` and what is below those.

    A list of processes that fork comes too late for some: who ends them asks again until there is none.
    """
    found = []
    waiting = [child for child in children(pid) if child not in keep]
    seen = set(waiting)
    while waiting:
        member = look_at(waiting.pop())
        if member is not None:
            found.append(member)
            new = children(member.pid) - seen
            seen |= new
            waiting += new
    return found


def children(pid: int) -> set[int]:
    """Return the ids of the children of `pid`, also of those that have ended and are not reaped."""
    if not _HAS_PROC:
        return _children_elsewhere(pid)
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                found.update(map(int, _read(f"/proc/{pid}/task/{task}/children").split()))
    return found


def look_at(pid: int) -> Member | None:
    """Return what there is to know of a process, None when it has ended."""
    if not _HAS_PROC:
        return _look_elsewhere(pid)
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()  # the name before it may hold anything
    except OSError:
        return None
    if fields[0] in "ZX":
        return None
    cpu_seconds = sum(map(int, fields[11:15])) / _TICKS
    return Member(pid, fields[19], cpu_seconds, int(fields[21]) * _PAGE_BYTES)


def shared_fairly_bytes(pid: int) -> int | None:
    """Return the memory of a process with what it shares divided among those that share it, None where unknown."""
    try:
        for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def end_below(grace_seconds: float, keep: Iterable[int] = ()) -> int:
    """End all that is below this process: politely first, after the grace by force. Return how many there were.

    The children named in `keep`, and what is below them, are left alone. Everything else is reaped.
    """
    end = Ending(keep)
    end.hurry(grace_seconds)
    while not end.step():
        time.sleep(LOOK_SECONDS)
    return end.count


class Ending:
    """Ending all that is below this process, step by step, for who has other things to watch meanwhile."""

    def __init__(self, keep: Iterable[int] = (), reaped: Callable[[int, int], object] = lambda _pid, _status: None):
        self._keep = frozenset(keep)
        self._reaped = reaped
        self._deadline = float("inf")
        self.first: dict[int, signal.Signals] = {}  # by process: with what it is asked to end, where not by SIGTERM
        self._asked: set[tuple[int, str]] = set()
        self._refused: set[tuple[int, str]] = set()
        self.left = 0

    @property
    def count(self) -> int:
        """How many processes were found alive so far."""
        return len(self._asked)

    def hurry(self, grace_seconds: float) -> None:
        """Use force at the latest after the grace from now."""
        self._deadline = min(self._deadline, time.monotonic() + grace_seconds)

    def step(self) -> bool:
        """Look what is left and signal it; True when nothing is, or nothing can be done about it."""
        found = [member for member in self._alive() if member.key not in self._refused]
        now = time.monotonic()
        self.left = len(found) + len(self._refused)
        if now >= self._deadline + STUCK_SECONDS:
            return True
        if not found:
            return not self._has_children()
        if now >= self._deadline:
            self._refused |= kill(found)
        else:
            self._refused |= {
                member.key
                for member in found
                if member.key not in self._asked and not send(member, self.first.get(member.pid, signal.SIGTERM))
            }
        self._asked.update(member.key for member in found)
        return False

    def _alive(self) -> list[Member]:
        reap_ended(self._keep, self._reaped)
        return below(os.getpid(), self._keep)

    def _has_children(self) -> bool:
        """Whether a child is left that was not found alive: who forks and ends meanwhile leaves us another."""
        return bool(children(os.getpid()) - self._keep - {pid for pid, _ in self._refused})


def reap_ended(keep: Collection[int], reaped: Callable[[int, int], object]) -> None:
    """Take the exit status of every child of ours that has ended, but those in `keep`."""
    for pid in children(os.getpid()):
        if pid not in keep:
            with contextlib.suppress(ChildProcessError):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    reaped(pid, status)


def kill(members: list[Member]) -> set[tuple[int, str]]:
    """End `members` by force; return those that belong to somebody else.

    Each is stopped before any is killed, so that none can fork while the others are being killed. Whole groups first:
    the kernel does that in one step. All in a group descend from its founder, and what is not to be ended has a group
    of its own: each program and each worker is started in a new session.
    """
    own_group = os.getpgrp()
    for member in members:
        with contextlib.suppress(OSError):
            group, now = os.getpgid(member.pid), look_at(member.pid)
            if group != own_group and now is not None and now.key == member.key:
                os.killpg(group, signal.SIGKILL)
    _send_all(members, signal.SIGSTOP)
    return _send_all(members, signal.SIGKILL)


def _send_all(members: Iterable[Member], number: signal.Signals) -> set[tuple[int, str]]:
    return {member.key for member in members if not send(member, number)}


def send(member: Member, number: signal.Signals) -> bool:
    """Send a signal to exactly this process; False when we may not. One that has ended meanwhile is well."""
    try:
        descriptor = os.pidfd_open(member.pid)
    except ProcessLookupError:
        return True
    except (AttributeError, OSError):  # no such thing here, or no descriptors left
        return _send_by_number(member, number)
    try:
        now = look_at(member.pid)
        if now is not None and now.start == member.start:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    finally:
        os.close(descriptor)
    return True


def _send_by_number(member: Member, number: signal.Signals) -> bool:
    try:
        now = look_at(member.pid)
        if now is not None and now.start == member.start:
            os.kill(member.pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def _children_elsewhere(pid: int) -> set[int]:
    import psutil

    try:
        return {child.pid for child in psutil.Process(pid).children()}
    except psutil.Error:
        return set()


def _look_elsewhere(pid: int) -> Member | None:
    import psutil

    try:
        process = psutil.Process(pid)
        status, start = process.status(), str(process.create_time())
        cpu_seconds, rss_bytes = sum(process.cpu_times()[:2]), process.memory_info().rss
    except psutil.Error:
        return None
    gone = status in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    return None if gone else Member(pid, start, cpu_seconds, rss_bytes)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read()
