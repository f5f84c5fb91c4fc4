"""The life of an agent's place: one table of states and events, and nothing else decides.

`wanted` is what the coordinator wants of the place, `seen` what happened; both are events here. A pair
that is not in the table changes nothing.
"""

from __future__ import annotations

from enum import Enum, auto


class PlaceState(Enum):
    """What an agent's place is doing."""

    VACANT = "vacant"  # no worker, none wanted
    FILLED = "filled"  # a worker runs
    FINISHING = "finishing"  # it runs, and was told to end after the item in hand
    STOPPING = "stopping"  # it runs, and was told to end now
    WAITING = "waiting"  # its worker died; the next one starts when the pause is over
    FAILING = "failing"  # too many of its workers died in a row; given up


class Event(Enum):
    """What happens to a place."""

    WANTED = auto()
    UNWANTED = auto()
    STOP = auto()
    DIED = auto()
    DIED_TOO_OFTEN = auto()
    SILENT = auto()
    PAUSE_OVER = auto()
    RECONFIGURED = auto()


class Action(Enum):
    """What the coordinator does about it."""

    START = auto()
    ASK_TO_FINISH = auto()
    TERMINATE = auto()
    KILL = auto()
    BURY = auto()  # end what the worker left running, take its item back
    BURY_AND_GIVE_UP = auto()
    FORGIVE = auto()  # let the place have as many deaths again as at the beginning


_S, _E, _A = PlaceState, Event, Action

TABLE: dict[tuple[PlaceState, Event], tuple[PlaceState, Action | None]] = {
    (_S.VACANT, _E.WANTED): (_S.FILLED, _A.START),
    (_S.FILLED, _E.UNWANTED): (_S.FINISHING, _A.ASK_TO_FINISH),
    (_S.FILLED, _E.STOP): (_S.STOPPING, _A.TERMINATE),
    (_S.FILLED, _E.DIED): (_S.WAITING, _A.BURY),
    (_S.FILLED, _E.DIED_TOO_OFTEN): (_S.FAILING, _A.BURY_AND_GIVE_UP),
    (_S.FILLED, _E.SILENT): (_S.FILLED, _A.KILL),
    (_S.FILLED, _E.RECONFIGURED): (_S.FINISHING, _A.ASK_TO_FINISH),
    (_S.FINISHING, _E.STOP): (_S.STOPPING, _A.TERMINATE),
    (_S.FINISHING, _E.DIED): (_S.VACANT, _A.BURY),
    (_S.FINISHING, _E.DIED_TOO_OFTEN): (_S.FAILING, _A.BURY_AND_GIVE_UP),
    (_S.FINISHING, _E.SILENT): (_S.FINISHING, _A.KILL),
    (_S.STOPPING, _E.DIED): (_S.VACANT, _A.BURY),
    (_S.STOPPING, _E.DIED_TOO_OFTEN): (_S.VACANT, _A.BURY),
    (_S.STOPPING, _E.SILENT): (_S.STOPPING, _A.KILL),
    (_S.WAITING, _E.PAUSE_OVER): (_S.FILLED, _A.START),
    (_S.WAITING, _E.UNWANTED): (_S.VACANT, None),
    (_S.WAITING, _E.STOP): (_S.VACANT, None),
    (_S.FAILING, _E.UNWANTED): (_S.VACANT, None),
    (_S.FAILING, _E.RECONFIGURED): (_S.VACANT, _A.FORGIVE),
    (_S.FAILING, _E.STOP): (_S.VACANT, None),
}


def next_state(state: PlaceState, event: Event) -> tuple[PlaceState, Action | None]:
    """Return the state after `event`, and what to do."""
    return TABLE.get((state, event), (state, None))


def has_worker(state: PlaceState) -> bool:
    return state in {PlaceState.FILLED, PlaceState.FINISHING, PlaceState.STOPPING}
