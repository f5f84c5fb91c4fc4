"""The file in which workers keep what is known of accounts, whatever a program or a disk makes of it."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
from pathlib import Path

import pytest

from parallel_loop.harness import changing
from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.accounts.events import Begun, Limited, Resumed
from parallel_loop.harness.accounts.standing import State
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import later
from support.accounts import PAID, SESSIONS, some
from support.pausing import add_all, with_clock
from support.queues import Clock
from support.runs import make_project
from support.taking import claimed


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", PAID), clock)


def test_changes_wake_who_waits_and_what_cannot_be_read_is_empty(project: Project) -> None:
    file = AccountFile(project)
    file.change(Limited("paid", project.queue.now(), "x", later(project.queue.now(), 60.0)))
    heard = project.queue.bell.heard()
    file.change(Resumed("paid"))
    assert project.queue.bell.heard() != heard
    project.state.accounts.write_bytes(b"\xff")
    assert file.look() == State()
    file.change(Begun("paid"))
    assert file.look() == State()


@pytest.mark.parametrize(
    "content",
    [
        b'{"accounts": [{"name": "\xff", "at": "2026-01-01T00:00:00.000000Z"}]}',
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"accounts": [{"name": "mine", "at": "x", "standing": "limited"}]}',
        b'{"accounts": [{"name": "mine", "at": "2026-13-99T00:00:00.000000Z", "standing": "limited"}]}',
        b'{"kept": [{"item": "a", "agent": "agent-2", "account": "mine", "at": "soon"}]}',
        b'{"accounts": "none", "version": 9}',
    ],
    ids=["bytes", "deep", "no time", "no such month", "session", "shape"],
)
def test_a_file_that_a_program_wrote_stops_nobody(
    project: Project, stands: contextlib.ExitStack, content: bytes
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    project.state.accounts.write_bytes(content)
    one.end(claimed(one), "usage", resets_in=60.0)
    assert len(AccountFile(project).look().accounts) == 1


@pytest.mark.parametrize("put", ["mkdir {0} && touch {0}/x", "mkfifo {0}", "ln -s /dev/zero {0}", "ln -s nowhere {0}"])
def test_what_a_program_puts_in_place_of_file_or_lock_is_moved_aside(
    project: Project, stands: contextlib.ExitStack, put: str
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    for path in (project.state.accounts, project.state.accounts_lock):
        path.unlink(missing_ok=True)
        subprocess.run(["/bin/sh", "-c", put.format(path)], check=True)
    record = one.end(claimed(one), "usage", resets_in=60.0, not_before="2026-01-01T00:00:05.000000Z")
    assert record.not_before is None, "the account says when"
    assert one.take() is None


@pytest.mark.parametrize("after_limit", ["", "\nafter_limit: {window: '01:00-02:00'}\n"])
def test_a_limit_until_the_last_of_all_days_is_waited_for(
    tmp_path: Path, stands: contextlib.ExitStack, after_limit: str
) -> None:
    project = make_project(tmp_path / "last", SESSIONS + after_limit)
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    known = b'{"name": "mine", "at": "2026-01-01T00:00:00.000000Z", "standing": "limited", "until": "%s"}'
    project.state.accounts.write_bytes(b'{"accounts": [' + known % b"9999-12-31T23:59:59.999999Z" + b"]}")
    assert one.take() is None


def test_what_cannot_be_written_stops_no_work(
    project: Project, monkeypatch: pytest.MonkeyPatch, stands: contextlib.ExitStack
) -> None:
    (one,) = some(stands, project, 1)
    add_all(project, "a")
    claim = claimed(one)
    monkeypatch.setattr(changing, "_PATIENCE_SECONDS", 0.0)
    with project.state.accounts_lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        record = one.end(claim, "usage", resets_in=60.0, not_before="2026-01-01T00:00:05.000000Z")
    assert record.not_before is not None, "then it waits a moment by itself"
