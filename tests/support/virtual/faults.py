"""Faults that somebody could put into the coordinator one day. A made-up day finds each; a test sees to that."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from parallel_loop.coordinator import crew, lifecycle, machine, restarts
from parallel_loop.coordinator.crew import Crew
from parallel_loop.coordinator.lifecycle import Action, Event, PlaceState
from parallel_loop.coordinator.place import Place
from parallel_loop.harness.diagnose import Attendance
from parallel_loop.queue.records import Record

Plant = Callable[[pytest.MonkeyPatch], None]


def forget_to_take_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(crew, "take_back_from_the_dead", lambda *_given: [])


def take_back_from_the_silent(patch: pytest.MonkeyPatch) -> None:
    """Take the item of a silent worker back before it is dead."""

    def kill(self: Crew, place: Place, _process: object) -> None:
        queue, body = self._project.queue, place.process.body  # type: ignore[union-attr]
        claim = getattr(body, "claim", None)
        if claim is not None:
            entry = queue.entry(claim.item.id)
            queue.append(entry, Record(kind="released", at=queue.now(), agent=place.name, outcome="died"))

    patch.setattr(Crew, "_kill", kill)


def start_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(lifecycle.TABLE, (PlaceState.FILLED, Event.RECONFIGURED), (PlaceState.FILLED, Action.START))


def adopt_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crew, "_adopt", lambda *_given: False)


def grant_no_amnesty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Attendance, "note_turn", lambda *_given: None)


def believe_old_heartbeats(patch: pytest.MonkeyPatch) -> None:
    """Judge who was adopted by what it said before anybody watched."""

    def adopt(self: Crew, name: str, adopt: Callable[[Crew, str], bool] = Crew._adopt) -> bool:
        adopted = adopt(self, name)
        if adopted:
            self.place(name).process.started = 0.0  # type: ignore[union-attr]
        return adopted

    patch.setattr(Crew, "_adopt", adopt)


def never_kill(patch: pytest.MonkeyPatch) -> None:
    for state in (PlaceState.FILLED, PlaceState.FINISHING, PlaceState.STOPPING):
        patch.setitem(lifecycle.TABLE, (state, Event.SILENT), (state, None))


def wait_for_the_deaf(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Crew, "_is_overdue", lambda *_given: False)


def never_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(restarts, "restart_pause_seconds", lambda *_given: 0.0)
    patch.setattr(restarts.Restarts, "are_spent", lambda *_given: False)


def pause_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(restarts, "restart_pause_seconds", lambda deaths, _jitter: 2.0**deaths * 10)


def leave_leftovers_of_the_adopted(patch: pytest.MonkeyPatch) -> None:
    def end(self: machine.Machine, _root: object, _names: object, keep: set[int], *, adopted: bool) -> None:
        self.end_descendants(keep)

    patch.setattr(machine.Machine, "end_leftovers", end)


def take_back_first(patch: pytest.MonkeyPatch) -> None:
    """Take back what the dead held before what they had started is ended."""

    def end(self: Crew, dead: set[str], end: Callable[[Crew, set[str]], None] = Crew._end_leftovers) -> None:
        self._take_back()
        end(self, dead)

    patch.setattr(Crew, "_end_leftovers", end)


def give_up_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(restarts.Restarts, "are_spent", lambda self, most: self.deaths_in_a_row >= min(most, 2))


def forget_places_at_reload(patch: pytest.MonkeyPatch) -> None:
    """Let those who finished for a new configuration have no successor."""
    patch.setitem(lifecycle.TABLE, (PlaceState.FINISHING, Event.DIED), (PlaceState.FAILING, Action.BURY))


# With the seed of a day that finds it early.
FAULTS: dict[str, tuple[Plant, int]] = {
    "forget to take back": (forget_to_take_back, 0),
    "take back from the silent": (take_back_from_the_silent, 0),
    "start twice": (start_twice, 0),
    "adopt nobody": (adopt_nobody, 1),
    "grant no amnesty": (grant_no_amnesty, 0),
    "believe old heartbeats": (believe_old_heartbeats, 3),
    "never kill": (never_kill, 3),
    "wait for the deaf": (wait_for_the_deaf, 0),
    "never pause": (never_pause, 0),
    "pause for ever": (pause_for_ever, 0),
    "leave leftovers of the adopted": (leave_leftovers_of_the_adopted, 4),
    "take back first": (take_back_first, 0),
    "give up too early": (give_up_too_early, 0),
    "forget places at reload": (forget_places_at_reload, 0),
}
