"""Real runs in which workers, landers, coordinators and who adds are killed, stopped, or die again and again."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from parallel_loop.coordinator.control import request
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item
from support.cli import call
from support.landing import landed_items
from support.repository import git
from support.runs import (
    PATIENCE_SECONDS,
    WORKER,
    add,
    drain,
    happened,
    kinds,
    living,
    make_project,
    running,
    states,
    waits_for,
)
from support.waiting import eventually

# --- deaths ---------------------------------------------------------------------------------------------------------


def test_a_killed_worker_is_replaced_its_program_ended_and_its_item_done_once(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = make_project(tmp_path / "r")
    add(project, "one", f"test -e {flag} || {{ touch {flag}; setsid sleep 1000 & exec sleep 1000; }}; echo x > x")
    with running(project, "--agents", "1", "--drain") as run:
        worker = run.until_working("one")
        eventually(flag.exists, PATIENCE_SECONDS)
        programs = worker.children(recursive=True)
        worker.kill()
        assert run.wait() == 0, run.output
        assert not any(program.is_running() for program in programs)
    assert kinds(project, "one") == ["claimed", "released", "claimed", "landing", "done"]
    (taken,) = happened(project, "taken-back")
    assert (taken["item"], taken["attempt"], taken["agent"]) == ("one", 1, "agent-1")
    (died,) = happened(project, "died")
    assert died["why"] == "it was ended by signal 9"
    assert len([event for event in happened(project, "started") if event["agent"] == "agent-1"]) == 2


def test_a_worker_that_is_stopped_is_silent_is_killed_and_its_item_is_done_once(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = make_project(tmp_path / "r", "health: {heartbeat: 0.1s, silent: 2s}")
    add(project, "one", f"test -e {flag} || {{ touch {flag}; exec sleep 1000; }}; echo x > x")
    with running(project, "--agents", "1", "--drain") as run:
        worker = run.until_working("one")
        eventually(flag.exists, PATIENCE_SECONDS)
        worker.suspend()
        assert run.wait() == 0, run.output
    assert kinds(project, "one") == ["claimed", "released", "claimed", "landing", "done"]
    (killed,) = happened(project, "killed")
    (died,) = happened(project, "died")
    assert killed["why"] == died["why"] == "it was silent for too long and was killed"


def test_a_coordinator_that_was_stopped_itself_blames_nobody(tmp_path: Path) -> None:
    """Stopped for longer than the limit, it finds old heartbeats; the workers were stopped, too."""
    go = tmp_path / "go"
    project = make_project(tmp_path / "r", "health: {heartbeat: 0.1s, silent: 2s}")
    add(project, "one", waits_for(go))
    with running(project, "--agents", "1", "--drain") as run:
        worker = run.until_working("one")
        run.send(signal.SIGSTOP)
        worker.suspend()
        beat = json.loads(project.state.agent("agent-1").heartbeat.read_bytes())["beat"]
        eventually(lambda: clock() - beat > 2.5, PATIENCE_SECONDS)
        seen = run.snapshot().at
        run.send(signal.SIGCONT)
        eventually(lambda: json.loads(project.state.status.read_bytes())["at"] > seen, PATIENCE_SECONDS)
        worker.resume()
        go.touch()
        assert run.wait() == 0, run.output
    assert happened(project, "killed") == []
    assert kinds(project, "one") == ["claimed", "landing", "done"]


def clock() -> float:
    """The clock that heartbeats are told by."""
    return time.monotonic()


def block_place(project: Project, name: str) -> None:
    """Put something of the user's where the worktree of a place would be: its worker can never start."""
    folder = project.root / ".parallel-loop" / "worktrees" / name
    folder.mkdir(parents=True)
    (folder / "precious").write_text("not ours")


def test_a_place_whose_workers_die_again_and_again_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "health: {restarts: 1}")
    block_place(project, "agent-1")
    with running(project, "--agents", "2") as run:
        eventually(lambda: run.agent("agent-1") and run.agent("agent-1").health == "failing", PATIENCE_SECONDS)
        add(project, "one")
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)
        (need,) = run.snapshot().attention
        assert "agent-1 was given up" in need.why
        assert "worktrees/agent-1" in need.why
        agent = run.agent("agent-1")
        assert agent is not None
        log = project.state.agent("agent-1").worker_log.read_text().splitlines()
        assert list(agent.last_lines) == log, "both of its workers said why"
        assert len(log) == 2
        shown = call(project.root, "status").out
        assert f"  | {log[0][:60]}" in shown
        assert f"  | {log[1][:60]}" in shown
        assert run.agent("agent-2").last_lines == ()
        request(project, ending="finish")
        assert run.wait() == 0, run.output
    assert len(happened(project, "gave-up")) == 1
    assert len([event for event in happened(project, "started") if event["agent"] == "agent-1"]) == 2


