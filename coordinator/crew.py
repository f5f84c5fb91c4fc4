"""The crew: the places of the agents and of the lander, and the processes that fill them.

What a place does next is decided by the table in lifecycle.py; here it is done.

Guarantees: a claim is taken back only after its worker is dead and what the worker had started is dead, too; at the
beginning only the dead lose their claims, and the living are watched. Nobody who was told to end can put it off for
ever, whether silent or not.

Assumes: one crew for each repository (the coordinator's lock), used by one thread.
"""

from __future__ import annotations

import contextlib
import math
import signal
from collections.abc import Collection, Iterator

from ..harness.child import NO_ROOM, PLACE_TAKEN
from ..harness.configuration.accepted import write_accepted
from ..harness.diagnose import Attendance, Observation, Patience, is_silent
from ..harness.project import Project
from ..harness.shortage import is_shortage
from ..queue.healing import heal, take_back_from_the_dead
from ..queue.records import Entry
from ..worktrees.environment import scrub
from . import lifecycle
from .lifecycle import Action, Event, PlaceState
from .machine import Machine
from .place import Place
from .process import Process
from .target_report import LANDER

_HEALTH_SECONDS = 5.0  # a beat's usual period; sooner for who may be silent only for a short time
_LEAST_HEALTH_SECONDS = 1.0
_LOOK_SECONDS = 0.2  # how soon an end is noticed where there is no pidfd
_TAKE_BACK_SECONDS = 10.0  # deaths are followed at once; this is for what could not be written then
_TRY_AGAIN_SECONDS = 5.0
_GRACE_SECONDS = 15.0  # a worker gives its program ten, then commits what is there
_STOP_SECONDS = 60.0  # the same for one that says it is about to end: a commit may be large, git may hang


