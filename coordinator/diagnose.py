"""What the monitor thinks of one worker: a pure function of what was observed.

All ages are seconds of the monotonic clock, so a stepped clock makes nobody look dead. The monitor grants
an amnesty for time in which it did not run itself (a suspended laptop, a stopped process): then the worker
had no chance either.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["starting", "well", "silent", "dead"]


@dataclass(frozen=True)
class Observation:
    """One worker as seen now."""

    alive: bool
    since_start_seconds: float
    beat_age_seconds: float | None  # None: no heartbeat of this process yet
    monitor_gap_seconds: float = 0.0  # for how long the monitor itself did not look


def diagnose(seen: Observation, silent_seconds: float) -> Verdict:
    """Return the verdict; a worker is silent when it said nothing for longer than `silent_seconds`."""
    if not seen.alive:
        return "dead"
    said_nothing_for = seen.since_start_seconds if seen.beat_age_seconds is None else seen.beat_age_seconds
    if said_nothing_for - seen.monitor_gap_seconds > silent_seconds:
        return "silent"
    return "starting" if seen.beat_age_seconds is None else "well"
