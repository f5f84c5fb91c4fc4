"""What state an item is in: a pure function of its chain, of its dependencies and of the time."""

from __future__ import annotations

from collections.abc import Callable

from .records import Entry, State

_STATE_AFTER: dict[str, State] = {
    "claimed": "working",
    "landing": "landing",
    "done": "done",
    "failed": "failed",
    "waiting": "waiting",
    "cancelled": "cancelled",
}


def state_of(entry: Entry, is_done: Callable[[str], bool], now: str) -> State:
    """Return the state of `entry` at `now`; `is_done` tells it of a dependency, by id."""
    last = entry.last
    if last is not None and last.kind in _STATE_AFTER:
        return _STATE_AFTER[last.kind]
    if not all(is_done(dependency) for dependency in entry.item.after):
        return "blocked"
    if last is not None and last.not_before is not None and last.not_before > now:
        return "delayed"
    return "ready"
