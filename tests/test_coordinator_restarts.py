"""The budget of a place: how often its workers may die, and the pauses in between; with a clock of the test's own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from parallel_loop.coordinator.restarts import STABLE_SECONDS, Restarts, restart_pause_seconds


def deaths_until_given_up(lived_seconds: list[float], most: int) -> tuple[int, float]:
    """Let workers die after living that long each, again and again; return how many it took, and the clock then."""
    restarts, clock, count = Restarts(), 0.0, 0
    while not restarts.are_spent(most):
        lived = lived_seconds[count % len(lived_seconds)]
        clock += lived
        restarts.note_death(lived, achieved=False)
        clock += restarts.pause_seconds(0.0)
        count += 1
        if count > 1000:
            break
    return count, clock


@pytest.mark.parametrize("most", [1, 5, 20])
def test_workers_that_die_at_once_are_started_so_often_and_no_more(most: int) -> None:
    count, clock = deaths_until_given_up([0.0], most)
    assert count == most + 1
    assert clock == sum(restart_pause_seconds(deaths, 0.0) for deaths in range(1, most + 2))


def test_the_budget_is_whole_again_after_ten_minutes_without_a_death() -> None:
    assert deaths_until_given_up([STABLE_SECONDS], 5)[0] == 6, "not quite"
    assert deaths_until_given_up([0.0, 0.0, 0.0, 0.0, STABLE_SECONDS + 1], 5)[0] == 1001, "never"


def test_a_worker_that_brought_an_item_to_its_end_did_not_die_of_what_killed_the_one_before() -> None:
    restarts = Restarts()
    for _ in range(3):
        restarts.note_death(1.0, achieved=False)
    restarts.note_death(1.0, achieved=True)
    assert (restarts.deaths_in_a_row, restarts.total) == (1, 4)
    assert restarts.pause_seconds(1.0) == 0.0


def test_starts_that_come_to_nothing_use_the_budget_and_are_no_restarts() -> None:
    restarts = Restarts()
    for _ in range(3):
        restarts.note_refusal()
    assert restarts.are_spent(2)
    assert restarts.total == 0
    restarts.forgive()
    assert not restarts.are_spent(1)


def test_the_first_restart_is_at_once_and_the_pauses_then_double_up_to_a_minute() -> None:
    assert [restart_pause_seconds(deaths, 0.0) for deaths in range(1, 10)] == [0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert restart_pause_seconds(10_000, 0.0) == 60


@given(some.integers(0, 2000), some.floats(0, 1))
def test_jitter_adds_at_most_a_quarter(deaths: int, jitter: float) -> None:
    plain = restart_pause_seconds(deaths, 0.0)
    assert plain <= restart_pause_seconds(deaths, jitter) <= plain * 1.25
