"""A coordinator that dies: what its workers do then, as configured, and what the next coordinator does with them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import psutil
import pytest

from parallel_loop.coordinator.cli import main
from parallel_loop.coordinator.machine import is_place_taken
from parallel_loop.coordinator.target_report import LANDER
from parallel_loop.harness import runner
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.job import Job
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.state import Heartbeat
from support.cli import call
from support.harness import spare_others
from support.repository import attempt_git, git
from support.runs import (
    PATIENCE_SECONDS,
    WORKER,
    add,
    happened,
    kinds,
    last,
    living,
    make_project,
    running,
    states,
    waits_for,
)
from support.waiting import eventually

PRECIOUS = "extensions.preciousObjects"


# --- what a worker is told ------------------------------------------------------------------------------------------


@pytest.fixture
def stream() -> tuple[Orders, int]:
    """Orders, and where the coordinator would write them."""
    reader, writer = os.pipe()
    orders = Orders()
    orders.obey_stream(reader)
    return orders, writer


@pytest.mark.parametrize("policy", ["finish", "stop"])
def test_the_word_says_finish_whatever_is_to_be_done_at_a_death(stream: tuple[Orders, int], policy: str) -> None:
    orders, writer = stream
    orders.obey_death(policy)
    os.write(writer, b"finish\n")
    orders.wait(0.0)
    assert (orders.finishing, orders.stopping, orders.orphaned) == (True, False, False)
    assert orders.grace_seconds == float("inf")
    os.close(writer)


@pytest.mark.parametrize(("policy", "stopping"), [("finish", False), ("stop", True)])
@pytest.mark.parametrize("said", [b"", b"pause\n", b"finish\n"], ids=["nothing", "pause", "finish"])
@pytest.mark.parametrize("early", [True, False], ids=["before the configuration is read", "later"])
def test_the_end_of_the_stream_is_a_death_whatever_was_said_before(
    stream: tuple[Orders, int], policy: str, stopping: bool, said: bytes, early: bool
) -> None:
    orders, writer = stream
    if not early:
        orders.obey_death(policy)
    os.write(writer, said)
    os.close(writer)
    orders.wait(0.0)
    orders.wait(0.0)
    if early:
        orders.obey_death(policy)
    assert (orders.finishing, orders.stopping, orders.orphaned) == (True, stopping, True)
    assert (orders.grace_seconds < 1.0) == stopping
    assert not orders.terminated, "that would cost the item an attempt"


def test_a_program_that_an_orphan_stops_has_not_the_time_that_it_has_else(
    tmp_path: Path, stream: tuple[Orders, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    spare_others(monkeypatch)
    monkeypatch.setattr(runner, "POLITE_SECONDS", 1000.0)
    orders, writer = stream
    orders.obey_death("stop")
    up = tmp_path / "up"
    deaf = ("sh", "-c", f"trap '' TERM; touch {up}; while :; do sleep 0.05; done")

    def pulse(_watch: object) -> bool:
        if up.exists() and not orders.orphaned:
            os.close(writer)
        return True

    ended = runner.run(Job(deaf, tmp_path, dict(os.environ), tmp_path / "log", 60.0), orders, pulse)
    assert ended.ended == "stopped"


# --- real coordinators, really killed -------------------------------------------------------------------------------


def test_finish_records_the_outcome_claims_nothing_more_and_ends(tmp_path: Path) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r", "on_coordinator_death: finish")
    add(project, "in-hand", waits_for(go))
    with running(project, "--agents", "1") as run:
        run.until_working("in-hand")
        add(project, "later")
        run.kill()
        go.touch()
        eventually(lambda: living(project) == [], PATIENCE_SECONDS)
        assert kinds(project, "in-hand") in (["claimed", "landing"], ["claimed", "landing", "done"])
        assert kinds(project, "later") == []
        with running(project, "--agents", "1", "--drain") as second:
            assert second.wait() == 0, second.output
    assert happened(project, "adopted") == happened(project, "taken-back") == []
    assert states(project) == {"in-hand": "done", "later": "done"}


def test_stop_ends_the_programs_whatever_they_ignore_and_gives_the_items_back_at_no_cost(tmp_path: Path) -> None:
    up = tmp_path / "up"
    project = make_project(tmp_path / "r", "on_coordinator_death: stop\nchecks: ['test $PARALLEL_LOOP_AGENT = x']")
    add(project, "deaf", f"trap '' TERM; echo half > half; setsid sleep 1000 & touch {up}; sleep 1000; sleep 1000")
    with running(project, "--agents", "1") as run:
        run.until_working("deaf")
        eventually(up.exists, PATIENCE_SECONDS)
        run.kill()
        eventually(lambda: living(project) == [], PATIENCE_SECONDS)
    record = last(project, "deaf")
    assert (record.kind, record.outcome, record.counted) == ("released", "interrupted", False)
    assert states(project) == {"deaf": "ready"}


def test_stop_ends_the_checks_of_the_lander_and_the_item_lands_later(tmp_path: Path) -> None:
    go, up = tmp_path / "go", tmp_path / "up"
    check = f"test $PARALLEL_LOOP_AGENT = agent-1 || test -e {go} || {{ touch {up}; exec sleep 1000; }}"
    project = make_project(tmp_path / "r", f"on_coordinator_death: stop\nchecks: ['{check}']")
    add(project, "one")
    with running(project, "--agents", "1") as run:
        eventually(up.exists, PATIENCE_SECONDS)
        run.kill()
        eventually(lambda: living(project) == [], PATIENCE_SECONDS)
        assert states(project) == {"one": "landing"}
        go.touch()
        with running(project, "--agents", "1", "--drain") as second:
            assert second.wait() == 0, second.output
    assert kinds(project, "one") == ["claimed", "landing", "done"]


def test_stop_holds_for_a_worker_that_was_asked_to_finish_before(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "on_coordinator_death: stop")
    add(project, "long", "exec sleep 1000")
    with running(project, "--agents", "1") as run:
        run.until_working("long")
        run.send(signal.SIGINT)
        eventually(lambda: run.agent("agent-1").health == "finishing", PATIENCE_SECONDS)
        run.kill()
        eventually(lambda: living(project) == [], PATIENCE_SECONDS)
    assert not last(project, "long").counted


def test_the_next_one_adopts_the_living_hears_of_the_dead_and_starts_no_second_copy(tmp_path: Path) -> None:
    """Of three workers one ends while nobody watches, one is killed then, and one lives on."""
    go = [tmp_path / name for name in ("go-0", "go-1", "go-2")]
    project = make_project(tmp_path / "r")
    for number, path in enumerate(go):
        add(project, f"item-{number}", f"test -e {tmp_path}/again || {{ {waits_for(path)}; }}; echo x > y{number}")
    with running(project, "--agents", "3") as run:
        workers = [run.until_working(f"item-{number}") for number in range(3)]
        run.kill()
        go[0].touch()
        eventually(lambda: not alive(workers[0]), PATIENCE_SECONDS)
        workers[1].kill()
        eventually(lambda: not alive(workers[1]), PATIENCE_SECONDS)
        (tmp_path / "again").touch()
        with running(project, "--agents", "3", "--drain") as second:
            eventually(lambda: happened(project, "adopted"), PATIENCE_SECONDS)
            eventually(lambda: len(second.children(WORKER)) == 2, PATIENCE_SECONDS)
            assert kinds(project, "item-2") == ["claimed"], "nothing is taken from the living"
            (taken,) = happened(project, "taken-back")
            assert taken["item"] == "item-1"
            go[2].touch()
            assert second.wait() == 0, second.output
            assert living(project) == []
    assert kinds(project, "item-0") == ["claimed", "landing", "done"]
    assert kinds(project, "item-1") == ["claimed", "released", "claimed", "landing", "done"]
    assert kinds(project, "item-2") == ["claimed", "landing", "done"]
    adopted = {event["pid"] for event in happened(project, "adopted")}
    assert workers[2].pid in adopted
    assert not adopted & {workers[0].pid, workers[1].pid}


def test_in_a_copy_the_workers_of_the_original_are_left_alone(tmp_path: Path) -> None:
    """The heartbeat that was copied names a process that lives; the lock of the place is another file, and free."""
    project = make_project(tmp_path / "r")
    agent = project.state.agent("agent-1")
    agent.create()
    agent.lock.touch()
    me = own_identity()
    beat = Heartbeat(agent="agent-1", pid=me.pid, process_start=me.process_start, boot=me.boot, at="", beat=1.0)
    agent.heartbeat.write_bytes(msgspec.json.encode(beat))
    with running(project, "--drain") as run:
        assert run.wait() == 0, run.output
    assert happened(project, "adopted") == []


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_stop_reaches_the_workers_that_outlived_their_coordinator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project(tmp_path / "r", "on_coordinator_death: finish")
    add(project, "long", "echo half > half; exec sleep 1000")
    with running(project, "--agents", "1") as run:
        run.until_working("long")
        run.kill()
        eventually(lambda: [agent.name for agent in run.snapshot().agents] == ["agent-1"], PATIENCE_SECONDS)
        (need,) = run.snapshot().attention
        left = "1 worker of an earlier run still finishes what is in hand: agent-1 (long)"
        assert left in need.why
        assert "`parallel-loop stop --now` ends that" in need.why
        assert main(["--repo", str(project.root), "pause"]) == 1
        assert left in capsys.readouterr().err
        assert main(["--repo", str(project.root), "stop"]) == 0
        assert left in capsys.readouterr().out
        assert kinds(project, "long") == ["claimed"], "it finishes anyway"
        done = call(project.root, "stop", "--now")
        assert (done.code, done.out) == (0, "1 worker of an earlier run ended, what was in hand was given back\n")
        assert living(project) == []
        assert attempt_git(project.root, "config", PRECIOUS).returncode == 1, "as at the end of a run"
        assert not project.state.shared.exists()
        assert main(["--repo", str(project.root), "stop", "--now"]) == 1
        assert "earlier run" not in capsys.readouterr().err
    record = last(project, "long")
    assert (record.kind, record.outcome, record.counted) == ("released", "interrupted", False)
    assert states(project) == {"long": "ready"}


def test_landing_without_a_coordinator_leaves_what_protects_a_worker_of_an_earlier_run(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "on_coordinator_death: finish\nland: never")
    add(project, "one")
    add(project, "long", waits_for(tmp_path / "go"))
    with running(project, "--agents", "2") as run:
        worker = run.until_working("long")
        eventually(lambda: states(project)["one"] == "waiting", PATIENCE_SECONDS)
        run.kill()
        eventually(lambda: not is_place_taken(project.state, LANDER), PATIENCE_SECONDS)
        assert call(project.root, "land").code == 0
        assert states(project) == {"one": "done", "long": "working"}
        assert git(project.root, "config", PRECIOUS) == "1"
        assert project.state.shared.exists()
        (tmp_path / "go").touch()
        eventually(lambda: not alive(worker), PATIENCE_SECONDS)
    assert call(project.root, "land").code == 0
    assert states(project) == {"one": "done", "long": "done"}
    assert attempt_git(project.root, "config", PRECIOUS).returncode == 1
