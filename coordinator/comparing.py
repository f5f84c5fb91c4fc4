"""Comparing what is wanted with what is: which event happens to which place."""

from __future__ import annotations

from .control import Ending, Wanted
from .crew import Crew
from .lifecycle import Event, PlaceState, has_worker
from .place import Place


def compare(crew: Crew, wanted: Wanted, ending: Ending, *, waits_for_landing: bool, now: float) -> None:
    """Tell every place what is wanted of it. `now` is in monotonic seconds."""
    for number in range(1, wanted.agents + 1):
        crew.place(f"agent-{number}")
    for place in crew.agents:
        # Started while paused, a worker would take an item before it could be told.
        if not wanted.paused or has_worker(place.state) or ending or not is_wanted(place, wanted):
            crew.happen(place, _event(place, ending, now, unwanted=not is_wanted(place, wanted)))
    lander = crew.lander
    handing_over = any(has_worker(place.state) for place in crew.agents)
    owes = handing_over or waits_for_landing or not (lander.ended_well or has_worker(lander.state))
    crew.happen(lander, _event(lander, "" if owes and ending == "finish" else ending, now))


def is_wanted(place: Place, wanted: Wanted) -> bool:
    """Whether the place is one of as many as are wanted."""
    number = place.name.rpartition("-")[2]
    return number.isdecimal() and int(number) <= wanted.agents


def _event(place: Place, ending: Ending, now: float, *, unwanted: bool = False) -> Event:
    if ending == "stop":
        return Event.STOP
    if ending == "finish" or unwanted:
        return Event.UNWANTED
    over = place.state is PlaceState.WAITING and now >= place.resume_at
    return Event.PAUSE_OVER if over else Event.WANTED
