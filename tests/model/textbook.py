"""Two queues whose states are directories (`pending/`, `claimed/`, `done/`), as often built, as small machines.

In the one a claim is link, unlink, rename; in the other it is one rename. Nobody dies here: neither needs that to fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .states import Violation, turns


class Place(NamedTuple):
    """Where one item's file has a name, and, for the checks, how often it was claimed."""

    pending: bool = True
    claimed: bool = False
    done: bool = False
    claims: int = 0


class Actor(NamedTuple):
    """What a process does next; `claim` is the how-manieth of the item its own is."""

    step: str = "idle"
    item: int = 0
    claim: int = 0


State = tuple[tuple[Place, ...], tuple[Actor, ...], bool]  # and whether one claim may still be taken back


class Directories:
    """A queue of two items and three workers; `rename` chooses how a claim is made."""

    def __init__(self, *, rename: bool) -> None:
        self._rename = rename
        self.start: State = ((Place(), Place()), (Actor(),) * 3, rename)

    def progress(self, state: State) -> Iterator[State]:
        places, actors, chance = state
        for actor, others in turns(actors):
            if actor.step == "idle":
                for item, place in enumerate(places):
                    if place.pending:  # and the kernel has looked up the source of the link that is to be made
                        yield places, (*others, Actor("claim", item)), chance
            else:
                place, after = self._step(places[actor.item], actor)
                changed = (*places[: actor.item], place, *places[actor.item + 1 :])
                yield changed, tuple(sorted((*others, after))), chance

    def _step(self, place: Place, actor: Actor) -> tuple[Place, Actor]:
        step, item, claim = actor
        if step == "claim":
            if place.claimed or (self._rename and not place.pending):
                return place, Actor()
            if place.claims and not self._rename:
                raise Violation("two workers were given one item")
            taken = place._replace(claimed=True, claims=place.claims + 1, pending=place.pending and not self._rename)
            return taken, Actor("work" if self._rename else "unlink", item, taken.claims)
        if step == "unlink":
            return place._replace(pending=False), Actor("work", item, claim)
        if not place.claimed:
            return place, Actor()
        if claim != place.claims:
            raise Violation("an outcome by a worker whose claim was taken back")
        return place._replace(claimed=False, done=True), Actor()

    def mishaps(self, state: State) -> Iterator[State]:
        """Somebody takes a worker that is slow for one that hangs, and renames its item back."""
        places, actors, chance = state
        for item, place in enumerate(places):
            if chance and place.claimed:
                back = place._replace(claimed=False, pending=True)
                yield (*places[:item], back, *places[item + 1 :]), actors, False

    def check(self, state: State) -> None:
        for place in state[0]:
            if not any(place[:3]):
                raise Violation("an item is lost")

    def is_clean(self, state: State) -> bool:
        return all(place.done for place in state[0])
