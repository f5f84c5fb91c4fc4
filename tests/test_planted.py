"""What a program plants in place of our files: a link leads nobody out of our folder, and a pipe is not waited for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.coordinator.drawing.lines import EventTail
from parallel_loop.coordinator.lock import CoordinatorLock, read_holder, read_last_holder
from parallel_loop.coordinator.place import Place
from parallel_loop.harness import logs
from parallel_loop.harness.child import hold_for_life
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.state import AgentDirectory, StateDirectory, read_heartbeat
from support.harness import Workshop, make_workshop

OUTSIDE = b"the user's own\n"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.write_bytes(OUTSIDE)
    return path


Plant = Callable[[Path], None]


@pytest.fixture(params=["link", "pipe", "folder"])
def plant(request: pytest.FixtureRequest, outside: Path) -> Plant:
    """Put something in place of a file of ours."""

    def plant(path: Path) -> None:
        path.unlink(missing_ok=True)
        {"link": lambda: path.symlink_to(outside), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[
            request.param
        ]()

    return plant


def test_in_place_of_the_history(state: StateDirectory, outside: Path, plant: Plant) -> None:
    plant(state.events)
    assert not state.record_event("running")
    assert list(EventTail(state.events).read()) == []
    assert outside.read_bytes() == OUTSIDE


def test_in_place_of_a_log(state: StateDirectory, outside: Path, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 4)
    log = state.root / "log"
    plant(log)
    with pytest.raises(FileExistsError):
        logs.open_log(log)
    logs.bound_log(log)
    assert logs.output_tail(log) == ""
    assert outside.read_bytes() == OUTSIDE


def test_in_place_of_a_workers_log(state: StateDirectory, outside: Path, plant: Plant) -> None:
    agent = state.agent("agent-1")
    agent.create()
    plant(agent.worker_log)
    place = Place(agent, "json.tool", ())
    with pytest.raises(FileExistsError):
        place.start(dict(os.environ), state.root)
    place.keep_last_lines()
    assert (place.last_words(), place.last_lines) == ("", ())
    assert outside.read_bytes() == OUTSIDE


def test_in_place_of_locks(state: StateDirectory, outside: Path, plant: Plant) -> None:
    plant(state.coordinator_lock)
    with pytest.raises(FileExistsError):
        CoordinatorLock(state.coordinator_lock, *own_identity())
    with pytest.raises(FileExistsError):
        hold_for_life(state.coordinator_lock, "it")
    with pytest.raises(FileExistsError):
        read_holder(state.coordinator_lock)
    assert read_last_holder(state.coordinator_lock) is None
    assert outside.read_bytes() == OUTSIDE


def test_in_place_of_a_heartbeat(tmp_path: Path, outside: Path, plant: Plant) -> None:
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    heart = Heart(agent, 10.0)
    heart.tell("idle")
    plant(agent.heartbeat)
    heart.tell("working")
    beat = read_heartbeat(agent)
    if not agent.heartbeat.is_dir():  # nothing replaces that, and its worker counts as silent
        assert beat is not None
        assert beat.state == "working"
    assert outside.read_bytes() == OUTSIDE


@pytest.mark.parametrize("way", ["mkfifo", "ln -s {outside}", "mkdir"])
def test_in_place_of_an_attempts_log_while_it_is_made(tmp_path: Path, outside: Path, way: str) -> None:
    """The check that comes after the program is told in the same log."""
    shop: Workshop = make_workshop(tmp_path / "shop", "checks: ['true']\n")
    log = shop.project.state.agent("agent-1").attempt_log("one", 1)
    record = shop.work("one", f"echo 1 > 1; rm {log}; {way.format(outside=outside)} {log}")
    assert (record.outcome, str(log) in (record.why or "")) == ("error", True)
    assert outside.read_bytes() == OUTSIDE


def test_in_place_of_the_prompt_of_the_next_attempt(tmp_path: Path, outside: Path) -> None:
    shop = make_workshop(tmp_path / "shop")
    prompt = shop.project.state.agent("agent-1").prompt_file("one", 2)
    record = shop.work("one", f"[ -e {prompt} ] && echo 1 > 1 && exit; ln -s {outside} {prompt}; exit 1", attempts=2)
    assert (record.kind, prompt.is_symlink()) == ("landing", False)
    assert outside.read_bytes() == OUTSIDE


def test_in_place_of_the_file_in_which_a_program_says_that_it_waits(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "shop")
    wait = "$PARALLEL_LOOP_WAIT_FILE"
    said = f"echo 1 > 1; head -c 200 /dev/zero > {wait}; sleep 0.5; rm {wait}; mkfifo {wait}; sleep 0.5"
    assert shop.work("one", said).kind == "landing"
