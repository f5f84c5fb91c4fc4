"""The table of a place's life: what holds whatever happens, in whatever order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from parallel_loop.coordinator.lifecycle import (
    TABLE,
    Action,
    Event,
    PlaceState,
    has_worker,
    next_state,
)

DEATHS = {Event.DIED, Event.DIED_TOO_OFTEN}
BURIALS = {Action.BURY, Action.BURY_AND_GIVE_UP}


class World:
    """A place as the world sees it: whether a process is there, and whether it was told to end."""

    def __init__(self) -> None:
        self.state = PlaceState.VACANT
        self.process = False
        self.told_to_end = False

    def happen(self, event: Event) -> Action | None:
        if event in DEATHS and not self.process:
            return None  # cannot be
        self.state, action = next_state(self.state, event)
        if action is Action.START:
            assert not self.process, "a second worker in one place"
            self.process, self.told_to_end = True, False
        elif action in {Action.ASK_TO_FINISH, Action.TERMINATE}:
            assert self.process, f"{action} of nobody"
            self.told_to_end = True
        elif action is Action.KILL:
            assert self.process, "killing nobody"
        elif action in BURIALS:
            assert event in DEATHS, "buried alive"
            self.process = False
        return action


@given(some.lists(some.sampled_from(Event)))
def test_a_place_has_at_most_one_process_and_its_state_says_so(happened: list[Event]) -> None:
    world = World()
    for event in happened:
        world.happen(event)
        assert world.process == has_worker(world.state)
        assert world.told_to_end == (world.state in {PlaceState.FINISHING, PlaceState.STOPPING}) or not world.process


@given(some.lists(some.sampled_from(Event)))
def test_no_death_goes_unburied(happened: list[Event]) -> None:
    world = World()
    for event in happened:
        was_there = world.process
        action = world.happen(event)
        if event in DEATHS and was_there:
            assert action in BURIALS


@given(some.lists(some.sampled_from(Event)))
def test_stop_leads_to_vacant_whatever_happened_before(happened: list[Event]) -> None:
    world = World()
    for event in (*happened, Event.STOP):
        world.happen(event)
    if world.process:
        assert world.told_to_end
        world.happen(Event.DIED)
        world.happen(Event.STOP)
    assert world.state is PlaceState.VACANT
    assert not world.process


@given(some.lists(some.sampled_from(Event)))
def test_while_wanted_a_place_gets_a_worker_unless_it_was_given_up(happened: list[Event]) -> None:
    world = World()
    for event in happened:
        world.happen(event)
    for _ in range(3):
        if world.state in {PlaceState.FINISHING, PlaceState.STOPPING}:
            world.happen(Event.DIED)
        world.happen(Event.PAUSE_OVER if world.state is PlaceState.WAITING else Event.WANTED)
    assert world.state in {PlaceState.FILLED, PlaceState.FAILING}


def test_every_state_is_reached_and_left() -> None:
    reached, before = {PlaceState.VACANT}, set()
    while reached != before:
        before = set(reached)
        reached |= {next_state(state, event)[0] for state in before for event in Event}
    assert reached == set(PlaceState)
    assert {state for (state, _), (after, _) in TABLE.items() if after is not state} == set(PlaceState)


@pytest.mark.parametrize(
    ("state", "event", "after", "action"),
    [
        (PlaceState.FILLED, Event.DIED, PlaceState.WAITING, Action.BURY),
        (PlaceState.FILLED, Event.DIED_TOO_OFTEN, PlaceState.FAILING, Action.BURY_AND_GIVE_UP),
        (PlaceState.FINISHING, Event.DIED, PlaceState.VACANT, Action.BURY),
        (PlaceState.FINISHING, Event.DIED_TOO_OFTEN, PlaceState.FAILING, Action.BURY_AND_GIVE_UP),
        (PlaceState.FILLED, Event.SILENT, PlaceState.FILLED, Action.KILL),
        (PlaceState.FILLED, Event.UNWANTED, PlaceState.FINISHING, Action.ASK_TO_FINISH),
        (PlaceState.WAITING, Event.WANTED, PlaceState.WAITING, None),
        (PlaceState.FAILING, Event.WANTED, PlaceState.FAILING, None),
        (PlaceState.FAILING, Event.UNWANTED, PlaceState.VACANT, None),
        (PlaceState.FILLED, Event.RECONFIGURED, PlaceState.FINISHING, Action.ASK_TO_FINISH),
        (PlaceState.FAILING, Event.RECONFIGURED, PlaceState.VACANT, Action.FORGIVE),
        (PlaceState.WAITING, Event.RECONFIGURED, PlaceState.WAITING, None),
    ],
)
def test_what_follows(state: PlaceState, event: Event, after: PlaceState, action: Action | None) -> None:
    assert next_state(state, event) == (after, action)
