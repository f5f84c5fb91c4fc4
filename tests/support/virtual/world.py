"""A made-up machine: one clock that jumps from event to event, and processes that are objects.

What is real: the coordinator and all that it decides, the queue with its files and locks, the configuration. What is
made up: time, chance, processes with their signals and deaths, and what the programs of the workers do.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from parallel_loop.harness.state import Heartbeat
from parallel_loop.queue.clock import to_text

if TYPE_CHECKING:
    from support.virtual.bodies import Body

_BEGIN = datetime(2026, 3, 28, tzinfo=UTC)
_GAPS_KEPT = 100


class Violation(AssertionError):
    """Something happened that must never happen."""


class CoordinatorKilled(BaseException):
    """The coordinator was killed here: nothing of it runs any more. No error, so that nobody takes it for one."""


@dataclass(frozen=True)
class Leftover:
    """What the program of a killed worker leaves running."""

    name: str
    item_id: str
    generation: int


class Ledger:
    """What really happened to items, told by those it happened to."""

    def __init__(self) -> None:
        self.cancelled: set[str] = set()
        self.deaths: dict[tuple[str, int], float] = {}  # attempts in the middle of which the worker died, and when
        self.open_deaths: dict[tuple[str, int], float] = {}  # those that were not taken back yet


class World:
    """The machine as it is, whoever looks."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1000.0  # the monotonic clock
        self.wall_ahead_seconds = 0.0
        self.ledger = Ledger()
        self.pids = itertools.count(10_000)
        self.bodies: dict[int, Body] = {}  # what lives, by pid
        self.last_beats: dict[str, Heartbeat] = {}  # of the dead
        self.leftovers: set[Leftover] = set()
        self.generation = 0  # of the coordinator
        self.kill_after_effects: int | None = None
        self.stopped_until = self._stopped_since = 0.0  # the coordinator is stopped
        self.gone_since: float | None = 0.0  # there is no coordinator
        self.gaps: list[tuple[float, float]] = []  # when nobody watched
        self.refused_until: dict[str, float] = {}  # the machine refuses to start, or to end, processes
        self.sick_until: dict[str, float] = {}  # whoever is started in that place ends with an error
        self.heard: Callable[[], bytes] = bytes
        self.rang = True
        self._bell = b""
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    # --- time -----------------------------------------------------------------------------------------

    def wall_now(self) -> str:
        return to_text(_BEGIN + timedelta(seconds=self.now + self.wall_ahead_seconds))

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), happen))

    def advance(self, until: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let the world go on until then, or until `is_over`."""
        self.listen()
        while not is_over():
            if not self._events or self._events[0][0] > until:
                self.now = max(self.now, until)
                return
            moment, _, happen = heapq.heappop(self._events)
            self.now = max(self.now, moment)
            happen()
            self.listen()

    def listen(self) -> None:
        """Wake who waits for the bell if it rang."""
        heard = self.heard()
        if heard != self._bell:
            self._bell, self.rang = heard, True
            for body in self.bodies.values():
                body.wake()

    def freeze(self, seconds: float) -> None:
        """Let nothing at all run for so long while the clock does, as in a storm of swapping."""
        for body in self.bodies.values():
            body.heart.freeze(self.now, seconds, self.chance.uniform(0.0, body.heart.interval))
        self._events = [(moment + seconds, number, happen) for moment, number, happen in self._events]
        self._miss(self.now, self.now + seconds)
        self.now += seconds

    def stop_coordinator(self, seconds: float) -> None:
        if self.gone_since is None and self.now >= self.stopped_until:
            self._stopped_since, self.stopped_until = self.now, self.now + seconds

    def let_coordinator_go_on(self) -> None:
        self._miss(self._stopped_since, min(self.now, self.stopped_until))
        self.stopped_until = 0.0

    def _miss(self, begin: float, end: float) -> None:
        self.gaps = [*self.gaps[-_GAPS_KEPT:], (begin, end)]

    def unwatched_since(self, moment: float) -> float:
        """For how long nobody watched from then until now, at the most."""
        gone = [] if self.gone_since is None else [(self.gone_since, self.now)]
        missed = 0.0
        for begin, end in sorted([*self.gaps, *gone]):
            missed += max(0.0, end - max(begin, moment))
            moment = max(moment, end)
        return missed

    # --- the coordinator ------------------------------------------------------------------------------

    def effect(self) -> None:
        """To be called whenever the coordinator does something to the machine: it can be killed there."""
        if self.kill_after_effects is not None:
            self.kill_after_effects -= 1
            if self.kill_after_effects <= 0:
                raise CoordinatorKilled

    def forgiven_since(self, moment: float) -> float:
        """The same as a coordinator sees it: of a gap that had begun before, nobody can say when it was."""
        return sum(end - begin for begin, end in self.gaps if end > moment)

    def lose_coordinator(self, *, killed: bool) -> None:
        """Let everybody know that the coordinator is gone."""
        self.kill_after_effects, self.gone_since, self.stopped_until = None, self.now, 0.0
        self.generation += 1
        for body in list(self.bodies.values()) if killed else ():
            body.orphan()

    def find_coordinator(self) -> None:
        """There is a coordinator again."""
        assert self.gone_since is not None
        self._miss(self.gone_since, self.now)
        self.gone_since = None

    def bodies_of(self, name: str) -> list[Body]:
        return [body for body in self.bodies.values() if body.name == name]
