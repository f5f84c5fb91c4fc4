"""Real runs with something in their way, or taken away from them, and machines and code of ours that fail them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import pytest

from parallel_loop.coordinator.run import Lines, find_target
from parallel_loop.harness.configuration.settings import ConfigError
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
)
from support.waiting import eventually


def test_children_that_a_script_left_us_are_not_ended(tmp_path: Path) -> None:
    """An entry point that starts a server and ends with `exec parallel-loop run` makes us that server's parent."""
    pid_file = tmp_path / "pid"
    project = make_project(tmp_path / "r")
    add(project, "one", "setsid sleep 1000 & exec sleep 1000", max_attempts=1)
    script = f'(sleep 1000 & echo $! > {pid_file}.orphan); sleep 1000 & echo $! > {pid_file}; exec "$0" "$@"'
    with running(project, "--agents", "1", "--drain", prefix=("/bin/sh", "-c", script)) as run:
        run.until_working("one").kill()
        assert run.wait() == 1, run.output
        server = psutil.Process(int(pid_file.read_text()))
        assert server.is_running()
        server.kill()
        psutil.Process(int(pid_file.with_name("pid.orphan").read_text())).kill()
        eventually(lambda: living(project) == [], PATIENCE_SECONDS)


HINDERED = """
import errno, sys
from parallel_loop.coordinator import cli, crew, machine, status
from parallel_loop.queue import survey

def sometimes(function, calls=[]):
    def hindered(*arguments, **options):
        calls.append(None)
        if 5 < len(calls) % 20 < 9:
            raise OSError(errno.EMFILE, "Too many open files")
        return function(*arguments, **options)
    return hindered

survey.Survey.refresh = sometimes(survey.Survey.refresh)
status.StatusWriter.publish = sometimes(status.StatusWriter.publish)
machine.end_below = sometimes(machine.end_below)
crew.take_back_from_the_dead = sometimes(crew.take_back_from_the_dead)
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def test_a_machine_out_of_descriptors_delays_a_run_and_does_not_end_it(tmp_path: Path) -> None:
    script = tmp_path / "hindered.py"
    script.write_text(HINDERED)
    project = make_project(tmp_path / "r")
    for number in range(6):
        add(project, f"i{number}")
    with running(project, "--agents", "2", "--drain", main=str(script)) as run:
        eventually(lambda: run.children(WORKER), PATIENCE_SECONDS)
        for victim in run.children(WORKER)[:1]:
            victim.kill()
        assert run.wait(60.0) == 0, run.output
    assert set(states(project).values()) == {"done"}
    assert happened(project, "hindered") != []


def test_a_worker_that_cannot_be_started_is_tried_again(tmp_path: Path) -> None:
    script = tmp_path / "hindered.py"
    script.write_text(
        "import errno, sys\n"
        "from parallel_loop.coordinator import cli, crew, place\n"
        "crew._TRY_AGAIN_SECONDS = 0.1\n"
        "start, calls = place.Process.start.__func__, []\n"
        "def refuse(*arguments):\n"
        "    calls.append(None)\n"
        "    if len(calls) < 4: raise OSError(errno.EAGAIN, 'no process left')\n"
        "    return start(*arguments)\n"
        "place.Process.start = classmethod(refuse)\n"
        "sys.exit(cli.main(['run', *sys.argv[1:]]))\n"
    )
    project = make_project(tmp_path / "r")
    add(project, "one")
    with running(project, "--agents", "1", "--drain", main=str(script)) as run:
        assert run.wait() == 0, run.output
    assert states(project) == {"one": "done"}
    assert happened(project, "died") == []


FAULTY = """
import sys
from parallel_loop.coordinator import cli, coordinator
from parallel_loop.harness.project import Project

compare = coordinator.compare

def fail_when_an_item_is_worked_on(crew, *wanted, **more):
    compare(crew, *wanted, **more)
    if any(beat and beat.state == "working" for beat in (place.heartbeat() for place in crew.agents)):
        raise RuntimeError("a fault of ours")

