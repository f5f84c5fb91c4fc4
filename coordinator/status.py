"""Publishes the snapshot: `status.json` for other processes, the display for the person who looks on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ..harness.processes import Usage, usage_of_tree
from ..harness.project import Project
from ..harness.shortage import Lack, find_lack, lack_of
from ..queue import atomic
from ..queue.clock import utc_now
from ..queue.survey import Survey
from . import aggregate, snapshot
from .control import Ending, Wanted
from .lifecycle import PlaceState
from .lock import Holder
from .place import Place
from .snapshot import AgentStatus, CoordinatorState, CoordinatorStatus

if TYPE_CHECKING:
    from .coordinator import Display

_PUBLISH_SECONDS = 1.0
_IDLE_SECONDS = 3.0  # the same while nobody works; not so seldom that status.json counts as old
_USAGE_SECONDS = 10.0  # adding up a tree of processes costs more than all the rest
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
        self.lack: Lack | None = None  # what there was no room for when the last snapshot was published
        self.due = 0.0  # when the next snapshot is, in monotonic seconds
        self._usage_due = 0.0
        self._usage: dict[int, tuple[float, Usage]] = {}  # by pid: when, and what
        self._cpu_percent: dict[int, float] = {}

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
        self.lack = find_lack(self._project.places)
        self._write(agents, self._coordinator(state, wanted.agents))

    def end(self) -> None:
        """Write and show the last snapshot of this run."""
        self._write([], CoordinatorStatus(state="stopped"))

    def _write(self, agents: list[AgentStatus], coordinator: CoordinatorStatus) -> None:
        picture = aggregate.build(self._project, self._survey, agents, coordinator, self.lack)
        try:
            atomic.replace_file(self._project.state.status, snapshot.encode(picture) + b"\n")
        except OSError as error:  # readers see that the file is old, and look for themselves
            self.lack = self.lack or lack_of(error)
        with contextlib.suppress(OSError):  # a terminal that was closed: the run goes on
            self._display.show(picture)

    def _coordinator(self, state: CoordinatorState, wanted_agents: int) -> CoordinatorStatus:
        assert self._holder is not None
        own = self._usage.get(self._holder.pid)
        return CoordinatorStatus(
            state=state,
            pid=self._holder.pid,
            started_at=self._holder.started_at,
            uptime_seconds=round(time.monotonic() - self._started, 1),
            cpu_percent=self._cpu_percent.get(self._holder.pid),
            rss_bytes=own[1].rss_bytes if own else None,
            wanted_agents=wanted_agents,
        )

    def _agent(self, place: Place) -> AgentStatus:
        beat = place.heartbeat()
        health = _HEALTH.get(place.state, "starting" if beat is None else "well")
        pid = place.process.pid if place.process is not None else None
        usage = self._usage.get(pid) if pid is not None else None
        if beat is None:
            status = AgentStatus(
                name=place.name, health=health, state="starting" if pid else health, pid=pid, since=utc_now()
            )
        else:
            status = aggregate.agent_status(beat, health=health)
        return msgspec.structs.replace(
            status,
            restarts=place.restarts,
            note=place.note if health in {"dead", "failing"} else status.note,
            rss_bytes=usage[1].rss_bytes if usage else None,
            cpu_percent=self._cpu_percent.get(pid) if pid is not None else None,
        )

    def _measure(self, places: Iterable[Place]) -> None:
        """Look at memory and processor time of every worker's tree, and of ourselves, now and then."""
        now = time.monotonic()
        if now < self._usage_due or self._holder is None:
            return
        self._usage_due = now + _USAGE_SECONDS
        beats = {place.process.pid: place.heartbeat() for place in places if place.process is not None}
        before, self._usage = self._usage, {}
        for pid in (*beats, self._holder.pid):
            beat = beats.get(pid)  # who is idle runs no program: finding its children costs the most
            found = usage_of_tree(pid, alone=pid == self._holder.pid or (beat is not None and beat.state == "idle"))
            if found is None:
                continue
            self._usage[pid] = (now, found)
            if pid in before:
                then, earlier = before[pid]
                used = max(0.0, found.cpu_seconds - earlier.cpu_seconds)
                self._cpu_percent[pid] = round(100 * used / max(0.001, now - then), 1)
