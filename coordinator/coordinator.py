"""The coordinator: keeps N workers and one lander running until it is told to end.

It holds the wanted state and compares it with what it observes; nobody else starts, stops or buries a
process (crew.py). It sleeps until a process ends, a signal comes or it is time to look again; it never waits
for git or for a program.

Guarantees: one coordinator per repository. What the machine refuses for a while (files, processes, room on
the disk) delays a turn and does not end the run.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..harness.identity import own_identity
from ..harness.project import Project
from ..harness.room import Complaint
from ..harness.shortage import lack_of
from ..queue.records import State
from ..queue.survey import Survey
from ..queue.watching import BellWatch
from . import snapshot
from .aggregate import failed_items
from .control import Ending, Wanted, read_wanted, write_wanted
from .crew import Crew
from .lifecycle import Event, PlaceState, has_worker
from .lock import CoordinatorLock
from .place import Place
from .signals import Signals
from .spare import SpareDescriptors
from .status import StatusWriter

_BREATH_SECONDS = 0.2  # after a turn that the machine hindered
_LONG_BREATH_SECONDS = 1.0  # the same when the turn before was hindered as well
_BUSY_SECONDS = 0.2  # how soon a request is noticed while much happens; else at once, as deaths and signals are
_SLACK_SECONDS = 0.4  # by so much a turn may come late, or last, without anybody calling it a gap
_SHARE = 50  # looking at the queue and publishing take a fiftieth of the time at most: a large queue waits longer
_LONGEST_SECONDS = 3.0  # but never so seldom that status.json counts as old
_OVERLOOKED_SECONDS = 5.0  # an idle worker needs milliseconds to take what is ready
_STAGES: tuple[Ending, ...] = ("", "finish", "stop")
_TO_DO: tuple[State, ...] = ("ready", "delayed", "working")


class Display(Protocol):
    """Shows a person what happens."""

    shows_time: bool  # how long things last, so that it wants a snapshot each second also when nothing happens

    def show(self, picture: snapshot.Snapshot) -> None:
        """Show the newest snapshot."""


class Coordinator:
    """One run of the coordinator."""

    def __init__(self, project: Project, target: str, *, agents: int, drain: bool, display: Display) -> None:
        self._project = project
        self._drain = drain
        self._wanted = Wanted(agents)
        self._signals = Signals()
        self._ending: Ending = ""
        self._announced = True
        self._stuck = False
        self._crew = Crew(project, target)
        self._survey = Survey(project.queue)
        self._counts = self._survey.counts()
        self._failed_before: set[str] = set()
        self._status = StatusWriter(project, self._survey, display)
        self._heard = b""
        self._not_before = 0.0
        self._busy_at = time.monotonic()
        self._last_turn = time.monotonic()
        self._complaint = Complaint(project, None)
        self._spare = SpareDescriptors()

    def run(self) -> int:
        """Run until there is nothing left to do or somebody ends it; return the exit code.

        Raises AlreadyRunning, StateGone.
        """
        state = self._project.state
        state.create()
        lock = CoordinatorLock(state.coordinator_lock, *own_identity())
        try:
            with self._signals, contextlib.closing(BellWatch(self._project.queue.bell)) as watch:
                try:
                    write_wanted(state, self._wanted)
                    self._begin(lock)
                    while not self._is_over():
                        self._turn(watch)
                        lock.check()
                finally:
                    self._leave()
            return self._exit_code()
        finally:
            lock.close()

    # --- beginning and end ----------------------------------------------------------------------------

    def _begin(self, lock: CoordinatorLock) -> None:
        self._project.state.record_event("running", pid=lock.holder.pid)
        self._crew.begin()
        self._survey.refresh()
        self._failed_before = failed_items(self._survey)
        self._status.begin(lock.holder)

    def _is_over(self) -> bool:
        if self._ending == "" or self._crew.at_work:
            return False
        # A lander that was killed may owe the target a step, also when nothing waits for landing any more.
        lander = self._crew.lander
        return self._ending == "stop" or lander.ended_well or lander.state is PlaceState.FAILING

    def _exit_code(self) -> int:
        if self._ending == "stop":
            return 130
        return 1 if self._stuck or failed_items(self._survey) - self._failed_before else 0

    def _leave(self) -> None:
        if self._crew.at_work:  # something went wrong here, which is to cost no item an attempt
            with contextlib.suppress(OSError):
                write_wanted(self._project.state, msgspec.structs.replace(self._wanted, ending="stop"))
        self._crew.leave()
        with contextlib.suppress(OSError):
            self._survey.refresh()
            self._status.end()
        self._project.state.record_event("ended")

    # --- one turn -------------------------------------------------------------------------------------

    def _turn(self, watch: BellWatch) -> None:
        """Wait for something to happen, look at everything, and do what follows."""
        planned_seconds, bell = self._plan_to_wait(watch)
        ended = self._signals.wait(planned_seconds, [*bell, *self._crew.descriptors()])
        watch.drain()
        try:
            heard = self._project.queue.bell.heard()
            rang = heard != self._heard
            if rang:
                self._read_wanted()
            if self._crew.notice_deaths(ended):
                self._heard, self._not_before = b"", 0.0  # whether work is left is decided on what the dead did last
            self._crew.look_at_health(self._late_seconds(planned_seconds))
            news = self._look_at_queue(heard)
            self._decide_ending()
            self._compare()
            if news:
                self._status.publish(self._crew, self._wanted, self._ending, news=rang)
                if self._complaint.tell(self._status.lack):
                    self._crew.go_on()
                now = time.monotonic()
                self._not_before = now + min(_LONGEST_SECONDS, _SHARE * (now - self._last_turn))
        except OSError as error:  # no descriptors, no room: what was not done is found again by the next look
            self._be_hindered(error)

    def _be_hindered(self, error: OSError) -> None:
        """Say what is in the way, if that can be said, and wait a moment: what woke us may be there still."""
        self._heard, self._not_before = b"", 0.0
        breath_seconds = _BREATH_SECONDS if self._complaint.lack is None else _LONG_BREATH_SECONDS
        self._complaint.tell(lack_of(error))
        with contextlib.suppress(OSError), self._spare.given_up():
            self._survey.refresh()
            self._counts = self._survey.counts()
            self._status.publish(self._crew, self._wanted, self._ending, news=False)
        time.sleep(breath_seconds)

    def _plan_to_wait(self, watch: BellWatch) -> tuple[float, Sequence[int]]:
        """Return for how long nothing has to be done unless a signal, a death or the bell wakes us, and what that is.

        Right after a look at the queue, the bell does not wake us: a thousand additions are not a thousand turns.
        """
        now = time.monotonic()
        moment = self._crew.next_look(paused=self._wanted.paused)
        if now < self._not_before:
            return max(0.0, min(moment, self._not_before, now + _BUSY_SECONDS) - now), ()
        look_at = self._status.due if self._heard == self._project.queue.bell.heard() else now
        return watch.at_most(max(0.0, min(moment, look_at) - now)), watch.descriptors

    def _late_seconds(self, planned_seconds: float) -> float:
        """By how much this turn came late: in that time nobody was watched, and nobody may be blamed for it."""
        before, self._last_turn = self._last_turn, time.monotonic()
        if self._complaint.lack is not None:  # nor may who cannot write a heartbeat, as on a disk that is read-only
            return self._last_turn - before
        return max(0.0, self._last_turn - before - planned_seconds - _SLACK_SECONDS)

    def _read_wanted(self) -> None:
        wanted = read_wanted(self._project.state)
        if wanted is None or wanted == self._wanted:
            return
        if wanted.paused != self._wanted.paused:
            self._project.state.record_event("paused" if wanted.paused else "resumed")
            for place in self._crew.agents:
                if place.process is not None:
                    place.process.tell("pause" if wanted.paused else "resume")
        self._wanted = wanted

    def _look_at_queue(self, heard: bytes) -> bool:
        """Read what is new in the queue when something is or may be; False when there was no reason, or no time."""
        if time.monotonic() < self._not_before or (heard == self._heard and not self._status.is_due()):
            return False
        self._survey.refresh()
        self._counts = self._survey.counts()
        self._heard = heard
        self._heal_what_is_overlooked()
        return True

    def _heal_what_is_overlooked(self) -> None:
        """Items that are ready while nobody works have lost their hint: who added them was killed before making it."""
        now = time.monotonic()
        if not self._counts["ready"] or self._counts["working"] or self._wanted.paused or self._ending:
            self._busy_at = now
        elif now - self._busy_at > _OVERLOOKED_SECONDS:
            self._crew.heal()
            self._busy_at = now

    def _decide_ending(self) -> None:
        asked = max(self._signals.stage, _STAGES.index(self._wanted.ending))
        if asked == 0 and self._drain and self._ending == "":
            self._stuck = self._is_stuck()
            asked = int(self._stuck or self._is_drained())
        if asked > _STAGES.index(self._ending):
            self._ending = _STAGES[asked]
            self._wanted = msgspec.structs.replace(self._wanted, ending=self._ending)
            self._announced = False
            self._project.state.record_event("finishing" if asked == 1 else "stopping")
        if not self._announced:  # who asks for something else is told that it ends; where that finds no room, later
            with contextlib.suppress(OSError):
                write_wanted(self._project.state, self._wanted)
                self._announced = True

    def _is_drained(self) -> bool:
        """Nothing is left to do as of the last look, and nothing happened since."""
        left = self._counts["landing"] or any(self._counts[state] for state in _TO_DO)
        return not left and self._heard == self._project.queue.bell.heard()

    def _is_stuck(self) -> bool:
        """Work is left, and every place that could do it was given up."""
        wanted = [place.state for place in self._crew.agents if self._is_wanted(place)]
        lander_failing = self._crew.lander.state is PlaceState.FAILING
        if wanted and set(wanted) == {PlaceState.FAILING}:
            return lander_failing or not self._counts["landing"]
        return lander_failing and self._counts["landing"] > 0 and not any(self._counts[state] for state in _TO_DO)

    def _compare(self) -> None:
        """Tell every place what is wanted of it."""
        for number in range(1, self._wanted.agents + 1):
            self._crew.place(f"agent-{number}")
        for place in self._crew.agents:
            # Started while paused, a worker would take an item before it could be told.
            may_start = not self._wanted.paused or has_worker(place.state)
            self._want(place, self._ending, wanted=self._is_wanted(place), may_start=may_start)
        lander = self._crew.lander
        handing_over = any(has_worker(place.state) for place in self._crew.agents)
        owes = handing_over or self._counts["landing"] > 0 or not (lander.ended_well or has_worker(lander.state))
        ending = "" if owes and self._ending == "finish" else self._ending
        self._want(lander, ending, wanted=True, may_start=True)

    def _is_wanted(self, place: Place) -> bool:
        number = place.name.rpartition("-")[2]
        return number.isdecimal() and int(number) <= self._wanted.agents

    def _want(self, place: Place, ending: Ending, *, wanted: bool, may_start: bool) -> None:
        if ending == "stop":
            self._crew.happen(place, Event.STOP)
        elif ending == "finish" or not wanted:
            self._crew.happen(place, Event.UNWANTED)
        elif not may_start:
            return
        elif place.state is PlaceState.WAITING and time.monotonic() >= place.resume_at:
            self._crew.happen(place, Event.PAUSE_OVER)
        else:
            self._crew.happen(place, Event.WANTED)
