from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.contention import render, run_contention
from parallel_loop.coordinator.contention_claimer import ClaimerDied
from support.queues import names_in


@pytest.fixture
def faulty(monkeypatch):
    """Let the claimers' interpreters find the takers of `support`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return "support.faulty_takers:{}".format


def test_every_race_has_one_winner_and_the_losers_lost_at_the_link(tmp_path) -> None:
    result = run_contention(tmp_path / "new", iterations=60, claimers=6, seed=1)
    assert result.winners == {1: 60}
    assert result.violations == ()
    assert (result.iterations, result.claimers, result.lost) == (60, 6, 300)
    assert result.lost_at_the_link > 0.9 * result.lost
    assert sum(result.wins.values()) == 60
    assert len([name for name, wins in result.wins.items() if wins]) > 1
    assert 0 < result.winner.p50_us <= result.winner.p99_us <= result.winner.worst_us
    assert names_in(tmp_path / "new") == []
    text = render(result)
    assert "60 x 1 winner" in text
    assert "violations: 0" in text
    assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result


def test_a_taker_that_checks_and_then_creates_is_caught(tmp_path, faulty) -> None:
    result = run_contention(tmp_path, iterations=20, claimers=4, taker=faulty("CheckThenCreate"))
    assert max(result.winners) > 1
    doubled = [violation for violation in result.violations if len(violation.winners) > 1]
    assert all("winners instead of 1" in violation.problem for violation in doubled)
    assert doubled
    assert result.kept is not None
    assert Path(result.kept).parent == tmp_path
    assert f"kept in {result.kept}" in render(result)


def test_a_taker_that_never_takes_is_caught(tmp_path, faulty) -> None:
    result = run_contention(tmp_path, iterations=2, claimers=2, taker=faulty("Shy"))
    assert result.winners == {0: 2}
    assert [violation.problem for violation in result.violations] == ["0 winners instead of 1"] * 2
    assert "iteration 2, race-000002" in render(result)


def test_records_that_say_something_else_are_caught(tmp_path, faulty) -> None:
    result = run_contention(tmp_path, iterations=2, claimers=2, taker=faulty("Forgetful"))
    assert result.violations[0].problem == "the records say claimed instead of claimed, done"


def test_a_claimer_that_dies_is_named_with_what_it_said(tmp_path, faulty) -> None:
    with pytest.raises(ClaimerDied, match="this claimer dies"):
        run_contention(tmp_path, iterations=2, claimers=2, taker=faulty("Dying"))
    with pytest.raises(ClaimerDied, match="No module named"):
        run_contention(tmp_path, iterations=2, claimers=2, taker="nowhere:Nothing")
    assert names_in(tmp_path) == []


def test_one_claimer_alone_always_wins(tmp_path) -> None:
    result = run_contention(tmp_path, iterations=3, claimers=1)
    assert result.winners == {1: 3}
    assert (result.lost, result.loser.worst_us) == (0, 0.0)
    assert "losers: 0" in render(result)