coordinator.compare = fail_when_an_item_is_worked_on
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def test_a_fault_of_ours_ends_the_run_and_leaves_nothing_running_and_nothing_lost(tmp_path: Path) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY)
    project = make_project(tmp_path / "r")
    add(project, "long", "setsid sleep 1000 & exec sleep 1000")
    with running(project, "--agents", "2", main=str(script)) as run:
        assert run.wait() == 70, run.output
        assert living(project) == []
    assert states(project) == {"long": "ready"}
    assert kinds(project, "long") == ["claimed", "released"]


def test_lines_go_on_when_the_terminal_is_gone(tmp_path: Path) -> None:
    events_file = tmp_path / "events.jsonl"
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as out:  # noqa: PTH123 (closing flushes, which must not fail either)
        lines = Lines(events_file, out)
        for _ in range(2):
            with events_file.open("a") as file:
                file.write('{"at": "2026-01-01T00:00:00Z", "event": "running", "pid": 1}\n')
            lines.show()


def test_a_state_directory_removed_in_a_run_ends_it_with_one_line_and_nothing_running(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "long", "sleep 1000")
    with running(project, "--agents", "1") as run:
        eventually(lambda: "working" in states(project).values(), PATIENCE_SECONDS)
        shutil.rmtree(project.state.root, ignore_errors=True)
        assert run.wait() == 4
        assert "was removed or replaced during the run" in run.output
        assert "Traceback" not in run.output
        assert living(project) == []


def test_worktrees_removed_between_items_are_made_again(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    with running(project, "--agents", "1") as run:
        eventually(lambda: {"agent-1", "landing"} <= {p.name for p in project.worktrees.glob("*")}, PATIENCE_SECONDS)
        eventually(lambda: (agent := run.agent("agent-1")) and agent.state == "idle", PATIENCE_SECONDS)
        shutil.rmtree(project.worktrees)
        add(project, "one", max_attempts=1)
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)


def test_nothing_lands_while_the_landing_branch_is_checked_out(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    assert drain(project) == 0
    git(project.root, "switch", "--quiet", "parallel-loop/landed")
    with pytest.raises(ConfigError, match="one of our own branches"):
        find_target(project)
    git(project.root, "switch", "--quiet", "main")
    with running(project, "--agents", "1") as run:
        eventually(lambda: run.agent("agent-1"), PATIENCE_SECONDS)
        git(project.root, "switch", "--quiet", "parallel-loop/landed")
        add(project, "one")
        eventually(lambda: "is checked out in" in str(run.snapshot().target.blocked), PATIENCE_SECONDS)
        assert git(project.root, "status", "--porcelain") == ""
        git(project.root, "switch", "--quiet", "main")
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)


def test_a_lock_that_a_killed_git_left_is_reported_and_no_work_is_done_twice(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    lock = project.root / ".git" / "packed-refs.lock"
    git(project.root, "config", "core.packedRefsTimeout", "0")  # nobody will ever remove that lock
    with running(project, "--agents", "1") as run:
        add(project, "one", f"touch {lock}; echo 1 > one.txt", max_attempts=1)
        eventually(lambda: "packed-refs.lock is in the way" in str(run.snapshot().target.blocked), PATIENCE_SECONDS)
        assert any(f"rm {lock}" in str(need.next) for need in run.snapshot().attention)
        lock.unlink()
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)
    assert kinds(project, "one") == ["claimed", "landing", "done"]


IMPATIENT = """
import sys
from parallel_loop.coordinator import cli, crew
crew._TRY_AGAIN_SECONDS = 0.1
sys.exit(cli.main(["run", *sys.argv[1:]]))
"""


def test_places_that_cannot_be_started_are_given_up_and_the_run_says_so(tmp_path: Path) -> None:
    script = tmp_path / "impatient.py"
    script.write_text(IMPATIENT)
    project = make_project(tmp_path / "r", "health: {restarts: 1}\n")
    add(project, "one")
    for name in ("agent-1", "landing"):
        (project.state.agent(name).worker_log).mkdir(parents=True)
    with running(project, "--agents", "1", "--drain", main=str(script)) as run:
        assert run.wait() == 1
        assert "given up" in run.output
    assert states(project) == {"one": "ready"}


def test_work_goes_on_while_the_user_begins_a_branch_without_a_commit(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "--orphan", "pages")
    (project.root / "parallel-loop.yaml").write_text("target: main\n")
    add(project, "one")
    assert drain(project) == 0
    assert states(project) == {"one": "done"}
