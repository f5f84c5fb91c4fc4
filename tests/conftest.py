"""What holds for every test, and the fixtures that several modules share; a module that needs another has its own."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallel_loop.harness.keeping import tree
from parallel_loop.harness.state import StateDirectory
from parallel_loop.queue.store import Queue
from support.cli import CommandLine
from support.harness import Workshop, make_workshop, spare_others
from support.queues import Clock, make_queue
from support.repository import make_repository

# A shell starts background jobs with SIGINT ignored, and what we start inherits that: the tests of Ctrl-C would wait
# for ever wherever the tests themselves run in the background, as they may in CI.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def clock() -> Clock:
    """Time that only passes when it is looked at, or when a test says so."""
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Queue:
    """A queue with that time."""
    return make_queue(tmp_path / "queue", clock)


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Sets the time zone of this process, for as long as the test runs."""
    with pytest.MonkeyPatch.context() as patch:

        def live_in(name: str) -> None:
            patch.setenv("TZ", name)
            time.tzset()

        yield live_in
    time.tzset()


@pytest.fixture
def utc(zone: Callable[[str], None]) -> None:
    zone("UTC")


@pytest.fixture
def stands() -> Iterator[contextlib.ExitStack]:
    """What workers leave open, closed when the test ends: see support/accounts.py."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    state = StateDirectory(tmp_path / "state")
    state.create()
    return state


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker in this process finds all that it started, and ends nothing that other tests did."""
    tree.become_subreaper()
    spare_others(monkeypatch)


@pytest.fixture
def shop(tmp_path: Path, alone: None) -> Workshop:
    """A repository in which workers in this process make attempts."""
    return make_workshop(tmp_path / "repo")


@pytest.fixture
def actor_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where programs/actor.py keeps its sessions."""
    home = tmp_path / "actor"
    home.mkdir()
    monkeypatch.setenv("ACTOR_HOME", str(home))
    return home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A user's repository."""
    return make_repository(tmp_path / "repo")


@pytest.fixture
def cli(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, root)
