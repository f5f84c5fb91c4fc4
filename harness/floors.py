"""Floors: no new attempt starts while the machine has less memory or disk left than the floors ask for.

A look costs microseconds, so that it can be taken before each attempt. What the system does not tell of counts as
enough: it is better to work than to wait for ever. Memory is what the kernel says can be had without swapping
(MemAvailable), or what the limits of our own control group and those around it leave, if that is less.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from .configuration.settings import Floors
from .configuration.units import format_size
from .group_memory import left_in_groups
from .shortage import Lack

_MEMORY = Path("/proc/meminfo")


class Level(NamedTuple):
    """How much there is of something, and how much there has to be; `free_bytes` is None where nobody can tell."""

    what: str
    key: str
    free_bytes: int | None
    floor_bytes: int
    remedy: str  # the command to begin with when it is short

    @property
    def is_short(self) -> bool:
        return self.free_bytes is not None and self.free_bytes < self.floor_bytes

    def describe(self) -> str:
        free = "not known" if self.free_bytes is None else f"{format_size(self.free_bytes)} free"
        floor = f"`floors: {self.key}:` asks for {format_size(self.floor_bytes)}" if self.floor_bytes else "no floor"
        return f"{self.what}: {free}, {floor}"


def levels(floors: Floors, folders: dict[str, Path], *, memory: Path = _MEMORY) -> Iterator[Level]:
    """Yield how much room there is of memory, and of the disk below each of `folders` (what it is for, and where)."""
    yield Level("memory", "memory", _free_memory(memory), floors.memory_bytes, "free -m")
    for what, folder in folders.items():
        remedy = f"df -h {shlex.quote(os.fspath(folder))}"
        yield Level(f"disk of the {what}", "disk", _free_disk(folder), floors.disk_bytes, remedy)


def lack_under(floors: Floors, folders: dict[str, Path]) -> Lack | None:
    """Return that of which there is too little to begin an attempt, None when there is enough of everything."""
    if not floors.memory_bytes and not floors.disk_bytes:
        return None
    return next((Lack(level.describe(), level.remedy) for level in levels(floors, folders) if level.is_short), None)


def _free_disk(folder: Path) -> int | None:
    with suppress(OSError):
        # Before the first run, and after somebody removed it: it is made when it is needed, on the disk of its parent.
        status = os.statvfs(next(path for path in (folder, *folder.parents) if path.exists()))
        if status.f_blocks:
            return status.f_bavail * status.f_frsize
    return None


def _free_memory(memory: Path) -> int | None:
    return min((free for free in (_available(memory), left_in_groups()) if free is not None), default=None)


def _available(memory: Path) -> int | None:
    with suppress(OSError, ValueError, IndexError):
        for line in memory.read_bytes().splitlines():
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
