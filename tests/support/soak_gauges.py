"""Memory and descriptors of a run's own processes over time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from support.proc import descriptors_of, proportional_bytes, resident_bytes


class Use(NamedTuple):
    """What one process has at one moment."""

    rss_megabytes: float
    pss_megabytes: float
    descriptors: int

    def __str__(self) -> str:
        return f"{self.rss_megabytes:5.1f} MB RSS {self.pss_megabytes:5.1f} PSS {self.descriptors:3} fds"


def use_of(pid: int) -> Use:
    return Use(resident_bytes(pid) / 1e6, proportional_bytes(pid) / 1e6, descriptors_of(pid))


@dataclass
class Gauges:
    """The coordinators of a run, each from its first reading to its last, and the most that any process had."""

    spans: dict[int, list[Use]] = field(default_factory=dict)
    most: dict[str, Use] = field(default_factory=dict)

    def read(self, coordinator: int, workers: list[int], lander: int | None) -> Use | None:
        """Read all; return what the coordinator uses."""
        named = [("coordinator", coordinator), *(("worker", pid) for pid in workers), ("lander", lander or 0)]
        for name, pid in named:
            use = use_of(pid)
            if use.rss_megabytes:
                before = self.most.get(name, use)
                self.most[name] = Use(*map(max, before, use))
        now = use_of(coordinator)
        if not now.rss_megabytes:
            return None
        self.spans.setdefault(coordinator, []).append(now)
        return now

    def longest(self) -> tuple[Use, Use] | None:
        """Return the first and the last reading of the coordinator that lived longest."""
        span = max(self.spans.values(), key=len, default=None)
        return None if span is None else (span[0], span[-1])
