"""A few kills while the target follows, in each kind of checkout; `make checkout KILLS=200` has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.checkout_ground import VARIANTS
from support.checkout_kills import Kills


def test_under_kills_of_a_fast_forward_every_edit_stays_as_it_is(tmp_path: Path) -> None:
    kills = Kills(tmp_path, seed=3, files=90, variants=("plain", "sparse"))
    assert kills.run(6) == [], kills.report()
    assert kills.counts["kills"] == 6


@pytest.mark.large
@pytest.mark.timeout(1200)
def test_under_200_kills_of_a_fast_forward_in_every_kind_of_checkout_every_edit_stays_as_it_is(tmp_path: Path) -> None:
    kills = Kills(tmp_path, seed=2)
    assert kills.run(200) == [], kills.report()
    assert {ground.checkout.variant for ground in kills._grounds} == set(VARIANTS)
    assert kills.counts["in mid-step"] > 50
