"""Publishes the snapshot: `status.json` for other processes, the display for the person who looks on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ..harness.project import Project
from ..queue import atomic
from ..queue.clock import utc_now
from ..queue.survey import Survey
from . import aggregate, snapshot
from .control import Ending, Wanted
from .lifecycle import PlaceState
from .lock import Holder
from .place import Place
from .snapshot import AgentStatus, CoordinatorState, CoordinatorStatus
from .usage import Meter

if TYPE_CHECKING:
    from .coordinator import Display

_PUBLISH_SECONDS = 1.0
_IDLE_SECONDS = 3.0  # the same while nobody works; not so seldom that status.json counts as old
_USAGE_SECONDS = 10.0  # a share of a processor over less time says little
_HEALTH: dict[PlaceState, snapshot.Health] = {
    PlaceState.FINISHING: "finishing",
    PlaceState.STOPPING: "finishing",
    PlaceState.FAILING: "failing",
    PlaceState.WAITING: "dead",
    PlaceState.VACANT: "off",
}


class StatusWriter:
    """Builds, writes and shows snapshots for one coordinator."""

    def __init__(self, project: Project, survey: Survey, display: Display) -> None:
        self._project = project
        self._survey = survey
        self._display = display
        self._holder: Holder | None = None
        self._started = time.monotonic()
        self.due = 0.0  # when the next snapshot is, in monotonic seconds
        self._usage_due = 0.0
        self._meter = Meter()

    def begin(self, holder: Holder) -> None:
        self._holder = holder

    def is_due(self) -> bool:
        return time.monotonic() >= self.due

    def publish(self, places: Iterable[Place], wanted: Wanted, ending: Ending, *, news: bool) -> None:
        """Write and show how things stand now; `news` is whether the bell rang since the last time."""
        now = time.monotonic()
        places = list(places)
        self._measure(places)
        state = aggregate.coordinator_state(wanted.paused, ending)
        agents = [self._agent(place) for place in places if place.state is not PlaceState.VACANT]
        # A claim does not ring: who was idle when the bell rang may be at work a moment later.
        idle = not news and not self._display.shows_time and all(agent.state == "idle" for agent in agents)
        self.due = now + (_IDLE_SECONDS if idle else _PUBLISH_SECONDS)
        self._write(agents, self._coordinator(state, wanted.agents))

    def end(self) -> None:
        """Write and show the last snapshot of this run."""
        self._write([], CoordinatorStatus(state="stopped"))

    def _write(self, agents: list[AgentStatus], coordinator: CoordinatorStatus) -> None:
        picture = aggregate.build(self._project, self._survey, agents, coordinator)
        with contextlib.suppress(OSError):  # a full disk: readers see that the file is old
            atomic.replace_file(self._project.state.status, snapshot.encode(picture) + b"\n")
        with contextlib.suppress(OSError):  # a terminal that was closed: the run goes on
            self._display.show(picture)

    def _coordinator(self, state: CoordinatorState, wanted_agents: int) -> CoordinatorStatus:
        assert self._holder is not None
        own = self._meter.of(self._holder.pid)
        return CoordinatorStatus(
            state=state,
            pid=self._holder.pid,
            started_at=self._holder.started_at,
            uptime_seconds=round(time.monotonic() - self._started, 1),
            cpu_percent=own.cpu_percent if own else None,
            rss_bytes=own.rss_bytes if own else None,
            wanted_agents=wanted_agents,
        )

    def _agent(self, place: Place) -> AgentStatus:
        beat = place.heartbeat()
        health = _HEALTH.get(place.state, "starting" if beat is None else "well")
        pid = place.process.pid if place.process is not None else None
        usage = self._meter.of(pid)
        if beat is None:
            status = AgentStatus(
                name=place.name, health=health, state="starting" if pid else health, pid=pid, since=utc_now()
            )
        else:
            status = aggregate.agent_status(beat, health=health)
        return msgspec.structs.replace(
            status,
            restarts=place.restarts,
            note=place.note if health in {"dead", "failing"} else None,
            rss_bytes=usage.rss_bytes if usage else None,
            cpu_percent=usage.cpu_percent if usage else None,
        )

    def _measure(self, places: Iterable[Place]) -> None:
        """Look at memory and processor time of every worker, and of ourselves, now and then."""
        now = time.monotonic()
        if now < self._usage_due or self._holder is None:
            return
        self._usage_due = now + _USAGE_SECONDS
        self._meter.read((self._holder.pid, *(place.process.pid for place in places if place.process is not None)), now)
