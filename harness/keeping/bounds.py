"""What one attempt may use: from `limits:`, with what its role says instead."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ...queue.records import Item
from ..configuration.settings import Config

_OF_ROLE = {"memory": "memory_bytes", "processes": "processes", "worktree": "worktree_bytes"}


@dataclass(frozen=True)
class Bounds:
    """The limits of one command and all below it; 0 is no limit. `group`: the control group that holds it.

    `of_role` are the limits that the role called `role` sets, by name.
    """

    memory_bytes: int = 0
    processes: int = 0
    cores: float = 0.0
    worktree_bytes: int = 0
    cpus: tuple[int, ...] = ()
    group: str = ""
    role: str = ""
    of_role: tuple[str, ...] = ()

    def as_arguments(self) -> tuple[str, str, str, str]:
        """Return what the keeper is told of them."""
        return str(self.memory_bytes), str(self.processes), ",".join(map(str, self.cpus)), self.group

    def limit_of(self, name: str) -> int:
        return {"memory": self.memory_bytes, "processes": self.processes, "worktree": self.worktree_bytes}[name]

    def key_of(self, name: str) -> str:
        """Return the key of the configuration that sets this limit."""
        return f"roles.{self.role}.{name}" if name in self.of_role else f"limits.{name}"


UNBOUNDED = Bounds()


def bounds_of(config: Config, item: Item | None, number: int) -> Bounds:
    """Return what an attempt of agent `number` may use; with no item, what the limits say."""
    limits, role = config.limits, config.roles.get(item.role) if item is not None and item.role else None
    cores = (role.cpu_cores if role else None) or limits.cpu_cores or 0.0
    return Bounds(
        memory_bytes=(role.memory_bytes if role else None) or limits.memory_bytes,
        processes=(role.processes if role else None) or limits.processes,
        cores=cores,
        worktree_bytes=(role.worktree_bytes if role else None) or limits.worktree_bytes,
        cpus=processors_for(cores, number),
        role=(item.role or "") if role is not None and item is not None else "",
        of_role=tuple(name for name in _OF_ROLE if role is not None and getattr(role, _OF_ROLE[name])),
    )


def processors_for(cores: float, number: int) -> tuple[int, ...]:
    """Return the processors of agent `number`: as few as hold `cores`, others than its neighbours'; () for all.

    A ceiling that needs no privilege and that all children inherit. It is no share of one processor: below 100 % the
    kernel's own control groups are needed.
    """
    try:
        there = sorted(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        return ()
    count = math.ceil(cores)
    if not 0 < count < len(there):
        return ()
    return tuple(sorted(there[(number * count + index) % len(there)] for index in range(count)))
