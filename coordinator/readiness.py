"""When the coordinator is up: every worker that is wanted has given a first sign of life, or it is known why not."""

from __future__ import annotations

from collections.abc import Sequence

from .lifecycle import PlaceState, has_worker
from .place import Place


def describe_readiness(wanted: Sequence[Place]) -> str | None:
    """Say in one line how the wanted places stand; None while one of them may still give its first sign of life."""
    up, troubles = 0, []
    for place in wanted:
        if place.state is PlaceState.WAITING:
            troubles.append(f"{place.name} waits to be started again: {place.note}")
        elif place.state is PlaceState.FAILING:
            troubles.append(f"{place.name} was given up: {place.note}")
        elif place.state is PlaceState.VACANT:
            troubles.append(f"{place.name} is not started while paused")
        elif has_worker(place.state) and place.heartbeat() is not None:
            up += 1
        else:
            return None
    agents = "agent" if len(wanted) == 1 else "agents"
    count = f"{up} {agents}" if up == len(wanted) else f"{up} of {len(wanted)} {agents}"
    return "; ".join([f"{count} up", *troubles])
