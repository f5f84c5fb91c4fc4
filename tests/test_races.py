"""Git's own races reach no item: agents at work, maintenance in the background, another clone that pushes."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.races import race


@pytest.mark.parametrize(
    ("agents", "items"),
    [(3, 6), pytest.param(8, 128, marks=[pytest.mark.large, pytest.mark.timeout(0)])],
)
def test_no_race_of_git_costs_an_item_an_attempt(tmp_path: Path, agents: int, items: int) -> None:
    toll = race(tmp_path, agents, items)
    assert toll.done == items
    assert toll.attempts == {}
    assert toll.troubles == []
    assert toll.pushed > 0
    assert min(toll.maintenance.values()) > 0
