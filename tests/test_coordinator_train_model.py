"""The train against every kind of neighbour, in a world in which nothing takes time."""

from __future__ import annotations

from collections.abc import Set

from hypothesis import given
from hypothesis import strategies as st

from support.train_world import World

NAMES = [chr(ord("a") + number) for number in range(16)]
names = st.lists(st.sampled_from(NAMES), unique=True, min_size=1, max_size=16)
pairs = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=6)


def never(_landed: Set[str], _name: str) -> bool:
    return False


@given(names, st.sets(st.sampled_from(NAMES)), pairs, pairs)
def test_whatever_lands_passes_and_who_goes_with_what_landed_is_not_sent_back(
    waiting: list[str], bad: set[str], red_together: set[tuple[str, str]], in_conflict: set[tuple[str, str]]
) -> None:
    def passes(content: Set[str]) -> bool:
        return not content & bad and not any(set(pair) <= content and len(set(pair)) == 2 for pair in red_together)

    def conflicts(landed: Set[str], name: str) -> bool:
        return any(name in pair and (set(pair) - {name}) & landed for pair in in_conflict)

    world = World(passes, conflicts)
    world.drain(waiting)
    for before, tip in zip(world.tips, world.tips[1:], strict=False):
        assert passes(set(tip))
        assert tip[: len(before)] == before
    landed = set(world.landed_items)
    assert landed | set(world.sent_back) == set(waiting)
    for name, outcome in world.sent_back.items():
        guilty = conflicts(landed, name) if outcome == "conflict" else not passes(landed | {name})
        assert guilty, f"{name} was sent back with {outcome}"


@given(names, st.sets(st.sampled_from(NAMES), max_size=3), st.integers(0, 40))
def test_one_failure_that_does_not_come_again_is_nobodys_fault(waiting: list[str], bad: set[str], at: int) -> None:
    runs = 0

    def passes(content: Set[str]) -> bool:
        nonlocal runs
        runs += 1
        return runs - 1 != at and not content & bad

    world = World(passes, never)
    world.drain(waiting)
    assert set(world.landed_items) == set(waiting) - bad


@given(st.integers(0, 15))
def test_one_culprit_among_sixteen_takes_six_runs_beside_the_one_of_the_base(culprit: int) -> None:
    world = World(lambda content: NAMES[culprit] not in content, never)
    world.green.add(frozenset())
    assert world.drain(NAMES) == 1
    assert world.runs <= 6


@given(names, st.sets(st.sampled_from(NAMES)))
def test_no_more_runs_than_one_by_one_would_take_and_a_few(waiting: list[str], bad: set[str]) -> None:
    world = World(lambda content: not content & bad, never)
    world.drain(waiting)
    guilty = len(set(waiting) & bad)
    assert world.runs <= 2 + len(waiting) + 7 * guilty
