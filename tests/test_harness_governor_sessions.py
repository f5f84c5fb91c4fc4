"""Sessions that go on only where they were: how long their items wait for that agent."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.project import Project
from support.accounts import SESSIONS, Stand, some
from support.pausing import add_all, with_clock
from support.queues import Clock
from support.runs import make_project
from support.taking import claimed


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "s", SESSIONS + "after_limit: {slack: 0s, jitter: 0s}\n"), clock)


@pytest.fixture
def pair(project: Project, stands: contextlib.ExitStack) -> list[Stand]:
    """Two workers, of which agent-1 gives signs of life."""
    made = some(stands, project, 2)
    Heart(project.state.agent("agent-1"), 5.0).tell("idle")
    return made


def test_a_session_waits_a_minute_for_its_agent_which_takes_it_first(
    project: Project, clock: Clock, pair: list[Stand]
) -> None:
    one, two = pair
    add_all(project, "b")
    one.end(claimed(one), "usage", resets_in=600.0, session="s-1")
    add_all(project, "a", priority=0)
    clock.advance(600)
    assert two.taken() == "a mine"
    assert two.taken() is None
    clock.advance(5)
    assert two.taken() is None, "b is that of agent-1"
    assert 50 < two.governor.seconds_until_due < 56
    add_all(project, "c", priority=0)
    assert one.taken() == "b mine", "first, however urgent another is"
    clock.advance(5)
    assert two.taken() == "c mine"
    assert AccountFile(project).look().kept == ()


def test_a_session_whose_agent_is_busy_for_a_minute_or_gone_is_begun_anew(
    project: Project, clock: Clock, pair: list[Stand]
) -> None:
    one, two = pair
    add_all(project, "a", "b")
    one.end(claimed(one), "network", session="s-1", counted=True)
    assert two.taken() == "b mine"
    assert two.taken() is None
    clock.advance(60)
    assert two.taken() == "a mine"
    add_all(project, "c")
    claim = claimed(one)
    one.end(claim, "network", session="s-2", counted=True)
    assert two.taken() is None
    project.state.agent("agent-1").heartbeat.unlink()
    assert two.taken() == "c mine"


def test_a_session_waits_no_longer_by_a_clock_that_was_put_back(clock: Clock, pair: list[Stand]) -> None:
    one, two = pair
    add_all(one.project, "a")
    one.end(claimed(one), "network", session="s-1", counted=True)
    assert two.taken() is None
    clock.advance(-3600)
    assert two.taken() == "a mine"
