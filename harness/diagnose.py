"""What the monitor thinks of one worker and of the work in its hands: a pure function of what was observed.

All ages are seconds of the monotonic clock, so a stepped clock makes nobody look dead. Time in which the observer did
not run itself (a suspended laptop, a stopped process) counts for nobody: then the worker had no chance either.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["starting", "well", "busy-silent", "silent", "looping", "over-limit", "dead", "failing"]

MOST_IDLE_CALLS = 80  # of tools while no file changes: whoever only reads for so long gets nowhere
QUIET_SECONDS = 60.0  # without output, from which on a program is told from one that talks
# Of output with nothing new, within `no_progress`: who says now and then that it waits is no loop.
_LEAST_REPEATED_LINES, _REPEATED_LINES_A_SECOND = 10, 500 / 1200


@dataclass(frozen=True)
class Work:
    """What is known of a command while it runs. Ages are those of its last sign of the kind."""

    output_age_seconds: float
    news_age_seconds: float  # since its output said something that it had not said before
    cpu_age_seconds: float  # since its tree used processor time worth the name
    change_age_seconds: float  # since a file of the worktree or a branch changed
    repeated_lines: int = 0  # printed since its output was news
    wait_seconds: float = 0.0  # it announced to wait for so much longer
    tool_open: bool = False  # a tool that it has begun has not ended, as it says
    idle_calls: int = 0  # of tools, since a file changed
    circles: bool = False  # what it says shows that it does the same over and over
    over: bool = False  # it passed a limit, and is being ended


@dataclass(frozen=True)
class Observation:
    """One worker as seen now."""

    alive: bool
    since_start_seconds: float
    beat_age_seconds: float | None  # None: no heartbeat of this process yet
    monitor_gap_seconds: float = 0.0  # for how long the monitor itself did not look
    work: Work | None = None  # None: it runs no command
    given_up: bool = False  # its place has had too many deaths


@dataclass(frozen=True)
class Patience:
    """How long a worker may say nothing, and how long its work may give no sign of moving."""

    silent_seconds: float
    no_progress_seconds: float
    quiet_seconds: float = float("inf")  # and for how long when it is not waiting for a tool


def diagnose(seen: Observation, patience: Patience) -> Verdict:
    """Return the verdict on the worker, or if nothing is wrong with that, on its work.

    `silent` of a worker without work, or with a beat too old, means that it hangs; else it is its program that does.
    """
    if seen.given_up:
        return "failing"
    if not seen.alive:
        return "dead"
    if is_silent(seen, patience):
        return "silent"
    if seen.beat_age_seconds is None:
        return "starting"
    return "well" if seen.work is None else judge_work(seen.work, patience)


def is_silent(seen: Observation, patience: Patience) -> bool:
    """Whether the worker itself said nothing for too long."""
    said_nothing_for = seen.since_start_seconds if seen.beat_age_seconds is None else seen.beat_age_seconds
    return said_nothing_for - seen.monitor_gap_seconds > patience.silent_seconds


def judge_work(work: Work, patience: Patience) -> Verdict:
    """Return the verdict on a command that runs under a living worker.

    Whoever uses the processor is not silent, however long nothing is printed: a test suite may take an hour. Whoever
    prints the same over and over while no file changes gets nowhere, however busy.
    """
    longest = patience.no_progress_seconds
    if work.over:
        return "over-limit"
    if work.circles or work.idle_calls >= MOST_IDLE_CALLS:
        return "looping"
    if work.wait_seconds > 0:
        return "well"
    allowed = longest if work.tool_open else min(longest, patience.quiet_seconds)
    if min(work.output_age_seconds, work.cpu_age_seconds, work.change_age_seconds) > allowed:
        return "silent"
    enough = max(_LEAST_REPEATED_LINES, longest * _REPEATED_LINES_A_SECOND)
    says_the_same = work.news_age_seconds > longest and work.repeated_lines >= enough
    if says_the_same and work.change_age_seconds > longest:
        return "looping"
    return "busy-silent" if work.output_age_seconds > QUIET_SECONDS else "well"


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