@pytest.mark.parametrize("names", [("agent-1", "agent-2"), ("landing",)], ids=["all agents", "the lander"])
def test_when_nobody_is_left_to_do_the_work_a_draining_run_ends_and_says_so(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    project = make_project(tmp_path / "r", "health: {restarts: 1}")
    for name in names:
        block_place(project, name)
    add(project, "one")
    assert drain(project) == 1
    assert {event["agent"] for event in happened(project, "gave-up")} == set(names)
    assert states(project) == {"one": "landing" if names == ("landing",) else "ready"}


def test_a_given_up_lander_needs_a_person(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "health: {restarts: 1}")
    block_place(project, "landing")
    with running(project, "--agents", "1") as run:
        eventually(lambda: run.snapshot().attention, PATIENCE_SECONDS)
        assert "landing was given up" in run.snapshot().attention[0].why


# --- a coordinator that was killed ----------------------------------------------------------------------------------


def test_a_new_coordinator_watches_the_living_and_takes_nothing_from_them(tmp_path: Path) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r")
    add(project, "in-hand", waits_for(go))
    with running(project, "--agents", "1") as run:
        worker = run.until_working("in-hand")
        run.kill()
        with running(project, "--agents", "1", "--drain") as second:
            eventually(lambda: happened(project, "adopted"), PATIENCE_SECONDS)
            agent = eventually(lambda: second.agent("agent-1"), PATIENCE_SECONDS)
            assert (agent.pid, agent.health, agent.item) == (worker.pid, "finishing", "in-hand")
            assert second.children(WORKER) == []
            go.touch()
            assert second.wait() == 0, second.output
    assert kinds(project, "in-hand") == ["claimed", "landing", "done"]
    assert happened(project, "taken-back") == []


def test_an_adopted_worker_that_is_killed_loses_its_item_and_its_program(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = make_project(tmp_path / "r")
    add(project, "one", f"test -e {flag} || {{ touch {flag}; exec sleep 1000; }}; echo x > x")
    with running(project, "--agents", "1") as run:
        worker = run.until_working("one")
        eventually(flag.exists, PATIENCE_SECONDS)
        run.kill()
        with running(project, "--agents", "1", "--drain") as second:
            eventually(lambda: happened(project, "adopted"), PATIENCE_SECONDS)
            worker.kill()
            assert second.wait() == 0, second.output
            assert living(project) == []
    assert kinds(project, "one") == ["claimed", "released", "claimed", "landing", "done"]


def test_a_worker_that_had_not_said_who_it_is_is_left_alone_and_waited_for(tmp_path: Path) -> None:
    """Its heartbeat is not there when the new coordinator begins: the place is taken, not failing."""
    go = tmp_path / "go"
    project = make_project(tmp_path / "r", "health: {restarts: 1}")
    add(project, "in-hand", waits_for(go))
    with running(project, "--agents", "1") as run:
        worker = run.until_working("in-hand")
        run.kill()
        heartbeat = project.state.agent("agent-1").heartbeat
        aside = heartbeat.with_name("aside")
        heartbeat.rename(aside)
        worker.suspend()
        with running(project, "--agents", "1", "--drain") as second:
            eventually(lambda: second.agent("agent-1"), PATIENCE_SECONDS)
            aside.rename(heartbeat)
            eventually(lambda: happened(project, "adopted"), PATIENCE_SECONDS)
            worker.resume()
            go.touch()
            assert second.wait() == 0, second.output
    assert happened(project, "died") == []
    assert kinds(project, "in-hand") == ["claimed", "landing", "done"]


def test_a_lander_killed_between_the_record_and_the_target_is_followed_by_one_that_finishes(tmp_path: Path) -> None:
    """Nothing waits for landing any more, and the target is still owed its step."""
    project = make_project(tmp_path / "r")
    add(project, "one")
    assert drain(project) == 0
    git(project.root, "reset", "--quiet", "--hard", "HEAD~1")
    assert drain(project) == 0
    assert landed_items(project, "main") == ["one"]


IMPATIENT = """
import sys
from parallel_loop.coordinator import cli, work_left
work_left._OVERLOOKED_SECONDS = 0.5
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def test_an_item_whose_adder_was_killed_before_the_hint_is_found_in_a_run(tmp_path: Path) -> None:
    script = tmp_path / "impatient.py"
    script.write_text(IMPATIENT)
    project = make_project(tmp_path / "r")
    with running(project, "--agents", "1", main=str(script)) as run:
        eventually(lambda: run.agent("agent-1"), PATIENCE_SECONDS)
        item = Item(id="overlooked", title="x", added_at=project.queue.now(), command="true")
        assert project.queue.chain.create_item(item)
        eventually(lambda: states(project) == {"overlooked": "done"}, PATIENCE_SECONDS)
