"""Processes: noticing their end, ending a whole tree of them, what they use. The door to psutil (with identity.py).

Guarantees: no process is signalled that is not a descendant of the caller or does not carry the mark of
this repository's agent in its environment (or descends from one that does).

Assumes: Linux for the whole of it (subreaper, pidfd). Elsewhere a daemon that left its parents can escape
`end_descendants`, and exits are noticed by looking now and then. A process of another user (started with sudo)
cannot be ended by us anywhere, and one that is stuck in the kernel cannot be ended by anybody: both are left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

import psutil

MARK_STATE = "PARALLEL_LOOP_STATE"
MARK_AGENT = "PARALLEL_LOOP_AGENT"
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.005
_STUCK_SECONDS = 30.0  # what has not died so long after SIGKILL hangs in the kernel; we must not hang with it


def exit_descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends, None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def become_subreaper() -> bool:
    """Make every orphan among our descendants our child, so that none escapes; False where that cannot be."""
    try:
        return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)
    except (AttributeError, OSError):
        return False


def end_descendants(
    grace_seconds: float, keep: Iterable[int] = (), meanwhile: Callable[[], object] = lambda: None
) -> int:
    """End every process below this one: first politely, after the grace by force; return how many there were.

    The children named in `keep`, and what is below them, are left alone. Everything else is reaped. `meanwhile`
    is called while it takes time.
    """
    kept = frozenset(keep)
    return _end(lambda: _descendants(kept), grace_seconds, meanwhile)


def end_marked(state: Path, agents: Collection[str]) -> int:
    """End what earlier attempts of these agents left behind after their worker was killed; return how many.

    Only to be called when the agents have no living worker, or by that worker itself before its first attempt.
    """
    names = {agents} if isinstance(agents, str) else set(agents)  # a text is a collection of its letters
    return _end(lambda: _marked(str(state), names), grace_seconds=0.0)


def _end(
    find: Callable[[], list[psutil.Process]], grace_seconds: float, meanwhile: Callable[[], object] = lambda: None
) -> int:
    asked: set[int] = set()
    refused: set[int] = set()
    deadline = time.monotonic() + grace_seconds
    while True:
        left = [process for process in find() if process.pid not in refused]
        now = time.monotonic()
        if not left or now >= deadline + _STUCK_SECONDS:
            return len(asked)
        if now >= deadline:
            refused |= _kill(left)
        else:
            refused |= _signal([process for process in left if process.pid not in asked], signal.SIGTERM)
        asked.update(process.pid for process in left)
        meanwhile()
        time.sleep(_LOOK_SECONDS)


def _kill(processes: list[psutil.Process]) -> set[int]:
    """End `processes` by force; return those that belong to somebody else.

    Each is stopped before any is killed, so that none can fork while the others are being killed.
    """
    for process in processes:
        with contextlib.suppress(OSError):
            _kill_group_of(process.pid)
    _signal(processes, signal.SIGSTOP)
    return _signal(processes, signal.SIGKILL)


def _kill_group_of(pid: int) -> None:
    """Kill a whole process group, which the kernel does in one step: no member can fork its way out.

    All in a group descend from its founder, and what is not to be ended has a group of its own: each program and
    each worker is started in a new session.
    """
    group = os.getpgid(pid)
    if group != os.getpgrp():
        os.killpg(group, signal.SIGKILL)


def _signal(processes: list[psutil.Process], number: signal.Signals) -> set[int]:
    refused = set()
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.AccessDenied:
            refused.add(process.pid)
        except psutil.Error:
            continue
    return refused


def _descendants(kept: frozenset[int]) -> list[psutil.Process]:
    """Return what lives below us, and reap what has ended. None of it lives when we have no child left.

    Who forks and ends at once is found by its successor, our child by then; a list of all processes comes too late.
    """
    for pid in _children() - kept:
        _reap(pid)
    found = []
    for pid in _children() - kept:  # again: the children of what ended have become ours
        with contextlib.suppress(psutil.Error):
            child = psutil.Process(pid)
            found += [child, *child.children(recursive=True)]
    return found


def _children() -> set[int]:
    """Return the ids of our children, also of those that have ended and are not reaped."""
    found: set[int] = set()
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return {child.pid for child in psutil.Process().children()}
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found.update(map(int, (task / "children").read_bytes().split()))
    return found


def _reap(pid: int) -> None:
    """Take the exit status of our child if it has ended."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _marked(state: str, agents: set[str]) -> list[psutil.Process]:
    """Return the marked and what is below them: a program may clear the environment of what it starts."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ() if process.pid != os.getpid() else {}
            mine = environment.get(MARK_STATE) == state and environment.get(MARK_AGENT) in agents
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found |= {other.pid: other for other in (*process.children(recursive=True), process)}
    found.pop(os.getpid(), None)
    return list(found.values())


class Usage(NamedTuple):
    """What a process and everything below it use: bytes of memory, seconds of processor time so far."""

    rss_bytes: int
    cpu_seconds: float


def usage_of_tree(pid: int, *, alone: bool = False) -> Usage | None:
    """Return what the tree below `pid` uses, or that process `alone`; None when it is gone."""
    try:
        root = psutil.Process(pid)
        tree = [root] if alone else [root, *root.children(recursive=True)]
    except psutil.Error:
        return None
    rss_bytes, cpu_seconds = 0, 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            rss_bytes += process.memory_info().rss
            cpu_seconds += sum(process.cpu_times()[:2])
    return Usage(rss_bytes, cpu_seconds)
