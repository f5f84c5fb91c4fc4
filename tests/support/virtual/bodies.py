"""Made-up processes: they hold the real locks of their places, hear orders and signals, and die, on a made-up clock."""

from __future__ import annotations

import math
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path

from parallel_loop.harness.child import PLACE_TAKEN, PlaceTaken, hold_for_life
from parallel_loop.harness.configuration.accepted import read_accepted
from parallel_loop.harness.configuration.settings import Config
from parallel_loop.harness.state import Heartbeat, StateDirectory
from support.virtual.queue import WatchedQueue
from support.virtual.world import World

_BEAT_SECONDS = 5.0


class Heart:
    """When its worker last said that it lives: not written down by anybody, but worked out when somebody asks."""

    def __init__(self, now: float, interval: float = _BEAT_SECONDS) -> None:
        self.interval = interval
        self._last, self._next = now, now + interval

    def last(self, now: float) -> float:
        if now >= self._next:
            self._last = self._next + self.interval * math.floor((now - self._next) / self.interval)
            self._next = self._last + self.interval
        return self._last

    def stop(self, now: float) -> None:
        self.last(now)
        self._next = math.inf

    def go_on(self, now: float) -> None:
        self._next = min(self._next, now)

    def freeze(self, now: float, seconds: float, late_seconds: float) -> None:
        self.last(now)
        self._next = max(self._next, now) + seconds + late_seconds


class Body(ABC):
    """A process of ours."""

    exit_code: int | None = None
    has_spoken = False  # holds its place and has written its first heartbeat
    finishing = paused = hung = stopped = orphaned = False
    told_to_stop: float | None = None

    def __init__(self, world: World, state: StateDirectory, name: str, arguments: Sequence[str]) -> None:
        self.world, self.state, self.name = world, state, name
        self.pid, self.generation, self.started = next(world.pids), world.generation, world.now
        self.is_alive = True
        self.heart = Heart(math.inf)
        self.done = 0
        self._accepted = Path(arguments[-1])
        self._held: list[Callable[[], None]] = []
        self._lock: int | None = None
        self._waking = False
        world.bodies[self.pid] = self
        self.schedule(world.chance.choice((0.05, 0.3, 0.3, 3.0)), self.boot)

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    # --- running --------------------------------------------------------------------------------------

    def schedule(self, seconds: float, act: Callable[[], None]) -> None:
        self.world.after(seconds, lambda: self._act(act))

    def _act(self, act: Callable[[], None]) -> None:
        if self.stopped:
            self._held.append(act)
        elif self.is_alive and not self.hung:
            act()

    def boot(self) -> None:
        lock = self.state.landing_lock if self.name == "landing" else self.state.agent(self.name).lock
        self.state.agent(self.name).create()
        try:
            self._lock = hold_for_life(lock, self.name)
        except PlaceTaken:
            self.end(PLACE_TAKEN)
            return
        if self.world.now < self.world.sick_until.get(self.name, 0.0):
            with self.state.agent(self.name).worker_log.open("a") as log:
                log.write(f"{self.name} is sick\n")
            self.end(4)
            return
        self.config = read_accepted(self._accepted)
        self.queue = WatchedQueue(self.world, self.state.queue)
        self.heart, self.has_spoken = Heart(self.world.now), True
        self.begin(self.config)
        if self.orphaned:
            self.obey_death()
        self.schedule(0.01, self.look)

    def begin(self, config: Config) -> None:  # noqa: B027 (not all have to)
        """Get ready to work."""

    @abstractmethod
    def look(self) -> None:
        """Look for work."""

    def give_back(self) -> None:  # noqa: B027 (not all have something)
        """Give back what is in hand."""

    def wake(self) -> None:
        """The bell rang."""
        if self.has_spoken and not self._waking:
            self._waking = True
            self.schedule(self.world.chance.uniform(0.0005, 0.05), self._look_awake)

    def _look_awake(self) -> None:
        self._waking = False
        self.look()

    def look_in(self, seconds: float) -> None:
        """Look again then, if nothing wakes us before."""
        self._next_look = look = object()
        self.schedule(seconds, lambda: self.look() if self._next_look is look else None)

    # --- being told -----------------------------------------------------------------------------------

    @property
    def last_sign(self) -> float:
        return self.heart.last(self.world.now) if self.has_spoken else self.started

    def heartbeat(self) -> Heartbeat:
        beat = self.heart.last(self.world.now)
        return Heartbeat(agent=self.name, pid=self.pid, process_start=1.0, boot="b", at="", beat=beat, done=self.done)

    def hear(self, line: str) -> None:
        self.paused = {"pause": True, "resume": False}.get(line, self.paused)
        if line == "finish":
            self.finishing = True
        if self.has_spoken:
            self.look()

    def orphan(self) -> None:
        self.orphaned = True
        if self.has_spoken:
            self.schedule(0.0, self.obey_death)

    def obey_death(self) -> None:
        self.finishing = True
        if self.config.on_coordinator_death == "stop":
            self.schedule(self.world.chance.uniform(0.0, 0.6), self.stop)
        else:
            self.look()

    def signal(self, number: signal.Signals) -> None:
        if number == signal.SIGKILL:
            self.die(-9)
        elif number == signal.SIGTERM:
            self.schedule(self.world.chance.uniform(0.0, 11.0), self.stop)
        elif number == signal.SIGSTOP:
            self.stopped = True
            self.heart.stop(self.world.now)
        elif number == signal.SIGCONT and self.stopped:
            if not self.hung:
                self.heart.go_on(self.world.now)
            self._go_on()

    def _go_on(self) -> None:
        self.stopped = False
        held, self._held = self._held, []
        for act in held:
            self._act(act)

    def deafen(self, seconds: float) -> None:
        """Hear and do nothing for so long, while a thread lets the heart beat: as when git hangs."""
        self.stopped = True
        self.world.after(seconds, self._go_on)

    def hang(self) -> None:
        self.hung = True
        self.heart.stop(self.world.now)

    # --- ending ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        if self.has_spoken:
            self.give_back()
        self.end(0)

    def end(self, code: int) -> None:
        """End in good order."""
        self._bury(code)

    def die(self, code: int) -> None:
        """End in the middle of everything."""
        self._bury(code)

    def _bury(self, code: int) -> None:
        self.is_alive, self.exit_code = False, code
        if self.has_spoken:
            self.world.last_beats[self.name] = self.heartbeat()
        del self.world.bodies[self.pid]
        if self._lock is not None:
            os.close(self._lock)
