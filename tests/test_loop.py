"""The single-agent loop: the same queue, one process, no coordinator."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from parallel_loop import loop
from parallel_loop.coordinator.alone import LoopOrders
from parallel_loop.coordinator.control import Wanted, read_wanted, request, write_wanted
from parallel_loop.coordinator.lock import read_holder
from parallel_loop.harness.project import Project
from parallel_loop.loop import _heal_what_is_overlooked
from parallel_loop.queue.healing import heal
from parallel_loop.queue.imports import write_import
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Taker
from support.landing import landed_items
from support.repository import git
from support.runs import PATIENCE_SECONDS, add, events, kinds, living, make_project, running, states
from support.taking import claimed
from support.waiting import eventually

ROOT = Path(__file__).parent.parent
LOOP = str(ROOT / "loop.py")


def with_environment(project: Project, **variables: str) -> Project:
    return Project(project.root, project.config, project.state, {**project.environ, **variables})


@pytest.mark.parametrize("how", ["loop.py", "PARALLEL_MODE", "configuration"])
def test_all_three_ways_drain_the_queue_and_land_without_a_coordinator(tmp_path: Path, how: str) -> None:
    config = "checks: ['test -e README']\n" + ("parallel_mode: false\n" if how == "configuration" else "")
    project = make_project(tmp_path / "r", config)
    add(project, "one")
    add(project, "two", after=("one",))
    add(project, "fails", "exit 1", max_attempts=2)
    if how == "PARALLEL_MODE":
        project = with_environment(project, PARALLEL_MODE="false")
    with running(project, "--drain", main=LOOP if how == "loop.py" else "") as run:
        assert run.wait() == 1, run.output
    assert states(project) == {"one": "done", "two": "done", "fails": "failed"}
    assert landed_items(project, "main") == ["one", "two"]
    assert "started" not in [event["event"] for event in events(project)], "no second process"
    assert git(project.root, "status", "--porcelain") == ""
    if how == "loop.py":
        with running(project, "--drain", main=LOOP) as run:
            assert run.wait() == 0, "what failed before does not count"


def test_the_first_signal_finishes_and_lands_the_item_in_hand(tmp_path: Path) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r")
    add(project, "in-hand", f"until test -e {go}; do sleep 0.02; done; echo x > x")
    add(project, "later")
    with running(project, main=LOOP) as run:
        until_program(run.process.pid)
        run.send(signal.SIGINT)
        go.touch()
        assert run.wait() == 0, run.output
    assert states(project) == {"in-hand": "done", "later": "ready"}
    assert landed_items(project, "main") == ["in-hand"]


def test_the_second_signal_gives_the_item_back_at_no_cost_and_leaves_nothing_running(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "long", "sleep 1000 & exec sleep 1000")
    with running(project, main=LOOP) as run:
        until_program(run.process.pid)
        run.send(signal.SIGTERM)
        run.send(signal.SIGINT)
        assert run.wait() == 130, run.output
        assert living(project) == []
    entry = project.queue.entry("long")
    assert entry is not None
    assert entry.last is not None
    assert (entry.last.kind, entry.last.counted) == ("released", False)


def test_what_a_person_wants_becomes_orders_the_next_time_it_waits(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    told: list[None] = []
    with signals_as_they_were():
        orders = LoopOrders(project, lambda: told.append(None))
        for wanted, expected in [
            (Wanted(agents=1), (False, False, False)),
            (Wanted(agents=1, paused=True), (True, False, False)),
            (Wanted(agents=1), (False, False, False)),
            (Wanted(agents=1, ending="finish"), (False, True, False)),
            (Wanted(agents=1, ending="stop"), (False, True, True)),
        ]:
            write_wanted(project.state, wanted)
            orders.wait(0.0)
            assert (orders.paused, orders.finishing, orders.stopping) == expected
    assert len(told) == 5


@contextmanager
def signals_as_they_were() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_it_is_stopped_by_request_and_its_status_is_shown(tmp_path: Path) -> None:
    project = with_environment(make_project(tmp_path / "r"), PARALLEL_MODE="false")
    with running(project) as run:
        eventually(lambda: read_wanted(project.state) == Wanted(agents=1), PATIENCE_SECONDS)
        eventually(lambda: run.snapshot().agents, PATIENCE_SECONDS)
        request(project, paused=True)
        assert run.snapshot().coordinator.state == "paused"
        assert run.snapshot().coordinator.pid == run.process.pid
        request(project, ending="finish")
        assert run.wait() == 0, run.output
    assert read_holder(project.state.coordinator_lock) is None


@pytest.mark.parametrize("left", ["nothing", "done", "hint", "import", "claim"])
def test_it_reads_the_whole_queue_to_heal_only_when_something_is_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    project = make_project(tmp_path / "r")
    queue = project.queue
    if left != "nothing":
        add(project, "one")
    if left == "hint":  # as after a kill between the item and its hint
        shutil.rmtree(queue.layout.ready)
        queue.layout.ready.mkdir()
    if left in {"done", "claim"}:
        taker = Taker(queue, Owner("agent-9", os.getpid()))
        claim = claimed(taker)
        if left == "done":
            taker.end(claim, Record(kind="done", at=queue.now()))
        taker.close()
    if left == "import":
        queue.append(project.queue.entry("one"), Record(kind="failed", at=queue.now()))
        write_import(queue.layout, [Item(id="two", title="two", added_at=queue.now())], durable=False)
    healed: list[str] = []
    monkeypatch.setattr(loop, "heal", lambda *given: healed.append("healed") or heal(*given))
    _heal_what_is_overlooked(project, Survey(queue))
    assert bool(healed) == (left in {"hint", "import", "claim"})
    if left in {"hint", "import"}:
        taker = Taker(queue, Owner("agent-1", os.getpid()))
        assert taker.take() is not None
        taker.close()


def test_beside_a_coordinator_it_is_refused(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    with running(project, "--agents", "1") as run:
        eventually(lambda: read_holder(project.state.coordinator_lock), PATIENCE_SECONDS)
        answer = subprocess.run(
            [sys.executable, LOOP, "--drain"],
            cwd=project.root,
            env=dict(project.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert answer.returncode == 3
        assert f"pid {run.process.pid}" in answer.stderr


def test_killed_it_leaves_its_item_to_the_next_one_and_its_program_ends_with_it(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = make_project(tmp_path / "r")
    add(project, "long", f"test -e {flag} || {{ touch {flag}; exec sleep 1000; }}; echo x > x")
    with running(project, main=LOOP) as run:
        until_program(run.process.pid)
        eventually(flag.exists, PATIENCE_SECONDS)
        run.process.kill()
        run.wait()
        eventually(lambda: living(project) == [], PATIENCE_SECONDS)  # its keeper has ended it
        with running(project, "--drain", main=LOOP) as second:
            assert second.wait() == 0, second.output
        assert living(project) == []
    assert kinds(project, "long") == ["claimed", "released", "claimed", "landing", "done"]


def until_program(pid: int) -> psutil.Process:
    """Wait until the process has a program running."""

    def programs() -> list[psutil.Process]:
        with contextlib.suppress(psutil.Error):  # one of git's that ended meanwhile
            return [child for child in psutil.Process(pid).children(recursive=True) if child.name() in {"sh", "sleep"}]
        return []

    (found, *_) = eventually(programs, PATIENCE_SECONDS)
    return found
