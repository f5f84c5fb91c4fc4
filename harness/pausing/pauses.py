"""When a program is paused, because its attempts fail alike within seconds, and when it is tried again.

A pure function from what was known and what happened to what is known then. `pause_file.py` keeps it between
processes, `trials.py` obeys it.

Guarantees: three attempts that failed alike, of two different items and with no success in between, pause what they
ran; one trial is begun after 1, 2, 4, … 30 minutes, or at once when a person asks for it; a success ends the pause, and
so does a trial that works for longer than the failures did. What is known stays small.

What is paused is a program, or one command line of the program `shell`; the `key` says which. `config` stands for all
of the configuration that its attempts depend on: what was learned under another one does not count.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ...queue.clock import check_times, later

QUICK_SECONDS = 10.0  # a program that works for longer is there, and can start
_ATTEMPTS = 3
_ITEMS = 2  # so that one item that nobody could do pauses nothing
_FIRST_SECONDS = 60.0
_LONGEST_SECONDS = 1800.0
_AGAIN_SECONDS = 5.0  # after a trial that came to nothing, as when the role of the item was full
_SUSPECTED_SECONDS = 3600.0  # for so long a failure that nothing followed is remembered
_UNTRIED_SECONDS = 86400.0  # and for so long a pause of which nobody wanted a trial
_MOST = 100
_MOST_TRIED = 100


class Failure(Struct, frozen=True, kw_only=True):
    """One attempt that failed: of what, and how. `end` is the end of its output, made alike (see likeness.py)."""

    key: str
    config: int
    program: str
    command: str = ""
    outcome: str
    exit_code: int | None = None
    end: str
    said: str  # the last line of it, as it was written
    item: str
    seconds: float

    @property
    def is_quick(self) -> bool:
        return self.seconds < QUICK_SECONDS


class Trouble(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One way in which attempts fail within seconds. With `until` it is a pause, else only a suspicion.

    `tried` are items that failed in that way since the pause began, or before it: a trial of another says more.
    """

    last: Failure
    at: str
    attempts: int = 1
    items: tuple[str, ...] = ()
    until: str | None = None
    waits: int = 0
    trial: bool = False
    tried: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_times(self.at, self.until)  # anybody may have written the file

    @property
    def key(self) -> str:
        return self.last.key

    def is_alike(self, failure: Failure) -> bool:
        def way(of: Failure) -> tuple[object, ...]:
            return (of.key, of.config, of.outcome, of.exit_code, of.end)

        return way(self.last) == way(failure)

    def is_due(self, now: str) -> bool:
        """Whether a trial may begin; also when the clock was put back, by which no pause gets longer."""
        return self.until is not None and not now < self.until <= later(now, _LONGEST_SECONDS)


State = tuple[Trouble, ...]


class Failed(NamedTuple):
    """An attempt failed; `trial` says that it was one."""

    failure: Failure
    trial: bool = False


class Succeeded(NamedTuple):
    """An attempt showed that what it ran works."""

    key: str


class TrialBegun(NamedTuple):
    """Somebody is about to try."""

    key: str


class TrialOver(NamedTuple):
    """The trial says nothing: no item could be taken, or it was interrupted."""

    key: str


class Resumed(NamedTuple):
    """A person says that the program works again, which one trial is to show."""

    program: str


class RunBegun(NamedTuple):
    """A run begins: whoever started it may have mended something."""


Event = Failed | Succeeded | TrialBegun | TrialOver | Resumed | RunBegun


def after(state: State, event: Event, now: str) -> State:
    """Return what is known after `event`, which happened at `now` (a recorded time, see queue/clock.py)."""
    state = _remembered(state, now)
    match event:
        case Failed(failure, trial):
            state = tuple(one for one in state if one.key != failure.key or one.last.config == failure.config)
            state = _after_failure(state, failure, now, trial=trial)
        case Succeeded(key):
            state = tuple(one for one in state if one.key != key)
        case TrialBegun(key):
            state = tuple(_tried(one, now) if one.key == key and one.is_due(now) else one for one in state)
        case TrialOver(key):
            again = later(now, _AGAIN_SECONDS)
            state = tuple(
                replace(one, until=again, trial=False) if one.key == key and one.trial else one for one in state
            )
        case Resumed(program):
            others = tuple(one for one in state if one.last.program != program)
            mended = (one for one in state if one.last.program == program and one.until is not None)
            state = (*others, *(replace(one, until=now, waits=0, trial=False) for one in mended))
        case RunBegun():
            state = tuple(replace(one, until=now, trial=False) if one.until else one for one in state)
    return tuple(sorted(state, key=lambda one: one.until is not None))[-_MOST:]  # of too many, suspicions go first


def _after_failure(state: State, failure: Failure, now: str, *, trial: bool) -> State:
    pause = pause_of(state, failure.key)
    if pause is not None:
        if not trial:  # it began before the pause did
            return state
        others = tuple(one for one in state if one is not pause)
        if not failure.is_quick:
            return others
        tried = (*(one for one in pause.tried if one != failure.item), failure.item)[-_MOST_TRIED:]
        return (*others, _paused(replace(pause, last=failure, attempts=pause.attempts + 1, tried=tried), now))
    if not failure.is_quick:
        return state
    known = next((one for one in state if one.is_alike(failure)), None)
    others = tuple(one for one in state if one is not known)
    count = known.attempts if known is not None else 0
    items = known.items if known is not None else ()
    if failure.item not in items:
        items = (*items, failure.item)[:_ITEMS]
    seen = Trouble(last=failure, at=now, attempts=count + 1, items=items)
    if seen.attempts < _ATTEMPTS or len(items) < _ITEMS:
        return (*others, seen)
    return (*(one for one in others if one.key != failure.key), _paused(replace(seen, tried=items), now))


def _paused(trouble: Trouble, now: str) -> Trouble:
    """Begin the pause, or its next wait."""
    return replace(
        trouble, at=now, until=later(now, _wait_seconds(trouble.waits)), waits=trouble.waits + 1, trial=False
    )


def _tried(trouble: Trouble, now: str) -> Trouble:
    """Let the next trial wait as long as this one did; that is also what follows when nobody tells of its end.

    So no trial has to be looked after: it may be killed, and it may take hours, which itself says something.
    """
    return replace(trouble, until=later(now, _wait_seconds(max(0, trouble.waits - 1))), trial=True)


def _wait_seconds(waits: int) -> float:
    return min(_LONGEST_SECONDS, _FIRST_SECONDS * 2.0 ** min(waits, 10))


def _remembered(state: State, now: str) -> State:
    suspected, tried = later(now, -_SUSPECTED_SECONDS), later(now, -_UNTRIED_SECONDS)
    return tuple(one for one in state if (one.at > suspected if one.until is None else one.until > tried))


def pause_of(state: Iterable[Trouble], key: str) -> Trouble | None:
    """Return the pause of `key`, if there is one; there is never more than one."""
    return next((one for one in state if one.key == key and one.until is not None), None)


def costs_nothing(state: State, failure: Failure) -> bool:
    """Tell whether this failure only says again what the pause is for, and so says nothing about its item."""
    pause = pause_of(state, failure.key)
    return pause is not None and failure.is_quick and pause.is_alike(failure)
