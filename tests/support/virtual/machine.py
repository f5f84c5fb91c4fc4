"""The made-up machine as a coordinator sees it: in place of the real `Machine`, its processes and its signals."""

from __future__ import annotations

import errno
import select
import signal
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from parallel_loop.coordinator.machine import Machine
from parallel_loop.coordinator.process import Process
from parallel_loop.harness.identity import boot_id
from parallel_loop.harness.keeping.containment import Containment
from parallel_loop.harness.project import Project
from parallel_loop.harness.shortage import Lack
from parallel_loop.harness.state import AgentDirectory, Heartbeat, StateDirectory
from support.virtual.bodies import Body
from support.virtual.world import Violation, World

_FIRST_DESCRIPTOR = 1_000_000  # no real one comes near
_FAIR_SECONDS = 55.0  # the shortest time of silence that the configurations of a day have, and some slack
_STOP_SECONDS, _STOP_SILENT_SECONDS = 55.0, 12.0  # the same for who was told to stop


class VirtualProcess(Process):
    """A coordinator's hold on a body."""

    def __init__(self, world: World, body: Body, *, adopted: bool) -> None:
        self._world, self.body, self._adopted = world, body, adopted
        self.pid, self.started = body.pid, world.now
        self.descriptor = _FIRST_DESCRIPTOR + body.pid

    @property
    def is_alive(self) -> bool:
        return self.body.is_alive

    @property
    def is_adopted(self) -> bool:
        return self._adopted

    @property
    def exit_code(self) -> int | None:
        return None if self._adopted else self.body.exit_code

    def wait(self, seconds: float) -> bool:
        self._world.advance(self._world.now + max(0.0, seconds), lambda: not self.body.is_alive)
        return not self.body.is_alive

    def tell(self, line: str) -> None:
        self._world.effect()
        if not self._adopted and self.body.is_alive:
            self.body.schedule(0.0, lambda: self.body.hear(line))

    def send(self, number: signal.Signals) -> None:
        self._world.effect()
        if not self.body.is_alive:
            return
        if number == signal.SIGTERM:
            self.body.told_to_stop = self.body.told_to_stop or self._world.now
        elif not self._is_fair():
            raise Violation(f"{self.body} was killed, which had said nothing for {self._silent_seconds():.0f} s only")
        self.body.signal(number)

    def _silent_seconds(self) -> float:
        return self._world.now - self.body.last_sign - self._world.unwatched_since(self.body.last_sign)

    def _is_fair(self) -> bool:
        told = self.body.told_to_stop
        if told is not None and self._silent_seconds() > _STOP_SILENT_SECONDS:
            return True
        overdue = told is not None and self._world.now - told - self._world.unwatched_since(told) > _STOP_SECONDS
        return overdue or self._silent_seconds() > _FAIR_SECONDS

    def close(self) -> None:
        self.descriptor = None


class VirtualSignals:
    """Signals to the coordinator, and its waiting: this is where time passes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.stage = 0
        self.reload = False

    def reload_was_asked(self) -> bool:
        asked, self.reload = self.reload, False
        return asked

    def wait(self, seconds: float, descriptors: Sequence[int]) -> list[int]:
        world = self._world
        world.effect()
        bells = [descriptor for descriptor in descriptors if descriptor < _FIRST_DESCRIPTOR]
        watched = {descriptor - _FIRST_DESCRIPTOR for descriptor in descriptors if descriptor >= _FIRST_DESCRIPTOR}
        ready: list[int] = []

        def is_over() -> bool:
            if world.kill_after_effects is not None:
                world.effect()  # it can be killed while it sleeps
            if world.now < world.stopped_until:
                return False
            rang = select.select(bells, (), (), 0)[0] if world.rang and bells else []
            world.rang = bool(rang) or (world.rang and not bells)
            ready[:] = [*rang, *(_FIRST_DESCRIPTOR + pid for pid in watched - world.bodies.keys())]
            return bool(ready) or self.reload

        world.advance(world.now + seconds, is_over)
        if world.stopped_until:
            world.advance(world.stopped_until)
            world.let_coordinator_go_on()
            is_over()
        return ready


class VirtualMachine(Machine):
    """The machine. `make` makes the body of a process: of which module, in which place, with which arguments."""

    def __init__(self, world: World, make: Callable[[str, str, Sequence[str]], Body]) -> None:
        super().__init__()
        self._world = world
        self._make = make
        self.told = VirtualSignals(world)

    def monotonic(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.effect()
        self._world.advance(self._world.now + seconds)

    def chance(self) -> float:
        return self._world.chance.random()

    def signals(self) -> VirtualSignals:  # type: ignore[override]
        return self.told

    def become_supervisor(self) -> None:
        self._world.effect()

    def start(self, module: str, arguments: Sequence[str], log: Path, environ: dict[str, str], root: Path) -> Process:
        self._world.effect()
        self._refuse("start")
        name = log.parent.parent.name
        for other in self._world.bodies_of(name):
            if other.has_spoken:
                raise Violation(f"a second process was started in the place of {other}, which lives")
        return VirtualProcess(self._world, self._make(module, name, arguments), adopted=False)

    def find(self, directory: AgentDirectory) -> Process | None:
        self._world.effect()
        for body in self._world.bodies_of(directory.name):
            if body.has_spoken:
                return VirtualProcess(self._world, body, adopted=True)
        return None

    def heartbeat(self, directory: AgentDirectory) -> Heartbeat | None:
        for body in self._world.bodies_of(directory.name):
            if body.has_spoken:
                return body.heartbeat()
        return self._world.last_beats.get(directory.name)

    def end_descendants(self, keep: Collection[int]) -> None:
        world = self._world
        world.effect()
        self._refuse("end")
        ours = {body.name for body in world.bodies.values() if body.pid in keep}
        for body in list(world.bodies.values()):
            if body.generation == world.generation and body.pid not in keep:
                raise Violation(f"{body} was ended as if it were what a dead worker left")
        world.leftovers = {left for left in world.leftovers if left.generation != world.generation or left.name in ours}

    def end_groups(self, state: StateDirectory, owners: Collection[str]) -> None:
        self._world.effect()

    def let_go_of_groups(self, state: StateDirectory) -> None:
        self._world.effect()

    def find_out_containment(self, state: StateDirectory) -> Containment:
        return Containment(boot_id())

    def open_repository(self, project: Project, dead: Collection[str], living: Collection[str]) -> None:
        """There is no git in this world."""

    def close_repository(self, project: Project) -> None:
        """There is no git in this world."""

    def find_lack(self, folders: Iterable[Path]) -> Lack | None:
        return None  # looking for real would make a thread and two files at each turn

    def end_marked(self, state: StateDirectory, names: Collection[str]) -> None:
        self._world.effect()
        self._world.leftovers = {left for left in self._world.leftovers if left.name not in names}

    def _refuse(self, what: str) -> None:
        if self._world.now < self._world.refused_until.get(what, 0.0):
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
