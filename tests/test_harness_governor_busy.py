"""Workers and a busy service: how many work on one account at once."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import MutableSequence
from multiprocessing.context import ForkProcess
from pathlib import Path

import pytest

from parallel_loop.harness.accounts import account, standing
from parallel_loop.harness.accounts.account_file import AccountFile, Using
from parallel_loop.harness.dialects.events import Step
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Record
from support.accounts import PAID, Stand, some
from support.pausing import add_all, with_clock
from support.queues import Clock
from support.runs import make_project
from support.taking import claimed
from support.waiting import eventually

_HAS_ENDED = 1_000_000_000  # tries that nobody waits for


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", PAID), clock)


def test_a_busy_service_lets_half_as_many_work_at_once_and_no_more(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    crew = some(stands, project, 6)
    add_all(project, *"abcdefgh")
    claims = [claimed(stand) for stand in crew[:4]]
    record = crew[0].end(claims[0], "overload")
    assert (record.counted, record.not_before) == (False, None)
    crew[1].end(claims[1], "rate")
    assert crew[0].account("paid").cap == 2
    assert crew[4].taken() is None
    clock.advance(13)
    assert crew[4].taken() is None, "two of the four work still"
    crew[2].end(claims[2])
    assert crew[4].taken() == "a mine"
    clock.advance(5)
    assert crew[5].taken() is None
    crew[3].end(claims[3], "network", counted=True)
    assert crew[5].taken() == "b mine"
    assert crew[0].taken() is None


def test_a_claim_of_a_dead_worker_counts_until_it_is_taken_back(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    two = Stand(project, "agent-2")
    add_all(project, *"abc")
    claim, held = claimed(one), claimed(two)
    one.end(claim, "rate")
    clock.advance(13)
    assert one.account("paid").cap == 1
    two.taker.close()
    assert one.taken() is None
    assert project.queue.append(held.entry, Record(kind="released", at=project.queue.now(), outcome="died"))
    assert one.taken() == "a mine"


def test_a_cap_holds_for_processes_that_take_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SPACING_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(account, "_FIRST_BACK_OFF_SECONDS", 0.0)
    project = make_project(tmp_path / "r", PAID)
    add_all(project, *(f"i{number}" for number in range(8)))
    first = Stand(project, "agent-9")
    others = [Stand(project, f"agent-{number}") for number in (7, 8)]
    claims = [claimed(stand) for stand in others]
    first.end(claimed(first), "rate")
    assert first.account("paid").cap == 1
    for stand, claim in zip(others, claims, strict=True):
        stand.end(claim, "rate")
    note_use = AccountFile.note_use

    def note_late(file: AccountFile, agent: str, using: Using) -> None:
        time.sleep(0.05)  # as on a slow disk: who took meanwhile would see nothing of it
        note_use(file, agent, using)

    monkeypatch.setattr(AccountFile, "note_use", note_late)
    context = multiprocessing.get_context("fork")
    tries = context.Array("i", 4)
    crowd = [context.Process(target=_hold, args=(project.root, number, tries, 2)) for number in range(4)]
    for process in crowd:
        process.start()
    try:
        codes = eventually(lambda: _codes(crowd), 30.0)
    finally:
        for process in crowd:
            process.kill()
    assert codes == [0] * 4
    for stand in (first, *others):
        stand.taker.close()


def _codes(crowd: list[ForkProcess]) -> list[int | None]:
    """How they ended, once all of them have or one has failed."""
    codes = [process.exitcode for process in crowd]
    return [] if None in codes and not any(codes) else codes


def _hold(root: Path, number: int, tries: MutableSequence[int], left: int) -> None:
    """Take and end as many; while one is held, each of the others tries to take one and must not get it.

    Who gets one makes the same file, exclusively.
    """
    stand = Stand(Project.open(root), f"agent-{number + 1}")
    held = root.parent / "held"
    try:
        while left:
            claim = stand.governor.take(stand.taker)  # which does not rely on the lock of the choice before it
            tries[number] += 1
            if claim is None:
                continue
            os.close(os.open(held, os.O_CREAT | os.O_EXCL))
            wanted = [min(count + 2, _HAS_ENDED) for count in tries]  # the first may have begun before
            wanted[number] = 0
            eventually(lambda: all(count >= least for count, least in zip(tries, wanted, strict=True)))  # noqa: B023
            held.unlink()
            left -= 1
            stand.end(claim, "other", counted=False)
    finally:
        tries[number] = _HAS_ENDED
    stand.taker.close()


def test_a_failure_that_says_nothing_of_the_account_opens_it_only_if_the_model_answered(
    project: Project, clock: Clock, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, *"abcd")
    one.end(claimed(one), "rate")
    clock.advance(15)
    one.end(claimed(one), "other", counted=True, not_before="2099-01-01T00:00:00.000000Z")
    assert one.account("paid").waits == 1
    clock.advance(15)
    story = Story()
    story.take(Step())
    one.end(claimed(one), "other", story=story, counted=True)
    assert one.account("paid").waits == 0
