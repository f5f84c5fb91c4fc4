"""Who is stopped past everything and goes on when others have finished its work changes nothing any more.

`make fencing FROM=0 TO=10` makes 200 trials with a worker and 50 with a lander.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.harness.keeping import tree
from support.fencing import WorkerTrials, trial_of_a_lander


@pytest.fixture(autouse=True)
def _parent_of_orphans() -> None:
    tree.become_subreaper()


def test_a_late_worker_writes_no_outcome_no_branch_and_nothing_that_lands(tmp_path: Path) -> None:
    trials = WorkerTrials(tmp_path / "r", seed=0)
    trials.run(6)
    assert len(set(trials.stops)) > 1, "it was not always stopped at the same place"


@pytest.mark.parametrize("seed", [9, 19, 37])  # the last two land an empty merge if nothing names the lander
def test_a_late_lander_lands_nothing_twice_and_moves_nothing_back(tmp_path: Path, seed: int) -> None:
    assert trial_of_a_lander(tmp_path / "r", seed) != "(it was through)"
