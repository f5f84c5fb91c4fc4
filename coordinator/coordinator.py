"""The coordinator: keeps N workers and one lander running until it is told to end.

It holds the wanted state and compares it with what it observes; nobody else starts, stops or buries a
process (crew.py). It sleeps until a process ends, a signal comes or it is time to look again; it never waits
for git or for a program.

Guarantees: one coordinator per repository. What the machine refuses for a while (files, processes, room on
the disk) delays a turn and does not end the run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..harness.identity import own_identity
from ..harness.pause_file import PauseFile
from ..harness.pauses import RunBegun
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
from .machine import Machine
from .paused_work import PausedWork
from .place import Place
from .readiness import describe_readiness
from .reloading import Reloading
from .spare import SpareDescriptors
from .status import StatusWriter

_BREATH_SECONDS = 0.2  # after a turn that the machine hindered
_LONG_BREATH_SECONDS = 1.0  # the same when the turn before was hindered as well
_BUSY_SECONDS = 0.2  # how soon a request is noticed while much happens; else at once, as deaths and signals are
_SLACK_SECONDS = 0.4  # by so much a turn may come late, or last, without anybody calling it a gap
_SHARE = 50  # looking at the queue and publishing take a fiftieth of the time at most: a large queue waits longer
_LONGEST_SECONDS = 3.0  # but never so seldom that status.json counts as old
_OVERLOOKED_SECONDS = 5.0  # an idle worker needs milliseconds to take what is ready
_OVERLOOKED_WHILE_HELD_SECONDS = 60.0  # the same where it may wait for a paused program, or for room
_STAGES: tuple[Ending, ...] = ("", "finish", "stop")
_TO_DO: tuple[State, ...] = ("ready", "delayed", "working")


class Display(Protocol):
    """Shows a person what happens."""

    shows_time: bool  # how long things last, so that it wants a snapshot each second also when nothing happens

    def show(self, picture: snapshot.Snapshot) -> None:
        """Show the newest snapshot."""


class Coordinator:
    """One run of the coordinator."""

    def __init__(
        self,
        project: Project,
        target: str,
        *,
        agents: int | None,
        drain: bool,
        display: Display,
        machine: Machine | None = None,
    ) -> None:
        """Prepare a run with `agents`, or as many as the configuration says, where that is None."""
        self._project = project
        self._machine = machine or Machine()
        self._agents = agents
        self._drain = drain
        self._wanted = Wanted(agents or project.config.agents)
        self._reloading = Reloading(project, target, _agents_fixed_by(agents, project))
        self._notifier = self._machine.notifier
        self._signals = self._machine.signals()
        self._ending: Ending = ""
        self._announced = True
        self._stuck: str | None = None
        self._crew = Crew(project, target, self._machine)
        self._survey = Survey(project.queue)
        self._counts = self._survey.counts()
        self._paused_work = PausedWork(project, self._survey)
        self._failed_before: set[str] = set()
        self._status = StatusWriter(project, self._survey, display, self._reloading, self._machine)
        self._heard = b""
        self._not_before = 0.0
        self._busy_at = self._machine.monotonic()
        self._last_turn = self._machine.monotonic()
        self._complaint = Complaint(project, None, self._machine.monotonic)
        self._spare = SpareDescriptors()

    def run(self) -> int:
        """Run until there is nothing left to do or somebody ends it; return the exit code.

        Raises AlreadyRunning, StateGone.
        """
        state = self._project.state
        state.create()
        lock = CoordinatorLock(state.coordinator_lock, *own_identity(), agents=self._agents, drain=self._drain)
        try:
            with self._signals, self._spare, contextlib.closing(BellWatch(self._project.queue.bell)) as watch:
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
        self._reloading.begin()
        self._crew.begin()
        # After the crew has ended the leftovers of an earlier run, in the groups that this one made.
        contained = self._machine.find_out_containment(self._project.state)
        with contextlib.suppress(OSError):
            PauseFile(self._project).change(RunBegun())
        self._survey.refresh()
        self._failed_before = failed_items(self._survey)
        self._status.begin(lock.holder, contained.describe())

    def _is_over(self) -> bool:
        if self._ending == "" or self._crew.at_work:
            return False
        # A lander that was killed may owe the target a step, also when nothing waits for landing any more.
        lander = self._crew.lander
        return self._ending == "stop" or lander.ended_well or lander.state is PlaceState.FAILING

    def _exit_code(self) -> int:
        if self._ending == "stop":
            return 130
        return 1 if self._stuck is not None or failed_items(self._survey) - self._failed_before else 0

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
        self._notifier.alive()
        watch.drain()
        self._crew.note_turn(self._late_seconds(planned_seconds))  # whatever hinders the rest of this turn
        try:
            heard = self._project.queue.bell.heard()
            rang = heard != self._heard
            if rang:
                self._read_wanted()
            self._reload()
            if self._crew.notice_deaths(ended):
                self._heard, self._not_before = b"", 0.0  # whether work is left is decided on what the dead did last
            self._crew.look_at_health()
            news = self._look_at_queue(heard)
            self._decide_ending()
            self._compare()
            if news:
                self._status.publish(self._crew, self._wanted, self._ending, news=rang)
                if self._complaint.tell(self._status.lack):
                    self._crew.go_on()
                now = self._machine.monotonic()
                self._not_before = now + min(_LONGEST_SECONDS, _SHARE * (now - self._last_turn))
            if self._notifier.is_awaited and not self._ending:
                self._tell_if_ready()
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
        self._machine.sleep(breath_seconds)

    def _plan_to_wait(self, watch: BellWatch) -> tuple[float, Sequence[int]]:
        """Return for how long nothing has to be done unless a signal, a death or the bell wakes us, and what that is.

        Right after a look at the queue, the bell does not wake us: a thousand additions are not a thousand turns.
        """
        now = self._machine.monotonic()
        moment = min(self._reloading.due, self._crew.next_look(paused=self._wanted.paused), self._notifier.due)
        if now < self._not_before:
            return max(0.0, min(moment, self._not_before, now + _BUSY_SECONDS) - now), ()
        look_at = self._status.due if self._heard == self._project.queue.bell.heard() else now
        return watch.at_most(max(0.0, min(moment, look_at) - now)), watch.descriptors

    def _late_seconds(self, planned_seconds: float) -> float:
        """By how much this turn came late: in that time nobody was watched, and nobody may be blamed for it."""
        before, self._last_turn = self._last_turn, self._machine.monotonic()
        passed_seconds = self._last_turn - before
        if self._complaint.lack is not None:  # nor may who cannot write a heartbeat, as on a disk that is read-only
            return passed_seconds
        return max(0.0, passed_seconds - planned_seconds - _SLACK_SECONDS)

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

    def _reload(self) -> None:
        """Put a changed configuration in force; `scale` holds unless it is the file's `agents` that has changed."""
        change = self._reloading.look(self._machine.monotonic(), at_once=self._signals.reload_was_asked())
        if change is None:
            return
        self._project = self._project.reconfigured(change.config)
        self._crew.reconfigure(self._project, workers=change.workers)
        if change.agents is not None:
            self._read_wanted()  # what was asked for a moment ago must not be lost
            self._wanted = msgspec.structs.replace(self._wanted, agents=change.agents)
            write_wanted(self._project.state, self._wanted)

    def _look_at_queue(self, heard: bytes) -> bool:
        """Read what is new in the queue when something is or may be; False when there was no reason, or no time."""
        if self._machine.monotonic() < self._not_before or (heard == self._heard and not self._status.is_due()):
            return False
        self._survey.refresh()
        self._counts = self._survey.counts()
        self._heard = heard
        self._heal_what_is_overlooked()
        return True

    def _heal_what_is_overlooked(self) -> None:
        """Items that are ready while nobody works have lost their hint: who added them was killed before making it."""
        now = self._machine.monotonic()
        if not self._counts["ready"] or self._counts["working"] or self._wanted.paused or self._ending:
            self._busy_at = now
        elif now - self._busy_at > self._overlooked_seconds():
            self._crew.heal()
            self._busy_at = now

    def _overlooked_seconds(self) -> float:
        beats = (place.heartbeat() for place in self._crew.agents)
        held = self._paused_work.is_there or any(beat is not None and beat.state == "held" for beat in beats)
        return _OVERLOOKED_WHILE_HELD_SECONDS if held else _OVERLOOKED_SECONDS

    def _decide_ending(self) -> None:
        asked = max(self._signals.stage, _STAGES.index(self._wanted.ending))
        if asked == 0 and self._drain and self._ending == "":
            self._stuck = self._why_stuck()
            asked = int(self._stuck is not None or self._is_drained())
        if asked > _STAGES.index(self._ending):
            self._ending = _STAGES[asked]
            self._wanted = msgspec.structs.replace(self._wanted, ending=self._ending)
            self._announced = False
            self._project.state.record_event("finishing" if asked == 1 else "stopping", why=self._stuck)
            self._notifier.stopping("takes no more, finishes the work in hand" if asked == 1 else "stops the programs")
        if not self._announced:  # who asks for something else is told that it ends; where that finds no room, later
            with contextlib.suppress(OSError):
                write_wanted(self._project.state, self._wanted)
                self._announced = True

    def _is_drained(self) -> bool:
        """Nothing is left to do as of the last look, and nothing happened since."""
        left = self._counts["landing"] or any(self._counts[state] for state in _TO_DO)
        return not left and self._heard == self._project.queue.bell.heard()

    def _why_stuck(self) -> str | None:
        """Say why what is left cannot be done: what runs it is paused, or every place that could do it was given up."""
        paused = self._paused_work.why_stuck()
        if paused is not None:
            return paused
        wanted = [place.state for place in self._crew.agents if self._is_wanted(place)]
        lander_failing = self._crew.lander.state is PlaceState.FAILING
        if wanted and set(wanted) == {PlaceState.FAILING}:
            stuck = lander_failing or not self._counts["landing"]
        else:
            stuck = lander_failing and self._counts["landing"] > 0 and not any(map(self._counts.get, _TO_DO))
        return "every place that could do what is left was given up" if stuck else None

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

    def _tell_if_ready(self) -> None:
        """Say that we are up when that can be seen from outside, and something can be said of every worker."""
        status = describe_readiness([place for place in self._crew.agents if self._is_wanted(place)])
        if status is not None:
            self._status.publish(self._crew, self._wanted, self._ending, news=True)
            if self._status.is_published:
                self._notifier.ready(status)

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
        elif place.state is PlaceState.WAITING and self._machine.monotonic() >= place.resume_at:
            self._crew.happen(place, Event.PAUSE_OVER)
        else:
            self._crew.happen(place, Event.WANTED)


def _agents_fixed_by(agents: int | None, project: Project) -> str:
    """Return what counts more than the file's `agents` in this run."""
    if agents is not None:
        return f"--agents {agents}"
    return f"PARALLEL_AGENTS={project.config.agents}" if project.environ.get("PARALLEL_AGENTS", "").strip() else ""
