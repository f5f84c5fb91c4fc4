"""Items whose account is at its limit: when another program makes the attempt."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from parallel_loop.harness.project import Project
from support.accounts import PAID, Stand, some
from support.pausing import add_all, with_clock
from support.queues import Clock
from support.runs import happened, make_project
from support.taking import claimed


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", PAID), clock)


def paused_by(stand: Stand) -> list[object]:
    """Three attempts, the next that there are, fail alike; return the programs that are paused then."""
    for _ in range(3):
        late = "2099-01-01T00:00:00.000000Z"
        stand.end(claimed(stand), "other", seconds=1.0, counted=True, not_before=late)
    return [event["program"] for event in happened(stand.project, "program-paused")]


def test_a_role_falls_back_while_its_account_is_parked_and_only_then(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "a", "b", "c", program=None, role="builder")
    add_all(project, "named", role="builder")
    first = claimed(one)
    assert first.item.program is None
    one.end(first, "usage", resets_in=600.0)
    claim = claimed(two)
    assert (claim.item.id, claim.item.program) == ("a", "yours")
    entry = project.queue.entry("a")
    assert entry is not None
    assert entry.item.program is None, "the item stays as it is"
    two.end(claim, "usage", resets_in=60.0)
    assert two.taken() is None, "both are at their limits, and `named` keeps to its program"
    clock.advance(60)
    assert two.taken() == "a yours"
    clock.advance(540)
    assert one.taken() == "b mine"


def test_a_busy_service_is_waited_for(project: Project, stands: contextlib.ExitStack) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a", program=None, role="builder")
    one.end(claimed(one), "overload")
    assert one.taken() is None


def test_a_fallback_that_is_paused_is_no_way_out(project: Project, stands: contextlib.ExitStack) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "x", "y", "z", program="yours", priority=0)
    assert paused_by(one) == ["yours"]
    add_all(project, "a", "b", program=None, role="builder")
    add_all(project, "c")
    claim = claimed(one)
    assert claim.item.id == "a", "a program of its own that is not paused"
    one.end(claim, "usage", resets_in=600.0)
    assert two.taken() is None


def test_an_own_program_that_is_paused_is_no_reason_against_the_fallback(
    project: Project, stands: contextlib.ExitStack
) -> None:
    one, two = some(stands, project, 2)
    add_all(project, "x", "y", "z", priority=0)
    add_all(project, "w", program="ours", priority=1)
    assert paused_by(one) == ["mine"]
    add_all(project, "a", program=None, role="builder")
    one.end(claimed(one), "usage", resets_in=600.0)
    assert two.taken() == "a yours"