class Crew:
    """All places of one repository."""

    def __init__(self, project: Project, target: str, machine: Machine | None = None) -> None:
        self._project = project
        self._target = target
        self._machine = machine or Machine()
        self._agents: dict[str, Place] = {}
        self.lander = self._make_place(LANDER, "parallel_loop.coordinator.lander", target)
        self._attendance = Attendance()
        self._next_health = 0.0
        self._next_take_back = 0.0

    def __iter__(self) -> Iterator[Place]:
        yield from self._agents.values()
        yield self.lander

    @property
    def agents(self) -> list[Place]:
        """The places of the agents that there are or were in this run."""
        return list(self._agents.values())

    @property
    def at_work(self) -> bool:
        """Whether any process of ours runs."""
        return any(lifecycle.has_worker(place.state) for place in self)

    def place(self, name: str) -> Place:
        """Return the place of that name, a new one if there was none."""
        if name == LANDER:
            return self.lander
        if name not in self._agents:
            self._agents[name] = self._make_place(name, "parallel_loop.harness.worker", name, self._target)
        return self._agents[name]

    def _make_place(self, name: str, module: str, *arguments: str) -> Place:
        state = self._project.state
        return Place(state.agent(name), module, (str(self._project.root), *arguments, str(state.config)), self._machine)

    def reconfigure(self, project: Project, *, workers: bool) -> None:
        """Go on with another configuration; with `workers`, it matters to them, and they are replaced.

        Each finishes the item in hand first. What a place was given up for may have been mended.
        """
        self._project = project
        for place in self if workers else ():
            self.happen(place, Event.RECONFIGURED)

    # --- beginning and end ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Watch the living of an earlier run, end what its dead left running, and take back what those held."""
        self._machine.become_supervisor()
        state = self._project.state
        names = {*state.agent_names(), LANDER}
        dead = {name for name in names if not self._adopt(name) and not self._machine.is_place_taken(state, name)}
        self._machine.end_groups(state, dead)
        self._machine.end_marked(state, dead)
        state.remove_drafts()
        self._machine.open_repository(self._project, dead, names - dead)
        self.heal()

    def heal(self) -> None:
        """Finish what was left half done in the queue, and take back what the dead held."""
        for entry in heal(self._project.queue, self._project.retry):
            self._tell_taken_back(entry)

    def _adopt(self, name: str) -> bool:
        """Watch the process that outlived an earlier coordinator, if there is one. It finishes by itself.

        Only one that holds the place's lock: the heartbeat in a copy of a repository names a process of the original.
        """
        state = self._project.state
        process = self._machine.find(state.agent(name)) if self._machine.is_place_taken(state, name) else None
        if process is None:
            return False
        place = self.place(name)
        place.fill(process)
        place.state = PlaceState.FINISHING
        state.record_event("adopted", agent=place.name, pid=process.pid)
        return True

    def leave(self) -> None:
        """Leave nothing running, however the run ends; what the workers held, they have given back or are dead.

        What `begin` did to the repository is undone.
        """
        for place in self:
            if place.process is not None:
                place.process.send(signal.SIGTERM)
        deadline = self._machine.monotonic() + _GRACE_SECONDS
        for place in self:
            if place.process is not None and not place.process.wait(deadline - self._machine.monotonic()):
                place.process.send(signal.SIGKILL)
                place.process.wait(_GRACE_SECONDS)
        with contextlib.suppress(OSError):
            self._end_leftovers({place.name for place in self})
        for place in self:
            place.empty()
        self._take_back()
        self._machine.let_go_of_groups(self._project.state)
        self._machine.close_repository(self._project)

    # --- looking --------------------------------------------------------------------------------------

    def descriptors(self) -> list[int]:
        """Return what becomes readable when one of our processes ends."""
        watched = (place.process.descriptor for place in self if place.process is not None)
        return [descriptor for descriptor in watched if descriptor is not None]

    def next_look(self, *, paused: bool) -> float:
        """When there is something to do here, at the latest, if nothing happens (monotonic seconds).

        While paused, no agent is started, whenever the pause of its place is over.
        """
        moments = [self._next_health]
        for place in self:
            if place.state is PlaceState.WAITING and (place is self.lander or not paused):
                moments.append(place.resume_at)
            if place.process is not None and place.process.descriptor is None:
                moments.append(self._machine.monotonic() + _LOOK_SECONDS)
        return min(moments)

    def notice_deaths(self, readable: Collection[int]) -> bool:
        """Do what follows from every process that has ended, of which `readable` tells; False when none has.

        Raises OSError when what they left running could not be ended: then nothing has changed, and the next look
        finds the same.
        """
        dead = [place for place in self if place.process is not None and place.process.has_ended(readable)]
        if not dead:
            return False
        self._end_leftovers({place.name for place in dead})
        for place in dead:
            assert place.process is not None
            if place.process.exit_code == PLACE_TAKEN:
                self._wait_for_predecessor(place)
                continue
            if place.process.exit_code == NO_ROOM and place.state is PlaceState.FILLED:
                self._wait_for_room(place)
                continue
            counts = place.state is PlaceState.FILLED or bool(place.process.exit_code)
            if counts:
                place.count_death()
            often = counts and place.restarts.are_spent(self._project.config.health.restarts)
            self.happen(place, Event.DIED_TOO_OFTEN if often else Event.DIED)
        self._take_back()
        return True

    def _wait_for_predecessor(self, place: Place) -> None:
        """An earlier worker has the place, and had not said so when the run began: watch it as the others are."""
        place.empty()
        if not self._adopt(place.name):
            place.state, place.resume_at = PlaceState.WAITING, self._machine.monotonic() + _TRY_AGAIN_SECONDS
            place.note = "an earlier worker still has the place"

    def _wait_for_room(self, place: Place) -> None:
        """The process there could not begin for want of room, which is nobody's fault: start another in a while."""
        place.state, place.resume_at = PlaceState.WAITING, self._machine.monotonic() + _TRY_AGAIN_SECONDS
        place.note = f"could not begin for want of room: {place.last_words() or 'its log has no room, either'}"
        place.wants_room = True
        place.empty()

    def go_on(self) -> None:
        """There is room again: begin now with what was put off for want of it."""
        self._next_health = self._next_take_back = self._machine.monotonic()
        for place in self:
            if place.wants_room:
                place.resume_at = self._machine.monotonic()

    def note_turn(self, late_seconds: float) -> None:
        """Note that we look again, so much later than we wanted to: meanwhile nobody could be heard."""
        self._attendance.note_turn(self._machine.monotonic(), late_seconds)

    def look_at_health(self) -> None:
        """Kill who has said nothing for too long."""
        now = self._machine.monotonic()
        if now < self._next_health:
            return
        patience_seconds = min(map(self._patience_seconds, self))
        self._next_health = now + min(_HEALTH_SECONDS, max(_LEAST_HEALTH_SECONDS, patience_seconds / 20))
        if now >= self._next_take_back:
            self._take_back()
        for place in self:
            if place.process is None:
                continue
            beat, ours_since = place.heartbeat(), place.process.started
            # What somebody said before we watched them is no older than that: nobody may have been able to speak then.
            heard = ours_since if beat is None else max(ours_since, beat.beat)
            seen = Observation(
                alive=True,
                since_start_seconds=now - ours_since,
                beat_age_seconds=None if beat is None else now - heard,
                monitor_gap_seconds=self._attendance.missed_since(heard),
            )
            patience = Patience(self._patience_seconds(place), math.inf)
            if is_silent(seen, patience) or self._is_overdue(place, now):
                self.happen(place, Event.SILENT)

    def _patience_seconds(self, place: Place) -> float:
        """How long the process there may be silent: not long when it was told to stop, and may be unable to hear it."""
        silent_seconds = self._project.config.health.silent_seconds
        return min(silent_seconds, _GRACE_SECONDS) if place.state is PlaceState.STOPPING else silent_seconds

    def _is_overdue(self, place: Place, now: float) -> bool:
        """Whether the process there was told to stop long ago; its heart may beat on while git hangs."""
        told = place.told_to_stop
        stopping = place.state is PlaceState.STOPPING
        return stopping and now - told - self._attendance.missed_since(told) > _STOP_SECONDS

    def _end_leftovers(self, dead: set[str]) -> None:
        """End what dead workers left running."""
        processes = {place.name: place.process for place in self if place.process is not None}
        self._machine.end_leftovers(
            self._project.state,
            {name: process.pid for name, process in processes.items() if name in dead},
            keep={process.pid for name, process in processes.items() if name not in dead},
            adopted=any(process.is_adopted for name, process in processes.items() if name in dead),
        )

    # --- what follows ---------------------------------------------------------------------------------

    def happen(self, place: Place, event: Event) -> None:
        """Let `event` happen to `place` and do what the table says."""
        before = place.state
        place.state, action = lifecycle.next_state(before, event)
        match action:
            case Action.START:
                self._start(place)
            case Action.ASK_TO_FINISH if place.process is not None:
                place.process.ask_to_finish()
            case Action.TERMINATE if place.process is not None:
                place.told_to_stop = self._machine.monotonic()
                place.process.send(signal.SIGTERM)
            case Action.KILL if place.process is not None:
                self._kill(place, place.process)
            case Action.FORGIVE:
                place.restarts.forgive()
            case Action.BURY | Action.BURY_AND_GIVE_UP if place.process is not None:
                # Who was told to finish may end, but not by a signal or with an error.
                crashed = before is PlaceState.FINISHING and bool(place.process.exit_code)
                self._bury(place, place.process, unexpected=before is PlaceState.FILLED or crashed)
                if action is Action.BURY_AND_GIVE_UP:
                    self._tell_given_up(place)
            case _:
                pass

    def _start(self, place: Place) -> None:
        try:
            write_accepted(self._project.state.config, self._project.config)  # a program may have spoiled it
            place.start(scrub(self._project.environ), self._project.root)
        except OSError as error:
            self._put_off(place, error)
            return
        assert place.process is not None
        self._project.state.record_event("started", agent=place.name, pid=place.process.pid)

    def _put_off(self, place: Place, error: OSError) -> None:
        """Try again later; what is no shortage of the moment does not pass by itself, and is tried only so often."""
        place.note = f"could not be started: {error}"
        place.state, place.resume_at = PlaceState.WAITING, self._machine.monotonic() + _TRY_AGAIN_SECONDS
        if is_shortage(error):
            place.wants_room = True
            return
        place.restarts.note_refusal()
        if place.restarts.are_spent(self._project.config.health.restarts):
            place.state = PlaceState.FAILING
            self._tell_given_up(place)

    def _tell_given_up(self, place: Place) -> None:
        place.keep_last_lines()
        self._project.state.record_event("gave-up", agent=place.name, why=place.note)

    def _kill(self, place: Place, process: Process) -> None:
        process.send(signal.SIGKILL)
        if place.note is None:  # one that the kernel does not let go of yet is killed again, and told of once
            overdue = self._is_overdue(place, self._machine.monotonic())
            what = "did not end when it was told to" if overdue else "was silent for too long"
            place.note = f"it {what} and was killed"
            self._project.state.record_event("killed", agent=place.name, why=place.note)

    def _bury(self, place: Place, dead: Process, *, unexpected: bool) -> None:
        if unexpected:
            place.note = place.note or place.last_words() or f"it {dead.describe_end()}"
            place.resume_at = self._machine.monotonic() + place.restarts.pause_seconds(self._machine.chance())
            self._project.state.record_event("died", agent=place.name, pid=dead.pid, why=place.note)
        place.ended_well = not unexpected and dead.exit_code == 0
        place.empty()

    def _take_back(self) -> None:
        """Take back what dead workers held; what cannot be written now (a full disk) is tried again soon."""
        self._next_take_back = self._machine.monotonic() + _TAKE_BACK_SECONDS
        with contextlib.suppress(OSError):
            for entry in take_back_from_the_dead(self._project.queue, self._project.retry):
                self._tell_taken_back(entry)

    def _tell_taken_back(self, entry: Entry) -> None:
        agent = entry.last.agent if entry.last is not None else None
        self._project.state.record_event("taken-back", item=entry.item.id, attempt=entry.attempts, agent=agent)
