"""Real runs of the coordinator: how they end, and what becomes of workers that die, hang or outlive it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from parallel_loop.coordinator.control import request
from parallel_loop.coordinator.run import Lines, find_target
from parallel_loop.harness.configuration.settings import ConfigError
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item
from support.cli import call
from support.landing import landed_items
from support.repository import git
from support.runs import (
    PATIENCE_SECONDS,
    WORKER,
    Run,
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


def kill_coordinator(run: Run) -> None:
    run.process.kill()
    run.process.wait()


def test_a_new_coordinator_watches_the_living_and_takes_nothing_from_them(tmp_path: Path) -> None:
    go = tmp_path / "go"
    project = make_project(tmp_path / "r")
    add(project, "in-hand", waits_for(go))
    with running(project, "--agents", "1") as run:
        worker = run.until_working("in-hand")
        kill_coordinator(run)
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
        kill_coordinator(run)
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
        kill_coordinator(run)
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


# --- what is not ours, and what the machine refuses -----------------------------------------------------------------


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


def test_an_item_whose_adder_was_killed_before_the_hint_is_found_in_a_run(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    with running(project, "--agents", "1") as run:
        eventually(lambda: run.agent("agent-1"), PATIENCE_SECONDS)
        item = Item(id="overlooked", title="x", added_at=project.queue.now(), command="true")
        assert project.queue.chain.create_item(item)
        eventually(lambda: states(project) == {"overlooked": "done"}, PATIENCE_SECONDS)


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
    with running(project, "--agents", "1") as run:
        add(project, "one", f"touch {lock}; echo 1 > one.txt", max_attempts=1)
        eventually(lambda: "packed-refs.lock is in the way" in str(run.snapshot().target.blocked), PATIENCE_SECONDS)
        assert any(f"rm {lock}" in str(need.next) for need in run.snapshot().attention)
        lock.unlink()
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)
    assert kinds(project, "one") == ["claimed", "landing", "done"]


def test_places_that_cannot_be_started_are_given_up_and_the_run_says_so(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "health: {restarts: 1}\n")
    add(project, "one")
    for name in ("agent-1", "landing"):
        (project.state.agent(name).worker_log).mkdir(parents=True)
    with running(project, "--agents", "1", "--drain") as run:
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
