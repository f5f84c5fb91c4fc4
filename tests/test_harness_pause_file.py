"""What workers share of failing programs, in one file: damaged, locked, and changed by many at once."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import msgspec
import pytest

from parallel_loop.harness import changing
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.pausing.pauses import Failed, Resumed, TrialBegun
from parallel_loop.harness.project import Project
from support.forks import Crew, Line
from support.pausing import MINE, add_all, pause, with_clock
from support.queues import Clock
from support.runs import make_project
from support.taking import claimed


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", MINE), clock)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'["\xff"]', b"[" * 100_000, b'[{"last": {}}]'])
def test_a_file_that_cannot_be_read_is_as_good_as_none(project: Project, content: bytes) -> None:
    stand = pause(project)
    add_all(project, "a", "b")
    project.state.pauses.write_bytes(content)
    claim = claimed(stand)
    stand.end(claim)
    assert [one.attempts for one in PauseFile(project).look()] == [1]
    stand.taker.close()


def test_what_cannot_be_written_or_locked_stops_no_work(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = pause(project)
    add_all(project, "a")
    add_all(project, "y", program="yours")
    monkeypatch.setattr(changing, "_PATIENCE_SECONDS", 0.0)
    descriptor = os.open(project.state.pauses_lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    clock.advance(60)
    claim = claimed(stand)
    assert claim.item.id == "y", "no trial that nobody else knows of"
    record = stand.end(claim)
    assert record is not None
    assert record.counted
    with pytest.raises(OSError, match="does not go on") as caught:
        PauseFile(project).change(Resumed("mine"))
    assert caught.value.errno == errno.ETIMEDOUT
    os.close(descriptor)
    assert stand.taken() == "a"
    stand.taker.close()


def test_of_many_processes_that_fail_at_once_no_failure_is_lost_and_one_begins_the_trial(project: Project) -> None:
    pause(project).taker.close()
    crowd = 12

    def fail_and_try(line: Line) -> None:
        own = Project(project.root, project.config, project.state)
        own.queue.now = lambda: "2026-01-01T00:00:30.000000Z"
        file = PauseFile(own)
        for order in line.orders():
            if order == "try":
                own.queue.now = lambda: "2026-01-01T01:00:00.000000Z"
                before, after = file.change(TrialBegun("mine"))
                line.say(str(before != after))
            else:
                file.change(failure(project, order))
                line.say("failed")

    with Crew() as crew:
        members = [crew.start(fail_and_try) for _ in range(crowd)]
        for number, member in enumerate(members):
            member.order(f"program-{number}")
        assert {member.heard() for member in members} == {"failed"}
        assert len(PauseFile(project).look()) == 1 + crowd
        for member in members:
            member.order("try")
        assert sorted(member.heard() for member in members) == ["False"] * (crowd - 1) + ["True"]


def failure(project: Project, key: str) -> object:
    (known, *_) = (one for one in PauseFile(project).look() if one.until is not None)
    return Failed(msgspec.structs.replace(known.last, key=key, program=key))
