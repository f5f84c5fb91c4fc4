"""What single processes use: memory, and processor time since the reading before.

Guarantees: one small file is read for each process, whatever that has started (workers measure their programs
themselves); nothing is remembered of a process that was not among the last ones read.

Assumes: Linux. Elsewhere nothing is known, and status says so by leaving it out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS = os.sysconf("SC_CLK_TCK")


class Reading(NamedTuple):
    """One process at one moment (monotonic seconds), and its share of a processor since the moment before."""

    at: float
    started: int  # ticks since boot: with the id, it is nobody else
    cpu_seconds: float
    rss_bytes: int
    cpu_percent: float | None


class Meter:
    """Readings of processes, by id."""

    def __init__(self) -> None:
        self._readings: dict[int, Reading] = {}

    def read(self, pids: Iterable[int], now: float) -> None:
        """Read all of `pids`, and forget all others."""
        readings = ((pid, self._read(pid, now)) for pid in pids)
        self._readings = {pid: reading for pid, reading in readings if reading is not None}

    def of(self, pid: int | None) -> Reading | None:
        """Return the last reading of a process, None when there is none."""
        return None if pid is None else self._readings.get(pid)

    def _read(self, pid: int, now: float) -> Reading | None:
        try:
            data = Path(f"/proc/{pid}/stat").read_bytes()
        except OSError:
            return None
        fields = data[data.rindex(b")") + 2 :].split()  # the name before it may hold anything
        cpu_seconds = (int(fields[11]) + int(fields[12])) / _TICKS
        reading = Reading(now, int(fields[19]), cpu_seconds, int(fields[21]) * _PAGE_BYTES, None)
        before = self._readings.get(pid)
        if before is None or before.started != reading.started or before.at >= now:
            return reading
        return reading._replace(cpu_percent=round(100 * (cpu_seconds - before.cpu_seconds) / (now - before.at), 1))
