"""A day in seconds: the real coordinator, its real queue, and made-up processes on a made-up clock.

`python tests/support/virtual/day.py FROM TO` runs the days of these seeds; a day is the same each time it is run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from parallel_loop.coordinator.control import write_wanted
from parallel_loop.coordinator.coordinator import Coordinator
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.coordinator.snapshot import Snapshot
from parallel_loop.coordinator.status import StatusWriter
from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.configuration.settings import Config, ConfigError
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import DIRECTORY, StateDirectory
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.watching import BellWatch
from support.virtual.bodies import Body
from support.virtual.inspection import Inspector
from support.virtual.machine import VirtualMachine
from support.virtual.mishaps import Mishaps
from support.virtual.queue import WatchedQueue
from support.virtual.workers import LanderBody, WorkerBody
from support.virtual.world import CoordinatorKilled, Violation, World

DAY_SECONDS = 86_400.0
_LONGEST_EVENING_SECONDS = 86_400.0  # what is left when the day is over is done by then
_LOOK_SECONDS = 600.0


class RareStatus(StatusWriter):
    """Publishes every ten minutes, whatever happens: a day has too many seconds."""

    def publish(self, *given: object, **named: object) -> None:
        if self.is_due():
            super().publish(*given, **named)  # type: ignore[arg-type]
            self.due = self._monotonic() + _LOOK_SECONDS

    def _measure(self) -> None:
        """There is nothing to measure."""


class Nobody:
    """Looks at nothing."""

    shows_time = False

    def show(self, picture: Snapshot) -> None:
        """Look away."""


class Day:
    """One day, by its seed, in an empty folder."""

    def __init__(self, seed: int, folder: Path, seconds: float = DAY_SECONDS) -> None:
        self.world = World(seed)
        self._end = self.world.now + seconds
        self._project = self._open(folder, Config())
        self._project.state.create()
        self._project.queue.create()
        self._survey = Survey(self._project.queue)
        self.world.heard = self._project.queue.bell.heard
        self.mishaps = Mishaps(self.world, self._project, self._end)
        self.runs = 0

    def _open(self, root: Path, config: Config) -> Project:
        state = StateDirectory(root / DIRECTORY)
        project = Project(root, config, state, {})
        vars(project)["queue"] = WatchedQueue(self.world, state.queue)
        return project

    def _make(self, module: str, name: str, arguments: Sequence[str]) -> Body:
        kind = WorkerBody if module.endswith("worker") else LanderBody
        return kind(self.world, self._project.state, name, arguments)

    def live(self) -> None:
        """Let coordinators follow one another until the day is over and all is done. Raises Violation."""
        while not self._is_over():
            self.world.advance(self.world.now + self.world.chance.uniform(0.0, 400.0))
            if self.world.chance.random() < 0.2:  # while workers live of whom a new coordinator knows nothing yet
                self.mishaps.freeze()
            self._run_coordinator()
        Inspector(self.world, self._project).check_end(self.mishaps.ids)

    def _is_over(self) -> bool:
        if self.world.now < self._end:
            return False
        self._survey.refresh()
        return self._survey.is_drained() and not self.world.bodies

    def _run_coordinator(self) -> None:
        project, world = self._reopen(), self.world
        machine = VirtualMachine(world, self._make)
        coordinator = Coordinator(
            project, "main", agents=None, drain=world.now >= self._end, display=Nobody(), machine=machine
        )
        reloading, work = coordinator._reloading, coordinator._work
        coordinator._status = RareStatus(project, work, Nobody(), reloading, machine)
        lock = CoordinatorLock(project.state.coordinator_lock, 1, 1.0, "boot")
        world.find_coordinator()
        self.mishaps.signals, self.runs, killed = machine.told, self.runs + 1, False
        watch = BellWatch(project.queue.bell, monotonic=machine.monotonic)
        try:
            self._supervise(coordinator, lock, watch)
        except CoordinatorKilled:
            killed = True
        finally:
            watch.close()
            os.close(lock._descriptor)
            self.mishaps.signals = None
            world.lose_coordinator(killed=killed)
        if not killed and world.bodies:
            raise Violation(f"the coordinator has ended, and {', '.join(map(str, world.bodies.values()))} lives")

    def _supervise(self, coordinator: Coordinator, lock: CoordinatorLock, watch: BellWatch) -> None:
        """What `Coordinator.run` does, and a look after each turn."""
        inspector = Inspector(self.world, self._project)
        write_wanted(self._project.state, coordinator._wanted)
        coordinator._begin(lock)
        while not coordinator._is_over():
            coordinator._turn(watch)
            inspector.check_turn(coordinator)
            if self.world.now > self._end + _LONGEST_EVENING_SECONDS:
                raise Violation(f"not done a day later: {inspector.describe(coordinator)}")
            if self.world.now > self._end and not coordinator._drain:
                self._begin_evening(coordinator)
        coordinator._leave()

    def _begin_evening(self, coordinator: Coordinator) -> None:
        """Nothing happens any more: what is left is done, and then the run ends by itself."""
        coordinator._drain = True
        self.mishaps.mend()
        self.mishaps.edit()
        self.mishaps._ask(paused=False)

    def _reopen(self) -> Project:
        """Open the project anew, as a new process does; a file that cannot be used is mended before."""
        root = self._project.root
        try:
            config = load_config(self.mishaps.file, {})
        except ConfigError:
            self.mishaps.mend()
            config = load_config(self.mishaps.file, {})
        return self._open(root, config)


def live_through(seed: int, seconds: float = DAY_SECONDS) -> Day:
    """Live through the day of this seed, in memory where there is such a file system. Raises Violation."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        day = Day(seed, Path(folder), seconds)
        try:
            day.live()
        except Violation as violation:
            violation.add_note(f"seed {seed}, {day.world.now:.0f} s after its beginning")
            raise
    return day


if __name__ == "__main__":
    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        done = live_through(number)
        counts = " ".join(f"{name}={count}" for name, count in sorted(done.mishaps.happened.items()))
        sys.stdout.write(f"{number}: {done.runs} coordinators, {len(done.mishaps.ids)} items; {counts}\n")
        sys.stdout.flush()
