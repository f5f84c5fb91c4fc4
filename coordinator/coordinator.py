"""The coordinator: keeps N workers and one lander running until it is told to end.

It holds the wanted state and compares it with what it observes; nobody else starts, stops or buries a
process. It sleeps until a process ends, a signal comes or it is time to look again; it never waits for git
or for a program.

Guarantees: one coordinator per repository; a claim is taken back only after its worker is dead and what the
worker had started is dead, too; on restart only the dead lose their claims, and the living are watched.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

from ..harness.processes import become_subreaper, end_descendants, own_identity
from ..harness.project import Project
from ..harness.state import read_heartbeat
from ..queue.healing import heal, take_back_from_the_dead
from ..queue.survey import Survey
from ..worktrees.environment import scrub
from . import lifecycle, snapshot
from .control import Ending, Wanted, read_wanted, write_wanted
from .diagnose import Observation, diagnose
from .lifecycle import Action, Event, PlaceState
from .lock import CoordinatorLock
from .place import Place, Process
from .status import StatusWriter
from .target_report import LANDER

_TURN_SECONDS = 0.2  # how soon a request is noticed; deaths and signals are noticed at once
_HEALTH_SECONDS = 1.0
_STAGES: tuple[Ending, ...] = ("", "finish", "stop")


class Display(Protocol):
    """Shows a person what happens."""

    def show(self, picture: snapshot.Snapshot) -> None:
        """Show the newest snapshot."""


class Coordinator:
    """One run of the coordinator."""

    def __init__(self, project: Project, target: str, *, agents: int, drain: bool, display: Display) -> None:
        self._project = project
        self._target = target
        self._drain = drain
        self._wanted = Wanted(agents)
        self._stage = 0  # how many signals came: 1 finish, 2 stop
        self._places: dict[str, Place] = {}
        self._lander = self._make_place(LANDER, "parallel_loop.coordinator.lander", target)
        self._survey = Survey(project.queue)
        self._status = StatusWriter(project, self._survey, display)
        self._heard = b""
        self._last_turn = time.monotonic()
        self._next_health = 0.0
        self._wake, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> int:
        """Run until there is nothing left to do or somebody ends it; return the exit code."""
        state = self._project.state
        state.create()
        lock = CoordinatorLock(state.coordinator_lock, *own_identity())
        try:
            write_wanted(state, self._wanted)
            self._begin(lock)
            while not self._is_over():
                self._turn()
            return self._exit_code()
        finally:
            self._leave()
            lock.close()

    # --- beginning and end ----------------------------------------------------------------------------

    def _begin(self, lock: CoordinatorLock) -> None:
        become_subreaper()
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._project.state.record_event("running", pid=lock.holder.pid)
        self._adopt_the_living()
        for entry in heal(self._project.queue, self._project.retry):
            self._tell_taken_back(entry.item.id, entry.attempts, None)
        self._survey.refresh()
        self._failed_before = self._failed()
        self._status.begin(lock.holder)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stage = min(2, self._stage + 1)

    def _adopt_the_living(self) -> None:
        """Watch the processes that outlived an earlier coordinator; they finish by themselves."""
        for name in (*self._project.state.agent_names(), LANDER):
            beat = read_heartbeat(self._project.state.agent(name))
            process = Process.adopt(beat.identity) if beat is not None else None
            if process is not None:
                place = self._place(name)
                place.process, place.state = process, PlaceState.FINISHING
                self._project.state.record_event("adopted", agent=name, pid=process.pid)

    def _is_over(self) -> bool:
        return self._ending() != "" and not any(lifecycle.has_worker(place.state) for place in self._all())

    def _exit_code(self) -> int:
        if self._stage >= 2:
            return 130
        return 1 if self._failed() - self._failed_before else 0

    def _failed(self) -> set[str]:
        return {entry.item.id for entry in self._survey.entries() if entry.last and entry.last.kind == "failed"}

    def _leave(self) -> None:
        """Leave nothing running, however we end; what the workers held, they have given back or are dead."""
        for place in self._all():
            if place.process is not None:
                place.process.send(signal.SIGTERM)
        signal.set_wakeup_fd(-1)
        end_descendants(grace_seconds=15.0)
        with contextlib.suppress(OSError):
            take_back_from_the_dead(self._project.queue, self._project.retry)
            self._survey.refresh()
            self._status.end()
        self._project.state.record_event("ended")

    # --- one turn -------------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Wait for something to happen, look at everything, and do what follows."""
        self._wait()
        self._read_wanted()
        self._notice_deaths()
        self._look_at_health()
        self._compare()
        self._publish()

    def _wait(self) -> None:
        watched = [place.process.descriptor for place in self._all() if place.process is not None]
        descriptors = [descriptor for descriptor in watched if descriptor is not None]
        ready, _, _ = select.select([self._wake, *descriptors], (), (), _TURN_SECONDS)
        if self._wake in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake, 4096)

    def _read_wanted(self) -> None:
        wanted = read_wanted(self._project.state)
        if wanted is None or wanted == self._wanted:
            return
        if wanted.paused != self._wanted.paused:
            self._project.state.record_event("paused" if wanted.paused else "resumed")
            for place in self._places.values():
                if place.process is not None:
                    place.process.tell("pause" if wanted.paused else "resume")
        self._wanted = wanted

    def _ending(self) -> Ending:
        asked = max(self._stage, _STAGES.index(self._wanted.ending))
        return "finish" if asked == 0 and self._drain and self._is_drained() else _STAGES[asked]

    def _is_drained(self) -> bool:
        """Nothing is left to do as of the last survey, and nothing happened since."""
        return self._survey.is_drained() and self._heard == self._project.queue.bell.heard()

    def _notice_deaths(self) -> None:
        for place in self._all():
            if place.process is not None and not place.process.is_alive:
                place.count_death()
                often = place.deaths_in_a_row > self._project.config.health.restarts
                self._happen(place, Event.DIED_TOO_OFTEN if often else Event.DIED)

    def _look_at_health(self) -> None:
        now = time.monotonic()
        gap = max(0.0, now - self._last_turn - 2 * _TURN_SECONDS)
        self._last_turn = now
        if now < self._next_health and not gap:
            return
        self._next_health = now + _HEALTH_SECONDS
        for place in self._all():
            if place.process is None:
                continue
            beat = place.heartbeat()
            age = None if beat is None else now - beat.beat
            seen = Observation(place.process.is_alive, now - place.process.started, age, gap)
            if diagnose(seen, self._project.config.health.silent_seconds) == "silent":
                self._happen(place, Event.SILENT)

    def _compare(self) -> None:
        """Tell every place what is wanted of it."""
        ending = self._ending()
        for number in range(1, self._wanted.agents + 1):
            self._place(f"agent-{number}")
        for place in self._places.values():
            self._want(place, ending, wanted=int(place.name.rpartition("-")[2]) <= self._wanted.agents)
        still_landing = any(lifecycle.has_worker(place.state) for place in self._places.values())
        still_landing = still_landing or bool(self._survey.counts()["landing"])
        self._want(self._lander, "" if ending == "finish" and still_landing else ending, wanted=True)

    def _want(self, place: Place, ending: Ending, *, wanted: bool) -> None:
        if ending == "stop":
            self._happen(place, Event.STOP)
        elif ending == "finish" or not wanted:
            self._happen(place, Event.UNWANTED)
        elif place.state is PlaceState.WAITING and time.monotonic() >= place.resume_at:
            self._happen(place, Event.PAUSE_OVER)
        else:
            self._happen(place, Event.WANTED)

    def _publish(self) -> None:
        heard = self._project.queue.bell.heard()
        if heard != self._heard or self._status.is_due():
            self._heard = heard
            self._survey.refresh()
            self._status.publish(self._places.values(), self._wanted, self._ending())

    # --- what follows ---------------------------------------------------------------------------------

    def _happen(self, place: Place, event: Event) -> None:
        """Let `event` happen to `place` and do what the table says."""
        before = place.state
        place.state, action = lifecycle.next_state(before, event)
        match action:
            case Action.START:
                self._start(place)
            case Action.ASK_TO_FINISH if place.process is not None:
                place.process.ask_to_finish()
            case Action.TERMINATE if place.process is not None:
                place.process.send(signal.SIGTERM)
            case Action.KILL if place.process is not None:
                place.note = "it was silent for too long and was killed"
                self._project.state.record_event("killed", agent=place.name, why=place.note)
                place.process.send(signal.SIGKILL)
            case Action.BURY | Action.BURY_AND_GIVE_UP:
                self._bury(place, unexpected=before is PlaceState.FILLED)
                if action is Action.BURY_AND_GIVE_UP:
                    self._project.state.record_event("gave-up", agent=place.name, why=place.note)
            case _:
                pass

    def _start(self, place: Place) -> None:
        try:
            place.start(scrub(self._project.environ), self._project.root)
        except OSError as error:  # no processes or descriptors left: try again later
            place.note = f"could not be started: {error.strerror}"
            place.state, place.resume_at = PlaceState.WAITING, time.monotonic() + 5.0
            return
        if self._wanted.paused and place.process is not None:
            place.process.tell("pause")

    def _bury(self, place: Place, *, unexpected: bool) -> None:
        """End what the dead worker left running, then take its item back."""
        assert place.process is not None
        dead = place.process
        place.process = None
        living = {other.process.pid for other in self._all() if other.process is not None}
        dead.close()
        end_descendants(grace_seconds=0.0, keep=living)
        if unexpected:
            place.note = place.last_words() or f"it ended with exit code {dead.exit_code}"
            pause_seconds = lifecycle.restart_pause_seconds(place.deaths_in_a_row, random.random())  # noqa: S311
            place.resume_at = time.monotonic() + pause_seconds
            self._project.state.record_event("died", agent=place.name, pid=dead.pid, why=place.note)
        for entry in take_back_from_the_dead(self._project.queue, self._project.retry):
            self._tell_taken_back(entry.item.id, entry.attempts, place.name)

    def _tell_taken_back(self, item: str, attempt: int, agent: str | None) -> None:
        self._project.state.record_event("taken-back", item=item, attempt=attempt, agent=agent)

    def _all(self) -> Iterator[Place]:
        yield from self._places.values()
        yield self._lander

    def _place(self, name: str) -> Place:
        if name == LANDER:
            return self._lander
        if name not in self._places:
            self._places[name] = self._make_place(name, "parallel_loop.harness.worker", name, self._target)
        return self._places[name]

    def _make_place(self, name: str, module: str, *arguments: str) -> Place:
        directory = self._project.state.agent(name)
        return Place(directory, module, (str(self._project.root), *arguments))
