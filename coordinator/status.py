"""Publishes the snapshot: `status.json` for other processes, the display for the person who looks on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ..harness.budgets import RunBudget
from ..harness.keeping.tree import look_at
from ..harness.project import Project
from ..harness.shortage import Lack, lack_of
from ..queue import atomic
from ..queue.clock import utc_now
from . import aggregate, snapshot
from .control import Ending, Wanted
from .lifecycle import PlaceState
from .lock import Holder
from .machine import Machine
from .place import Place
from .reloading import Reloading
from .snapshot import AgentStatus, CoordinatorState, CoordinatorStatus
from .work_left import WorkLeft

if TYPE_CHECKING:
    from .coordinator import Display

_PUBLISH_SECONDS = 1.0
_IDLE_SECONDS = 3.0  # the same while nobody works; not so seldom that status.json counts as old
_USAGE_SECONDS = 10.0
_LEAST_CPU_SECONDS = 1.0
_AT_REST = {"idle", "held"}  # what a worker says that runs no program
_HEALTH: dict[PlaceState, snapshot.Health] = {
    PlaceState.FINISHING: "finishing",
    PlaceState.STOPPING: "finishing",
    PlaceState.FAILING: "failing",
    PlaceState.WAITING: "dead",
    PlaceState.VACANT: "off",
}


class StatusWriter:
    """Builds, writes and shows snapshots for one coordinator."""

    def __init__(
        self, project: Project, work: WorkLeft, display: Display, reloading: Reloading, machine: Machine
    ) -> None:
        self._project = project
        self._machine = machine
        self._monotonic = machine.monotonic
        self._reloading = reloading
        self._work = work
        self._display = display
        self._holder: Holder | None = None
        self.lack: Lack | None = None  # what there was no room for when the last snapshot was published
        self._containment: str | None = None
        self._started = self._monotonic()
        self.agents_by: str | None = None  # who said how many are wanted, if not the configuration
        self.due = 0.0  # when the next snapshot is, in monotonic seconds
        self.is_published = False
        self._usage_due = 0.0
        self._rss_bytes: int | None = None
        self._cpu_percent: float | None = None
        own = look_at(os.getpid())
        self._cpu_mark = (self._started, own.cpu_seconds if own is not None else 0.0)

    def begin(self, holder: Holder, containment: str) -> None:
        self._holder, self._containment = holder, containment

    def reconfigure(self, project: Project) -> None:
        """Go by another configuration from now on."""
        self._project = project

    def is_due(self) -> bool:
        return self._monotonic() >= self.due

    def publish(self, places: Iterable[Place], wanted: Wanted, ending: Ending, *, news: bool) -> None:
        """Write and show how things stand now; `news` is whether the bell rang since the last time."""
        now = self._monotonic()
        places = list(places)
        self._measure()
        state = aggregate.coordinator_state(wanted.paused, ending)
        agents = [self._agent(place) for place in places if place.state is not PlaceState.VACANT]
        # A claim does not ring: who was idle when the bell rang may be at work a moment later.
        idle = not news and not self._display.shows_time and all(agent.state in _AT_REST for agent in agents)
        self.due = now + (_IDLE_SECONDS if idle else _PUBLISH_SECONDS)
        self.lack = self._machine.find_lack(self._project.folders.values())
        self._write(agents, self._coordinator(state, wanted.agents))

    def end(self) -> None:
        """Write and show the last snapshot of this run."""
        self._write([], CoordinatorStatus(state="stopped"))

    def _write(self, agents: list[AgentStatus], coordinator: CoordinatorStatus) -> None:
        calls = (*self._reloading.calls, *aggregate.pauses(self._project, self._work.paused))
        picture = aggregate.build(self._project, self._work.survey, agents, coordinator, calls, self.lack)
        try:
            atomic.replace_file(self._project.state.status, snapshot.encode(picture) + b"\n")
            self.is_published = True
        except OSError as error:  # readers see that the file is old, and look for themselves
            self.lack = self.lack or lack_of(error)
        with contextlib.suppress(OSError):  # a terminal that was closed: the run goes on
            self._display.show(picture)

    def _coordinator(self, state: CoordinatorState, wanted_agents: int) -> CoordinatorStatus:
        assert self._holder is not None
        configured = self._project.config.file_agents
        return CoordinatorStatus(
            state=state,
            pid=self._holder.pid,
            started_at=self._holder.started_at,
            uptime_seconds=round(self._monotonic() - self._started, 1),
            cpu_percent=self._cpu_percent,
            rss_bytes=self._rss_bytes,
            wanted_agents=wanted_agents,
            agents_by=self.agents_by if wanted_agents != configured else None,
            configured_agents=configured if wanted_agents != configured else None,
            run_usd=RunBudget(self._project).told_usd,
            run_budget_usd=self._project.config.budget.run_usd,
            containment=self._containment,
        )

    def _agent(self, place: Place) -> AgentStatus:
        beat = place.heartbeat()
        health = _HEALTH.get(place.state, "starting" if beat is None else beat.work or "well")
        pid = place.process.pid if place.process is not None else None
        if beat is None:
            status = AgentStatus(
                name=place.name, health=health, state="starting" if pid else health, pid=pid, since=utc_now()
            )
        else:
            status = aggregate.agent_status(beat, health=health)
        return msgspec.structs.replace(
            status,
            restarts=place.restarts.total,
            done=place.done + status.done,
            failed=place.failed + status.failed,
            note=place.note if health in {"dead", "failing"} else status.note,
            last_lines=place.last_lines if health == "failing" else (),
        )

    def _measure(self) -> None:
        """Look at our own memory and processor time now and then; the workers look at theirs."""
        now, own = self._monotonic(), look_at(os.getpid())
        if now < self._usage_due or own is None:
            return
        self._usage_due = now + _USAGE_SECONDS
        self._rss_bytes = own.rss_bytes
        since, before = self._cpu_mark
        self._cpu_mark = (now, own.cpu_seconds)
        if now - since < _LEAST_CPU_SECONDS:  # over a shorter time it says nothing
            self._cpu_mark = (since, before)
            self._usage_due = since + _LEAST_CPU_SECONDS
            return
        self._cpu_percent = round(100 * max(0.0, own.cpu_seconds - before) / max(0.001, now - since), 1)
