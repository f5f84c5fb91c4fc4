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
from ..harness.project import Project
from ..harness.room import Complaint
from ..harness.shortage import lack_of
from ..queue.watching import BellWatch
from . import snapshot
from .comparing import compare, is_wanted
from .control import Ending, Wanted, read_wanted, write_wanted
from .course import Course
from .crew import Crew
from .lifecycle import PlaceState
from .lock import CoordinatorLock
from .machine import Machine
from .paused_work import tell_that_a_run_begins
from .place import Place
from .readiness import describe_readiness
from .reloading import Reloading
from .spare import SpareDescriptors
from .status import StatusWriter
from .work_left import WorkLeft

_BREATH_SECONDS = 0.2  # after a turn that the machine hindered
_LONG_BREATH_SECONDS = 1.0  # the same when the turn before was hindered as well
_BUSY_SECONDS = 0.2  # how soon a request is noticed while much happens; else at once, as deaths and signals are
_SLACK_SECONDS = 0.4  # by so much a turn may come late, or last, without anybody calling it a gap
_SHARE = 50  # looking at the queue and publishing take a fiftieth of the time at most: a large queue waits longer
_LONGEST_SECONDS = 3.0  # but never so seldom that status.json counts as old
_STAGES: tuple[Ending, ...] = ("", "finish", "stop")


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
        self._work = WorkLeft(project, self._machine)
        self._course = Course(self._work.survey)
        self.closing_line: str | None = None  # what came of the run, when it is over
        self._status = StatusWriter(project, self._work, display, self._reloading, self._machine)
        self._status.agents_by = _agents_fixed_by(agents, project) or None
        self._not_before = 0.0
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
            tell_that_a_run_begins(self._project)
        self._work.survey.refresh()
        self._course = Course(self._work.survey)
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
        return 1 if self._stuck is not None or self._course.failed(self._work.survey) else 0

    def _leave(self) -> None:
        if self._crew.at_work:  # something went wrong here, which is to cost no item an attempt
            with contextlib.suppress(OSError):
                write_wanted(self._project.state, msgspec.structs.replace(self._wanted, ending="stop"))
        self._crew.leave()
        with contextlib.suppress(OSError):
            self._work.survey.refresh()
            self.closing_line = self._course.describe(self._work.survey)
        self._project.state.record_event("ended", why=self.closing_line)
        with contextlib.suppress(OSError):
            self._status.end()

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
            rang = heard != self._work.heard
            if rang:
                self._read_wanted()
            self._reload()
            if self._crew.notice_deaths(ended):
                self._trust_no_look()  # whether work is left is decided on what the dead did last
            self._crew.look_at_health()
            news = self._look_at_queue(heard)
            self._decide_ending()
            compare(
                *(self._crew, self._wanted, self._ending),
                waits_for_landing=self._work.waits_for_landing,
                now=self._machine.monotonic(),
            )
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

    def _trust_no_look(self) -> None:
        """Look at the queue again in the next turn, whatever was seen there before."""
        self._work.forget()
        self._not_before = 0.0

    def _be_hindered(self, error: OSError) -> None:
        """Say what is in the way, if that can be said, and wait a moment: what woke us may be there still."""
        self._trust_no_look()
        breath_seconds = _BREATH_SECONDS if self._complaint.lack is None else _LONG_BREATH_SECONDS
        self._complaint.tell(lack_of(error))
        with contextlib.suppress(OSError), self._spare.given_up():
            self._work.look(b"")
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
        look_at = now if self._work.has_news else self._status.due
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
        if wanted.agents != self._wanted.agents:
            self._status.agents_by = f"scale {wanted.agents}"
        self._wanted = wanted

    def _reload(self) -> None:
        """Put a changed configuration in force; `scale` holds unless it is the file's `agents` that has changed."""
        change = self._reloading.look(self._machine.monotonic(), at_once=self._signals.reload_was_asked())
        if change is None:
            return
        self._project = self._project.reconfigured(change.config)
        self._crew.reconfigure(self._project, workers=change.workers)
        self._work.reconfigure(self._project)
        self._status.reconfigure(self._project)
        if change.agents is not None:
            self._read_wanted()  # what was asked for a moment ago must not be lost
            self._wanted = msgspec.structs.replace(self._wanted, agents=change.agents)
            self._status.agents_by = None
            write_wanted(self._project.state, self._wanted)

    def _look_at_queue(self, heard: bytes) -> bool:
        """Read what is new in the queue when something is or may be; False when there was no reason, or no time."""
        if self._machine.monotonic() < self._not_before or (heard == self._work.heard and not self._status.is_due()):
            return False
        self._work.look(heard)
        self._work.heal_what_is_overlooked(self._crew, is_wanted=not (self._wanted.paused or self._ending))
        return True

    def _decide_ending(self) -> None:
        asked = max(self._signals.stage, _STAGES.index(self._wanted.ending))
        if asked == 0 and self._drain and self._ending == "":
            self._stuck = self._work.why_stuck(self._wanted_places(), self._crew.lander)
            asked = int(self._stuck is not None or self._work.is_drained)
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

    def _wanted_places(self) -> list[Place]:
        return [place for place in self._crew.agents if is_wanted(place, self._wanted)]

    def _tell_if_ready(self) -> None:
        """Say that we are up when that can be seen from outside, and something can be said of every worker."""
        status = describe_readiness(self._wanted_places())
        if status is not None:
            self._status.publish(self._crew, self._wanted, self._ending, news=True)
            if self._status.is_published:
                self._notifier.ready(status)


def _agents_fixed_by(agents: int | None, project: Project) -> str:
    """Return what counts more than the file's `agents` in this run."""
    if agents is not None:
        return f"--agents {agents}"
    return f"PARALLEL_AGENTS={project.config.agents}" if project.environ.get("PARALLEL_AGENTS", "").strip() else ""
