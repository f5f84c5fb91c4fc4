"""Hours in seconds (`make day`: days): the real coordinator, made-up processes; and the faults that a day finds."""

from __future__ import annotations

import pytest

from support.virtual.day import live_through
from support.virtual.faults import FAULTS
from support.virtual.world import Violation

_HOUR = 3600.0
_SEEDS = 10


@pytest.mark.parametrize(
    ("seed", "seconds"),
    [
        (1, 8 * _HOUR),
        *(pytest.param(seed, 4 * _HOUR, marks=pytest.mark.large) for seed in (4, 6)),  # in which all mishaps come
    ],
)
def test_a_day_loses_nothing_and_doubles_nothing(seed: int, seconds: float) -> None:
    day = live_through(seed, seconds)
    assert day.runs > seconds / (2 * _HOUR), "many coordinators followed one another"
    assert len(day.mishaps.ids) > seconds / 400
    assert all(day.mishaps.happened.get(name) for name in ("kill_worker", "kill_coordinator", "hang", "edit", "scale"))


def test_a_day_is_the_same_each_time() -> None:
    first, second = (live_through(11, _HOUR) for _ in range(2))
    assert first.mishaps.happened == second.mishaps.happened
    assert (first.world.now, next(first.world.pids)) == (second.world.now, next(second.world.pids))


@pytest.mark.parametrize("name", FAULTS)
def test_every_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, first = FAULTS[name]
    plant(monkeypatch)
    assert any(is_found(seed) for seed in range(first, first + _SEEDS))


def is_found(seed: int) -> bool:
    try:
        live_through(seed)
    except Violation:
        return True
    return False
