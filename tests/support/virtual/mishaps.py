"""What happens on a made-up day: what people do, and what goes wrong. All of it by chance, from the seed."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from pathlib import Path

from parallel_loop.coordinator.control import NotRunning, request
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import CONFIG_NAME
from parallel_loop.queue.records import Item
from parallel_loop.queue.requests import Refused, cancel
from support.virtual.bodies import Body
from support.virtual.machine import VirtualSignals
from support.virtual.world import World

_BROKEN = ("agents: [", "agents: many\n", "healt: {}\n", "retry: {attempts: 1000, max: 1s}\n")
_PLACES = ("agent-1", "agent-2", "agent-3", "landing")


def make_config(world: World) -> str:
    """A configuration that can be used; no item runs out of attempts under it."""
    choose = world.chance.choice
    return (
        f"retry: {{attempts: 1000, first: {choose(('0s', '10s'))}, max: 2m}}\n"
        f"agents: {choose((1, 2, 3, 4, 5, 6))}\n"
        f"health: {{silent: {choose(('60s', '120s'))}, restarts: {choose((3, 5))}}}\n"
        f"on_coordinator_death: {choose(('finish', 'stop'))}\n"
        f"checks: {choose(('[make test]', '[]'))}\n"
        f"roles: {{rare: {{wip: {choose((1, 2))}}}}}\n"
    )


class Mishaps:
    """All that happens until `end`, in monotonic seconds. `signals` are those of the coordinator that runs then."""

    def __init__(self, world: World, project: Project, end: float) -> None:
        self._world, self._project, self._end = world, project, end
        self._chance = world.chance
        self.signals: VirtualSignals | None = None
        self.ids: list[str] = []
        self.happened: dict[str, int] = {}
        self._config = make_config(world)
        self.file.write_text(self._config)
        for mean_seconds, happen in (
            (400.0, self.add),
            (3600.0, self.cancel),
            (2400.0, self.scale),
            (5400.0, self.pause),
            (2400.0, self.edit),
            (7200.0, self.break_file),
            (7200.0, self.end_run),
            (600.0, self.kill_worker),
            (3600.0, self.hang),
            (1800.0, self.deafen),
            (1800.0, self.stop_worker),
            (3600.0, self.kill_coordinator),
            (3600.0, self.stop_coordinator),
            (3600.0, self.freeze),
            (5400.0, self.step_wall_clock),
            (5400.0, self.refuse),
            (5400.0, self.make_sick),
        ):
            self._repeat(mean_seconds, happen)

    @property
    def file(self) -> Path:
        return self._project.root / CONFIG_NAME

    def _repeat(self, mean_seconds: float, happen: Callable[[], None]) -> None:
        def now() -> None:
            if self._world.now < self._end:
                happen()
                self.happened[happen.__name__] = self.happened.get(happen.__name__, 0) + 1
                again()

        def again() -> None:
            self._world.after(self._chance.expovariate(1 / mean_seconds), now)

        again()

    def _someone(self) -> Body | None:
        living = list(self._world.bodies.values())
        return self._chance.choice(living) if living else None

    # --- people ---------------------------------------------------------------------------------------

    def add(self) -> None:
        items = []
        for _ in range(self._chance.choice((1, 1, 2, 4))):
            name = f"item-{len(self.ids)}"
            after = (self._chance.choice(self.ids[-10:]),) if self.ids and self._chance.random() < 0.2 else ()
            after = tuple(other for other in after if other not in self._world.ledger.cancelled)
            role = "rare" if self._chance.random() < 0.1 else None
            priority = self._chance.choice((1, 5, 5, 9))
            items.append(Item(id=name, title=name, added_at="", command="x", priority=priority, after=after, role=role))
            self.ids.append(name)
        self._project.queue.add(items)

    def cancel(self) -> None:
        name = self._chance.choice(self.ids[-5:]) if self.ids else ""
        waited_for = {other for item in self.ids[-30:] for other in self._after(item)}
        with contextlib.suppress(Refused):
            if name and name not in waited_for:
                cancel(self._project.queue, name)
                ledger = self._world.ledger
                ledger.cancelled.add(name)
                ledger.open_deaths = {token: at for token, at in ledger.open_deaths.items() if token[0] != name}

    def _after(self, item_id: str) -> tuple[str, ...]:
        entry = self._project.queue.entry(item_id)
        return () if entry is None else entry.item.after

    def scale(self) -> None:
        self._ask(agents=self._chance.randint(1, 6))

    def pause(self) -> None:
        self._ask(paused=True)
        self._world.after(self._chance.uniform(1.0, 900.0), lambda: self._ask(paused=False))

    def end_run(self) -> None:
        self._ask(ending=self._chance.choice(("finish", "stop")))

    def _ask(self, **wanted: object) -> None:
        if self._world.gone_since is None:
            with contextlib.suppress(NotRunning, Refused):
                request(self._project, **wanted)  # type: ignore[arg-type]

    def edit(self) -> None:
        """Edit the file; some editors write in two steps, some people ask for it to be read at once."""
        self._config = make_config(self._world)
        if self._chance.random() < 0.5:
            begin = self._config.index("agents:")  # a coordinator that starts now believes what it reads
            self.file.write_text(self._config[: self._chance.randrange(begin, len(self._config))])
            self._world.after(self._chance.uniform(0.0, 0.9), lambda: self.file.write_text(self._config))
            return
        self.file.write_text(self._config)
        if self.signals is not None and self._chance.random() < 0.5:
            self.signals.reload = True

    def break_file(self) -> None:
        if self._chance.random() < 0.2:
            self.file.unlink(missing_ok=True)
        else:
            self.file.write_text(self._chance.choice(_BROKEN))
        self._world.after(self._chance.uniform(1.0, 1800.0), self.mend)

    def mend(self) -> None:
        """Put a file there that can be used."""
        self.file.write_text(self._config)

    # --- what goes wrong ------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        if body := self._someone():
            body.signal(signal.SIGKILL)

    def hang(self) -> None:
        if body := self._someone():
            body.hang()

    def deafen(self) -> None:
        if body := self._someone():
            body.deafen(1200.0)

    def stop_worker(self) -> None:
        if body := self._someone():
            body.signal(signal.SIGSTOP)
            self._world.after(self._chance.choice((1.0, 20.0, 50.0, 500.0)), lambda: body.signal(signal.SIGCONT))

    def kill_coordinator(self) -> None:
        """Kill it at one of the next things that it does: often in the middle of what follows from something else."""
        if self._chance.random() < 0.5:
            self.kill_worker()
        self._world.kill_after_effects = self._chance.randint(1, 40)

    def stop_coordinator(self) -> None:
        self._world.stop_coordinator(self._chance.choice((2.0, 30.0, 400.0)))

    def freeze(self) -> None:
        self._world.freeze(self._chance.choice((2.0, 70.0, 1000.0)))

    def step_wall_clock(self) -> None:
        """Set the clock, or let the machine sleep: then the monotonic clock sleeps as well."""
        self._world.wall_ahead_seconds += self._chance.choice((-3600.0, -10.0, 10.0, 3600.0, 8 * 3600.0))

    def refuse(self) -> None:
        what = self._chance.choice(("start", "end"))
        self._world.refused_until[what] = self._world.now + self._chance.uniform(1.0, 60.0)

    def make_sick(self) -> None:
        """Let whoever is started in one place end with an error, for long enough that it may be given up."""
        name = self._chance.choice(_PLACES)
        self._world.sick_until[name] = self._world.now + self._chance.choice((5.0, 60.0, 900.0))
        for body in self._world.bodies_of(name):
            body.signal(signal.SIGKILL)
