"""Processes: who they are, whether they live, and how a whole tree of them ends. The only door to psutil.

Guarantees: no process is signalled that is not a descendant of the caller or does not carry the mark of
this repository's agent in its environment; a recycled process id is never mistaken for the old process.

Assumes: Linux for the whole of it (subreaper, pidfd). Elsewhere a daemon that left its parents can escape
`end_descendants`, and exits are noticed by looking now and then.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
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


class Identity(NamedTuple):
    """A process by what no other can have: id, start time (seconds as psutil tells them) and boot."""

    pid: int
    process_start: float
    boot: str


@functools.cache
def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"boot-{psutil.boot_time():.0f}"


def own_identity() -> Identity:
    return Identity(os.getpid(), psutil.Process().create_time(), boot_id())


def is_alive(identity: Identity) -> bool:
    """Tell whether exactly this process runs (a zombie does not)."""
    if identity.boot != boot_id():
        return False
    try:
        process = psutil.Process(identity.pid)
        same = abs(process.create_time() - identity.process_start) < 0.02  # two clock ticks of rounding
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


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


def end_descendants(grace_seconds: float, keep: Iterable[int] = ()) -> int:
    """End every process below this one: first politely, after the grace by force; return how many there were.

    The children named in `keep`, and what is below them, are left alone. Everything else is reaped.
    """
    kept = frozenset(keep)
    return _end(lambda: _descendants(kept), grace_seconds)


def end_marked(state: Path, agents: Collection[str]) -> int:
    """End what earlier attempts of these agents left behind after their worker was killed; return how many.

    Only to be called when the agents have no living worker, or by that worker itself before its first attempt.
    """
    return _end(lambda: _marked(str(state), agents), grace_seconds=0.0)


def _end(find: Callable[[], list[psutil.Process]], grace_seconds: float) -> int:
    asked: set[int] = set()
    deadline = time.monotonic() + grace_seconds
    while True:
        left = find()
        if not left:
            return len(asked)
        forced = time.monotonic() >= deadline
        # Stopped first, so that none can fork while the others are being killed.
        for signal_number in (signal.SIGSTOP, signal.SIGKILL) if forced else (signal.SIGTERM,):
            for process in left:
                if forced or process.pid not in asked:
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(signal_number)
        asked.update(process.pid for process in left)
        time.sleep(_LOOK_SECONDS)


def _descendants(keep: frozenset[int]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children():
        if child.pid in keep:
            continue
        with contextlib.suppress(psutil.Error):
            found += child.children(recursive=True)
        if not _reap(child.pid):
            found.append(child)
    return found


def _reap(pid: int) -> bool:
    """Take the exit status of our child if it has ended; True when it is gone."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _marked(state: str, agents: Collection[str]) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ() if process.pid != os.getpid() else {}
            mine = environment.get(MARK_STATE) == state and environment.get(MARK_AGENT) in agents
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


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
