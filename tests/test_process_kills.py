"""Real runs that are killed at random moments: nothing is lost, nothing is done twice, nothing is left running.

`PYTHONPATH=tests python tests/support/crash.py FROM TO` runs more schedules.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.crash import kill_and_finish


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(1, 10))])
def test_whatever_is_killed_whenever_every_item_ends_exactly_once(tmp_path: Path, seed: int) -> None:
    kill_and_finish(tmp_path / "repo", seed, kills=4, items=8)
