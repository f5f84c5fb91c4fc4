"""What the monitor thinks of one worker: a pure function of what was observed.

All ages are seconds of the monotonic clock, so a stepped clock makes nobody look dead. The monitor grants
an amnesty for time in which it did not run itself (a suspended laptop, a stopped process): then the worker
had no chance either.
"""

from __future__ import annotations

from collections import deque
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


class Attendance:
    """When the monitor itself did not look."""

    def __init__(self) -> None:
        self._gaps: deque[tuple[float, float]] = deque(maxlen=1000)  # end (monotonic seconds), length in seconds

    def note_turn(self, now: float, late_seconds: float) -> None:
        """Note a turn at `now` that came late by so much."""
        if late_seconds > 0:
            self._gaps.append((now, late_seconds))

    def missed_since(self, moment: float) -> float:
        """For how many seconds nobody looked in the time from `moment`, at the most."""
        return sum(seconds for end, seconds in self._gaps if end > moment)


def diagnose(seen: Observation, silent_seconds: float) -> Verdict:
    """Return the verdict; a worker is silent when it said nothing for longer than `silent_seconds`."""
    if not seen.alive:
        return "dead"
    said_nothing_for = seen.since_start_seconds if seen.beat_age_seconds is None else seen.beat_age_seconds
    if said_nothing_for - seen.monitor_gap_seconds > silent_seconds:
        return "silent"
    return "starting" if seen.beat_age_seconds is None else "well"
