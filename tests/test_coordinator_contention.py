from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.contention import run_contention
from parallel_loop.coordinator.contention_claimer import ClaimerDied
from parallel_loop.coordinator.contention_drain import run_drain
from parallel_loop.coordinator.contention_report import render, render_drain, render_round
from parallel_loop.queue import atomic
from parallel_loop.queue.atomic import NoHardLinks
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
    assert [len(found.winners) for found in result.rounds] == [1] * 60
    assert max(found.winner_us for found in result.rounds) == result.winner.worst_us
    assert max(found.losers.worst_us for found in result.rounds) == result.loser.worst_us
    assert (result.directory, all(trial.works for trial in result.probed)) == (str(tmp_path / "new"), True)
    text = render(result)
    assert "60 x 1 winner" in text
    assert f"in {tmp_path / 'new'}, on {result.file_system}; tried there and fit: hard links, locks" in text
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


def test_each_race_is_told_when_it_is_over(tmp_path, faulty) -> None:
    told = []
    result = run_contention(tmp_path, iterations=2, claimers=2, on_round=told.append)
    assert tuple(told) == result.rounds
    assert [found.iteration for found in told] == [1, 2]
    line = render_round(told[1])
    assert line.startswith(f"iteration 2: {told[1].winners[0]} won in ")
    assert "losers: p50" in line
    (wrong,) = run_contention(tmp_path, iterations=1, claimers=2, taker=faulty("Shy")).rounds
    assert render_round(wrong).startswith("iteration 1: nobody won; losers: p50")
    assert render_round(wrong).endswith("VIOLATION: 0 winners instead of 1")


def test_a_drain_completes_each_item_exactly_once(tmp_path) -> None:
    result = run_drain(tmp_path / "new", items=400, claimers=4, seed=1)
    assert (result.items, result.violations, result.kept) == (400, (), None)
    assert sum(result.served.values()) == 400
    assert result.late == 20
    assert result.least_share == min(result.served.values()) / 100
    assert result.items_per_second == pytest.approx(400 / result.seconds)
    assert 0 < result.take.p50_us <= result.take.p99_us <= result.take.worst_us
    assert names_in(tmp_path / "new") == []
    text = render_drain(result)
    assert "400 items, 4 processes" in text
    assert "% of an equal share" in text
    assert "ended from outside on purpose, and so done twice: 20" in text
    assert "violations: 0" in text
    assert msgspec.json.decode(msgspec.json.encode(result), type=type(result)) == result


@pytest.mark.parametrize(
    ("taker", "problem"),
    [
        ("CheckThenCreate", "winners instead of 1"),
        ("Shy", "0 winners instead of 1"),
        ("Lazy", "0 winners instead of 1"),
        ("Forgetful", "the records say claimed instead of claimed, done"),
    ],
)
def test_a_drain_catches_a_faulty_taker_and_keeps_the_files(tmp_path, faulty, taker, problem) -> None:
    result = run_drain(tmp_path, items=60, claimers=2, taker=faulty(taker))
    assert any(problem in violation.problem for violation in result.violations)
    assert result.kept is not None
    kept = Path(result.kept)
    assert names_in(kept) == ["claimer-1.log", "claimer-2.log", "queue"]
    assert len(list((kept / "queue/items").glob("*/*.json"))) == 60
    text = render_drain(result)
    assert f"kept in {result.kept}" in text
    assert ("more; --json names all" in text) == (len(result.violations) > 20)


@pytest.mark.parametrize(
    ("taker", "problem"),
    [("Modest", "the winner could not end its attempt"), ("Impostor", "won, but the claim names pid 1")],
)
def test_an_end_or_a_claim_that_is_not_the_winners_own_is_caught(tmp_path, faulty, taker, problem) -> None:
    raced = run_contention(tmp_path, 1, 1, taker=faulty(taker))
    drained = run_drain(tmp_path, 2, 1, taker=faulty(taker))
    assert [problem in violation.problem for violation in raced.violations] == [True]
    assert [problem in violation.problem for violation in drained.violations] == [True, True]


def test_what_was_never_added_and_what_is_taken_over_and_over_are_caught(tmp_path, faulty) -> None:
    dreamt = run_drain(tmp_path, items=10, claimers=2, taker=faulty("Dreaming"))
    assert [violation.item for violation in dreamt.violations] == ["dream"]
    greedy = run_drain(tmp_path, items=10, claimers=1, taker=faulty("Greedy"))
    assert greedy.violations[0].winners == ("claimer-1",) * 11


def test_links_that_cannot_be_believed_double_and_lose_nothing(tmp_path, faulty) -> None:
    taker = "support.faulty_links:OnUnreliableLinks"
    races = run_contention(tmp_path, iterations=30, claimers=3, taker=taker)
    assert races.violations == ()
    drained = run_drain(tmp_path, items=200, claimers=3, taker=taker)
    assert drained.violations == ()
    assert sum(drained.served.values()) == 200


def test_a_directory_without_hard_links_is_refused_and_left_as_it_was(tmp_path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(atomic.os, "link", refuse)
    for run in (run_contention, run_drain):
        with pytest.raises(NoHardLinks, match="has no hard links"):
            run(tmp_path, 1, 1)
    assert names_in(tmp_path) == []
