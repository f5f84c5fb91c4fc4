"""What is left to do in the queue, as of the last look at it, and what keeps it from being done."""

from __future__ import annotations

from collections.abc import Collection

from ..harness.project import Project
from ..queue.records import State
from ..queue.survey import Survey
from .crew import Crew
from .lifecycle import PlaceState
from .machine import Machine
from .paused_work import PausedWork
from .place import Place

_OVERLOOKED_SECONDS = 5.0  # an idle worker needs milliseconds to take what is ready
_OVERLOOKED_WHILE_HELD_SECONDS = 60.0  # the same where it may wait for a paused program, or for room
_TO_DO: tuple[State, ...] = ("ready", "delayed", "working")


class WorkLeft:
    """The queue as the coordinator knows it."""

    def __init__(self, project: Project, machine: Machine) -> None:
        self._bell = project.queue.bell
        self._machine = machine
        self.survey = Survey(project.queue)
        self._counts = self.survey.counts()
        self.paused = PausedWork(project, self.survey)
        self.heard = b""  # the bell, as of the last look
        self._busy_at = machine.monotonic()

    def reconfigure(self, project: Project) -> None:
        """Go by another configuration from now on: it says which items are those of a paused program."""
        self.paused = PausedWork(project, self.survey)

    @property
    def has_news(self) -> bool:
        """Whether the bell rang since the last look."""
        return self.heard != self._bell.heard()

    @property
    def waits_for_landing(self) -> bool:
        return self._counts["landing"] > 0

    @property
    def is_drained(self) -> bool:
        """Nothing is left to do as of the last look, and nothing happened since."""
        return not (self.waits_for_landing or self._is_to_do() or self.has_news)

    def _is_to_do(self) -> bool:
        return any(self._counts[state] for state in _TO_DO)

    def forget(self) -> None:
        """Trust the last look no longer."""
        self.heard = b""

    def look(self, heard: bytes) -> None:
        """Read what is new in the queue, of which the bell said `heard`. Raises OSError."""
        self.survey.refresh()
        self._counts = self.survey.counts()
        self.heard = heard

    def heal_what_is_overlooked(self, crew: Crew, *, is_wanted: bool) -> None:
        """Items that are ready while nobody works have lost their hint: who added them was killed before making it."""
        now = self._machine.monotonic()
        if not self._counts["ready"] or self._counts["working"] or not is_wanted:
            self._busy_at = now
        elif now - self._busy_at > self._overlooked_seconds(crew):
            crew.heal()
            self._busy_at = now

    def _overlooked_seconds(self, crew: Crew) -> float:
        beats = (place.heartbeat() for place in crew.agents)
        held = self.paused.is_there or any(beat is not None and beat.state == "held" for beat in beats)
        return _OVERLOOKED_WHILE_HELD_SECONDS if held else _OVERLOOKED_SECONDS

    def why_stuck(self, wanted: Collection[Place], lander: Place) -> str | None:
        """Say why what is left cannot be done: what runs it is paused, or every place that could do it was given up.

        `wanted` are the places of the agents that are to work.
        """
        paused = self.paused.why_stuck()
        if paused is not None:
            return paused
        lander_failing = lander.state is PlaceState.FAILING
        if wanted and all(place.state is PlaceState.FAILING for place in wanted):
            stuck = lander_failing or not self.waits_for_landing
        else:
            stuck = lander_failing and self.waits_for_landing and not self._is_to_do()
        return "every place that could do what is left was given up" if stuck else None
