"""What must hold on a made-up day, after each turn of the coordinator and when all is over."""

from __future__ import annotations

from collections import deque

from parallel_loop.coordinator.comparing import is_wanted
from parallel_loop.coordinator.coordinator import Coordinator
from parallel_loop.coordinator.lifecycle import PlaceState, has_worker
from parallel_loop.coordinator.place import Place
from parallel_loop.harness.project import Project
from parallel_loop.queue.survey import Survey
from support.virtual.bodies import Body
from support.virtual.workers import WorkerBody
from support.virtual.world import Violation, World

_LONGEST_PAUSE_SECONDS = 75.0  # a minute and its jitter
_PATIENCE_SECONDS = 140.0  # the longest silence that a configuration of a day allows, and the next look
_LONGEST_STOP_SECONDS = 70.0  # a minute, and the next look
_TAKE_BACK_SECONDS = 20.0
_LATE_SECONDS = 300.0  # for somebody idle to take what is there
_LOOK_SECONDS = 1800.0


class Inspector:
    """Looks at one coordinator and at the world. Raises Violation."""

    def __init__(self, world: World, project: Project) -> None:
        self._world, self._project = world, project
        self._since = world.now
        self._next_look = world.now + _LOOK_SECONDS
        self._starts: dict[str, deque[float]] = {}
        self._last_pid: dict[str, int] = {}
        self._overlooked: set[tuple[int, str, int]] = set()

    def check_turn(self, coordinator: Coordinator) -> None:
        """Look after a turn."""
        crew, world = coordinator._crew, self._world
        hindered = world.now < max(world.refused_until.values(), default=0.0) + 10.0
        for place in crew:
            self._check_place(coordinator, place, hindered=hindered)
        known = {place.process.pid for place in crew if place.process is not None}
        for body in world.bodies.values():
            if body.pid not in known and world.now - max(body.started, self._since) > 20.0 and not hindered:
                raise Violation(f"nobody watches {body}")
            self._check_silence(body)
        for token, died in world.ledger.open_deaths.items():
            if self._watched_since(died) > _TAKE_BACK_SECONDS and not hindered:
                raise Violation(f"{token}, whose worker died, is not taken back; {self.describe(coordinator)}")
        if world.now > self._next_look:
            self._next_look = world.now + _LOOK_SECONDS
            self._check_idleness(coordinator)

    def _watched_since(self, moment: float) -> float:
        moment = max(moment, self._since)
        return self._world.now - moment - self._world.unwatched_since(moment)

    def _check_place(self, coordinator: Coordinator, place: Place, *, hindered: bool) -> None:
        state, now = place.state, self._world.now
        wanted = place is coordinator._crew.lander or is_wanted(place, coordinator._wanted)
        paused = coordinator._wanted.paused and place is not coordinator._crew.lander
        if (place.process is None) == has_worker(state):
            raise Violation(f"{place.name} is {state}, and its process is {place.process}")
        if state is PlaceState.WAITING and not (place.note and place.resume_at <= now + _LONGEST_PAUSE_SECONDS):
            raise Violation(f"{place.name} waits for {place.resume_at - now:.0f} s because of {place.note}")
        if state is PlaceState.WAITING and place.resume_at < now - 10 and wanted and not paused and not hindered:
            raise Violation(f"{place.name} should have been filled {now - place.resume_at:.0f} s ago")
        if state is PlaceState.FAILING and not (place.note and place.restarts.deaths_in_a_row > 3):
            raise Violation(f"{place.name} was given up after {place.restarts.deaths_in_a_row} deaths: {place.note}")
        if state is PlaceState.STOPPING and self._watched_since(place.told_to_stop) > _LONGEST_STOP_SECONDS:
            raise Violation(f"{place.name} was told to stop {now - place.told_to_stop:.0f} s ago")
        if state is PlaceState.VACANT and wanted and not (paused or coordinator._ending or hindered):
            raise Violation(f"{place.name} is empty, and nothing says why")
        if place.process is not None and self._last_pid.get(place.name) != place.process.pid:
            self._last_pid[place.name] = place.process.pid
            self._check_pace(place)

    def _check_pace(self, place: Place) -> None:
        """A place is not filled again and again without a pause."""
        starts = self._starts.setdefault(place.name, deque(maxlen=9))
        if len(starts) == 9 and self._world.now - starts[0] < 30.0:
            raise Violation(f"{place.name} was filled ten times within {self._world.now - starts[0]:.0f} s")
        starts.append(self._world.now)

    def _check_silence(self, body: Body) -> None:
        since = max(body.last_sign, self._since)
        silent_seconds = self._world.now - since - self._world.forgiven_since(since)
        if silent_seconds > _PATIENCE_SECONDS:
            raise Violation(f"{body} has said nothing for {silent_seconds:.0f} s and is let be")

    def _check_idleness(self, coordinator: Coordinator) -> None:
        survey = Survey(self._project.queue)
        survey.refresh()
        paused = coordinator._wanted.paused or coordinator._ending
        idle = set() if paused else {body.pid for body in self._world.bodies.values() if self._could_work(body)}
        ready = [entry for entry in survey.all_entries() if survey.state(entry) == "ready" and entry.item.role is None]
        found = {(pid, entry.item.id, entry.attempts) for pid in idle for entry in ready}
        if again := found & self._overlooked:
            raise Violation(f"idle pid, ready item: {min(again)}; {self.describe(coordinator)}")
        if found:  # it may have been added a moment ago
            self._next_look = self._world.now + _LATE_SECONDS
        self._overlooked = found

    def _could_work(self, body: Body) -> bool:
        told = body.stopped or body.hung or body.finishing or body.paused
        old = self._world.now - body.started > _LATE_SECONDS
        return isinstance(body, WorkerBody) and body.has_spoken and old and not told and body.claim is None

    def check_end(self, ids: list[str]) -> None:
        """Look when the day is over."""
        survey = Survey(self._project.queue)
        survey.refresh()
        entries = {entry.item.id: entry for entry in survey.all_entries()}
        if lost := set(ids) - entries.keys():
            raise Violation(f"lost: {sorted(lost)}")
        for entry in entries.values():
            kinds = [record.kind for record in entry.records]
            expected = "cancelled" if entry.item.id in self._world.ledger.cancelled else "done"
            if kinds[-1:] != [expected] or kinds.count("done") > 1:
                raise Violation(f"{entry.item.id} is not {expected}: {kinds}")
            self._check_attempts(entry.item.id, [record.outcome for record in entry.records])
        if survey.damage or self._world.leftovers:
            raise Violation(f"left behind: {survey.damage} {self._world.leftovers}")

    def _check_attempts(self, item_id: str, outcomes: list[str | None]) -> None:
        deaths = sum(token[0] == item_id for token in self._world.ledger.deaths)
        if item_id not in self._world.ledger.cancelled and outcomes.count("died") != deaths:
            raise Violation(f"{item_id} has {outcomes.count('died')} deaths in its history, and {deaths} happened")

    def describe(self, coordinator: Coordinator) -> str:
        """Say how things stand."""
        places = ", ".join(f"{place.name} {place.state.value} ({place.note})" for place in coordinator._crew)
        return f"{places}; wanted {coordinator._wanted}; queue {coordinator._work._counts}"
