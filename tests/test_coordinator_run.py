"""Real runs of the coordinator: how they end, and what they are refused before they begin."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.coordinator.run import find_target
from parallel_loop.harness.configuration.settings import ConfigError
from support.landing import landed_items
from support.repository import git
from support.runs import (
    PATIENCE_SECONDS,
    add,
    drain,
    happened,
    living,
    make_project,
    running,
    states,
    waits_for,
)
from support.waiting import eventually

# --- how a run ends -------------------------------------------------------------------------------------------------


def test_a_drained_queue_ends_the_run_with_all_landed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test -e README']")
    for name in ("one", "two", "three"):
        add(project, name)
    add(project, "four", after=("one", "two"))
    assert drain(project) == 0
    assert set(states(project).values()) == {"done"}
    assert sorted(landed_items(project, "main")) == ["four", "one", "three", "two"]
    assert living(project) == []
    assert json.loads(project.state.status.read_bytes())["coordinator"]["state"] == "stopped"


def test_items_that_fail_make_it_exit_1_once(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "good")
    add(project, "bad", "exit 3", max_attempts=2)
    add(project, "never", after=("bad",))
    assert drain(project) == 1
    assert states(project) == {"good": "done", "bad": "failed", "never": "blocked"}
    assert drain(project) == 0


def test_items_that_wait_for_a_person_do_not_keep_a_drained_run_from_ending(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "land: review")
    add(project, "one")
    assert drain(project) == 0
    assert states(project) == {"one": "waiting"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_finishes_and_lands_what_is_in_hand(tmp_path: Path, number: int) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r")
    add(project, "in-hand", waits_for(go))
    with running(project, "--agents", "1") as run:
        run.until_working("in-hand")
        run.send(number)
        eventually(lambda: happened(project, "finishing"), PATIENCE_SECONDS)
        add(project, "later")
        go.touch()
        assert run.wait() == 0, run.output
        assert living(project) == []
    assert states(project) == {"in-hand": "done", "later": "ready"}
    assert landed_items(project, "main") == ["in-hand"]


def test_a_terminal_that_is_closed_says_so_twice_and_means_finish(tmp_path: Path) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r")
    add(project, "in-hand", waits_for(go))
    terminal, inside = os.openpty()
    # The first terminal that a process without one opens is its own from then on.
    on_terminal = "import os, sys; os.open(sys.argv[1], os.O_RDWR); os.execv(sys.argv[2], sys.argv[2:])"
    prefix = (sys.executable, "-c", on_terminal, os.ttyname(inside))
    with running(project, "--agents", "1", prefix=prefix) as run:
        run.until_working("in-hand")
        os.close(inside)
        os.close(terminal)  # now the kernel sends SIGHUP, and a shell does it again
        eventually(lambda: happened(project, "finishing"), PATIENCE_SECONDS)
        run.send(signal.SIGHUP)
        go.touch()
        assert run.wait() == 0, run.output
    assert states(project) == {"in-hand": "done"}


def test_the_second_signal_ends_programs_and_gives_items_back_at_no_cost(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "long", "echo half > half; setsid sleep 1000 & exec sleep 1000")
    with running(project, "--agents", "2") as run:
        run.until_working("long")
        run.send(signal.SIGINT)
        run.send(signal.SIGTERM)  # another number: two of the same may become one
        assert run.wait() == 130, run.output
        assert living(project) == []
    entry = project.queue.entry("long")
    assert entry is not None
    assert entry.last is not None
    assert (entry.last.kind, entry.last.outcome, entry.last.counted) == ("released", "interrupted", False)
    assert states(project) == {"long": "ready"}


def test_a_run_that_ends_by_an_error_of_its_own_costs_no_item_an_attempt(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "long", f"touch {tmp_path}/up; exec sleep 1000")
    script = tmp_path / "broken.py"
    script.write_text(
        "import sys\n"
        "from pathlib import Path\n"
        "from parallel_loop.coordinator.coordinator import Coordinator\n"
        "from parallel_loop.harness.project import Project\n"
        "class Broken:\n"
        "    shows_time = False\n"
        "    def show(self, picture):\n"
        "        if Path(sys.argv[2]).exists():\n"
        "            raise ZeroDivisionError\n"
        "Coordinator(Project.open(Path(sys.argv[1])), 'main', agents=1, drain=False, display=Broken()).run()\n"
    )
    with running(project, str(project.root), f"{tmp_path}/up", main=str(script)) as run:
        eventually((tmp_path / "up").exists, PATIENCE_SECONDS)
        add(project, "another")  # so that there is something to show
        assert run.wait() == 1
        assert "ZeroDivisionError" in run.output
    entry = project.queue.entry("long")
    assert entry is not None
    assert entry.last is not None
    assert (entry.last.outcome, entry.last.counted) == ("interrupted", False)


def test_a_program_that_ends_its_worker_has_only_its_attempts_and_takes_no_place_down(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "health: {restarts: 1}")
    add(project, "deadly", "kill $(cut -d' ' -f4 /proc/$PPID/stat); exec sleep 1000", max_attempts=3)
    add(project, "other")
    with running(project, "--agents", "1", "--drain") as run:
        assert run.wait() == 1, run.output
    entry = project.queue.entry("deadly")
    assert entry is not None
    assert [record.outcome for record in entry.records if record.kind != "claimed"] == ["interrupted"] * 3
    assert states(project) == {"deadly": "failed", "other": "done"}
    assert not happened(project, "gave-up")


def test_a_second_coordinator_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    with running(project, "--agents", "1") as run:
        eventually(lambda: run.agent("agent-1"), PATIENCE_SECONDS)
        before = run.snapshot().coordinator.pid
        argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "run", "--drain"]
        second = subprocess.run(
            argv, cwd=project.root, env=dict(project.environ), capture_output=True, text=True, check=False
        )
        assert second.returncode == 3
        assert f"pid {run.process.pid}" in second.stderr
        assert run.process.poll() is None
        assert run.snapshot().coordinator.pid == before == run.process.pid


def test_with_json_the_last_word_is_the_status_and_nothing_else(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "one")
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "run", "--agents", "1", "--drain", "--json"]
    answer = subprocess.run(argv, cwd=project.root, env=dict(project.environ), capture_output=True, check=False)
    assert answer.returncode == 0
    assert json.loads(answer.stdout)["queue"]["done"] == 1
    assert b"done: landed" in answer.stderr


def test_a_reader_that_goes_away_does_not_end_the_run(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "one")
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "run", "--agents", "1", "--drain"]
    with subprocess.Popen(
        argv, cwd=project.root, env=dict(project.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        said = run.stderr.read()
        assert run.wait(PATIENCE_SECONDS) == 0, said
    assert states(project) == {"one": "done"}
    assert b"Error" not in said


@pytest.mark.large
def test_a_worker_that_cannot_hear_the_order_to_stop_is_killed(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "long", "sleep 1000")
    with running(project, "--agents", "1") as run:
        eventually(lambda: "working" in states(project).values(), PATIENCE_SECONDS)
        agent = run.agent("agent-1")
        assert agent is not None
        assert agent.pid is not None
        os.kill(agent.pid, signal.SIGSTOP)
        run.send(signal.SIGINT)
        eventually(lambda: run.snapshot().coordinator.state == "finishing", PATIENCE_SECONDS)
        run.send(signal.SIGINT)
        assert run.wait() == 130
        assert living(project) == []


# --- before it begins -----------------------------------------------------------------------------------------------


def test_a_branch_in_the_way_of_ours_is_named_with_what_frees_it(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "branch", "parallel-loop")
    with running(project, "--drain") as run:
        assert run.wait() == 2
        assert "git branch -m parallel-loop OTHER" in run.output
    git(project.root, "branch", "-m", "parallel-loop", "OTHER")
    assert drain(project) == 0


@pytest.mark.parametrize(
    ("prepare", "config", "problem"),
    [
        (("switch", "--quiet", "--detach"), "", "HEAD is detached"),
        (("switch", "--quiet", "-c", "parallel-loop/landed"), "", "one of our own branches"),
        (("branch", "other"), "target: nowhere", "no branch 'nowhere'"),
    ],
)
def test_a_target_that_cannot_be_is_refused(
    tmp_path: Path, prepare: tuple[str, ...], config: str, problem: str
) -> None:
    project = make_project(tmp_path / "r", config)
    git(project.root, *prepare)
    with pytest.raises(ConfigError, match=problem):
        find_target(project)
