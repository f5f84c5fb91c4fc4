"""Who a process is, told by what no other can have.

Guarantees: a recycled process id is never mistaken for the old process, nor a process for another because somebody
set the clock.

psutil is imported only where there is no /proc: `status` asks whether workers live, and has to answer at once.
"""

from __future__ import annotations

import contextlib
import functools
import os
from pathlib import Path
from typing import NamedTuple


class Identity(NamedTuple):
    """A process by what no other can have: id, start (on Linux, seconds since boot) and boot."""

    pid: int
    process_start: float
    boot: str


@functools.cache
def boot_id() -> str:
    """Return what tells this boot of the machine from every other."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    import psutil

    return f"boot-{psutil.boot_time():.0f}"


def own_identity() -> Identity:
    seen = _look_up(os.getpid())
    assert seen is not None, "we live"
    return Identity(os.getpid(), seen[0], boot_id())


def is_alive(identity: Identity) -> bool:
    """Tell whether exactly this process runs (a zombie does not)."""
    seen = _look_up(identity.pid) if identity.boot == boot_id() else None
    if seen is None:
        return False
    start, is_zombie = seen
    return abs(start - identity.process_start) < 0.005 and not is_zombie  # less than one clock tick


def _look_up(pid: int) -> tuple[float, bool] | None:
    """Return when the process started and whether it is a zombie, None when there is none."""
    if not Path("/proc/self/stat").exists():
        import psutil

        try:
            process = psutil.Process(pid)
            return process.create_time(), process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            return None
    # Not psutil's create_time: that is wall-clock time, and another one after the clock was set or drifted.
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return int(fields[19]) / os.sysconf("SC_CLK_TCK"), fields[0] == b"Z"
