"""Processes that were left behind: finding them by the mark that all of an agent's programs carry. The door to psutil.

Guarantees: no process is signalled that does not carry the mark of this repository's agent in its environment, or
descends from one that does.

Assumes: that the programs' keepers (keeper.py) have ended what cleared its environment, which no mark finds. They are
given time to.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from .tree import LOOK_SECONDS, STUCK_SECONDS, Member, below, kill, look_at

MARK_STATE = "PARALLEL_LOOP_STATE"
MARK_AGENT = "PARALLEL_LOOP_AGENT"
KEEPER = str(Path(__file__).with_name("keeper.py"))
_KEEPER_SECONDS = 2.0  # a keeper without its worker needs milliseconds


def exit_descriptor(pid: int) -> int | None:
    """Return a descriptor that becomes readable when the process ends, None where there is no such thing."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def end_marked(state: Path, agents: Collection[str]) -> int:
    """End what earlier attempts of these agents left behind after their worker was killed; return how many.

    Only to be called when the agents have no living worker, or by that worker itself before its first attempt.
    """
    names = {agents} if isinstance(agents, str) else set(agents)  # a text is a collection of its letters
    start = time.monotonic()
    ended: set[tuple[int, str]] = set()
    refused: set[tuple[int, str]] = set()
    while time.monotonic() < start + STUCK_SECONDS:
        found = [member for member in _marked(str(state), names) if member.key not in refused]
        if not found:
            break
        keepers_at_work = any(is_keeper(member.pid) for member in found)
        if not keepers_at_work or time.monotonic() >= start + _KEEPER_SECONDS:
            refused |= kill(found)
        ended.update(member.key for member in found)
        time.sleep(LOOK_SECONDS)
    return len(ended)


def _marked(state: str, agents: set[str]) -> list[Member]:
    """Return the marked and what is below them: a program may clear the environment of what it starts."""
    found: dict[int, Member] = {}
    for pid, environ in _environments():
        if pid != os.getpid() and environ.get(MARK_STATE) == state and environ.get(MARK_AGENT) in agents:
            member = look_at(pid)
            if member is not None:
                found |= {other.pid: other for other in (*below(pid), member)}
    found.pop(os.getpid(), None)
    return list(found.values())


def _environments() -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the processes whose environment we may read, with that of ours that is in it."""
    if not Path("/proc/self/environ").exists():
        yield from _environments_elsewhere()
        return
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:  # noqa: PTH123
                data = file.read()
                if MARK_STATE.encode() in data:
                    pairs = (os.fsdecode(pair).partition("=") for pair in data.split(b"\0"))
                    yield int(name), {key: value for key, _, value in pairs}


def _environments_elsewhere() -> Iterator[tuple[int, dict[str, str]]]:
    import psutil

    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            yield process.pid, process.environ()


def is_keeper(pid: int) -> bool:
    """Tell whether the process is a keeper of any command."""
    try:
        return os.fsencode(KEEPER) in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
