"""The coordinator in the background: when `start` says that it is up, and what it says when it is not."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from parallel_loop.coordinator import background
from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.lifecycle import PlaceState
from parallel_loop.coordinator.lock import Holder, read_holder
from parallel_loop.coordinator.notify import Notifier
from parallel_loop.coordinator.readiness import describe_readiness
from parallel_loop.coordinator.run import Lines
from parallel_loop.harness import logs
from parallel_loop.harness.project import Project
from support.cli import Answer, call
from support.repository import environment, make_empty_repository
from support.runs import PATIENCE_SECONDS, add, end_all, events, kinds, make_project, states
from support.waiting import eventually

PROGRAM = [sys.executable, "-m", "parallel_loop.coordinator"]


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = make_project(tmp_path / "a repository")
    yield made
    end_all(made)


def holder(project: Project) -> Holder:
    found = read_holder(project.state.coordinator_lock)
    assert found is not None
    return found


# --- the protocol ---------------------------------------------------------------------------------------------------


@pytest.fixture(params=["a file", "an abstract name"])
def listener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A socket that is told things, and its address."""
    if request.param == "an abstract name" and os.uname().sysname != "Linux":
        pytest.skip("needs Linux: elsewhere every address of such a socket is a file")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listener:
        listener.setblocking(False)
        path = f"{tmp_path}/notify" if request.param == "a file" else f"@test-{os.getpid()}"
        listener.bind(path.replace("@", "\0", 1) if path.startswith("@") else path)
        yield listener, path


def told(listener: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(listener.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_who_started_us_is_told_and_nobody_below_us_can_speak_for_us(listener: tuple[socket.socket, str]) -> None:
    environ = {"NOTIFY_SOCKET": listener[1], "WATCHDOG_USEC": "600000000", "WATCHDOG_PID": str(os.getpid()), "A": "b"}
    environ |= {"LISTEN_PID": "1", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    notifier = Notifier.take(environ)
    assert environ == {"A": "b"}
    assert notifier.is_awaited
    notifier.alive()
    notifier.alive()  # not again before half of the period is over
    notifier.ready("all\nup")
    notifier.stopping("ends")
    assert told(listener[0]) == ["WATCHDOG=1", "READY=1\nSTATUS=all up", "STOPPING=1\nSTATUS=ends"]
    assert not notifier.is_awaited


@pytest.mark.parametrize(
    "watchdog",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"}],
)
def test_no_sign_of_life_is_given_where_none_is_expected_of_us(
    listener: tuple[socket.socket, str], watchdog: dict[str, str]
) -> None:
    notifier = Notifier.take({"NOTIFY_SOCKET": listener[1]} | watchdog)
    notifier.alive()
    assert told(listener[0]) == []


def test_a_loop_that_waits_for_git_asks_not_to_be_watched(listener: tuple[socket.socket, str]) -> None:
    notifier = Notifier.take({"NOTIFY_SOCKET": listener[1], "WATCHDOG_USEC": "2"})
    notifier.ready("up", watched=False)
    notifier.alive()
    assert told(listener[0]) == ["READY=1\nSTATUS=up\nWATCHDOG_USEC=0"]


@pytest.mark.parametrize("address", ["", "@nobody-is-here", "/nobody/is/here", "vsock:2:1"])
def test_that_nobody_listens_is_no_reason_to_fail(address: str) -> None:
    notifier = Notifier(address, 1e-6)
    notifier.ready("up")
    notifier.alive()
    notifier.stopping("ends")


def place(state: PlaceState, *, beat: bool = False, note: str | None = None) -> Any:
    return SimpleNamespace(name="agent-1", state=state, note=note, heartbeat=lambda: object() if beat else None)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([place(PlaceState.FILLED, beat=True)], "1 agent up"),
        ([place(PlaceState.FILLED, beat=True), place(PlaceState.FINISHING, beat=True)], "2 agents up"),
        ([place(PlaceState.FILLED, beat=True), place(PlaceState.FILLED)], None),
        ([place(PlaceState.FAILING, note="no git")], "0 of 1 agent up; agent-1 was given up: no git"),
        ([place(PlaceState.VACANT)], "0 of 1 agent up; agent-1 is not started while paused"),
        (
            [place(PlaceState.WAITING, note="no git"), place(PlaceState.FILLED, beat=True)],
            "1 of 2 agents up; agent-1 waits to be started again: no git",
        ),
    ],
)
def test_it_is_up_when_something_can_be_said_of_every_worker(places: list[Any], said: str | None) -> None:
    assert describe_readiness(places) == said


# --- start ----------------------------------------------------------------------------------------------------------


def test_start_returns_when_it_is_up_and_the_terminal_may_go(project: Project) -> None:
    add(project, "spy", "env > $PARALLEL_LOOP_ITEM; ls -l /proc/self/fd > fds")
    terminal, theirs = pty.openpty()
    starting = subprocess.Popen(
        [*PROGRAM, "start", "--agents", "2"],
        cwd=project.root,
        env={**environment(), "WATCHDOG_USEC": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    assert starting.wait(PATIENCE_SECONDS) == 0
    published = json.loads(project.state.status.read_bytes())
    said = os.read(terminal, 4096).decode()
    os.close(terminal)

    pid = holder(project).pid
    assert f"the coordinator (pid {pid}) runs in the background, 2 agents up" in said
    assert published["coordinator"]["pid"] == pid
    assert [agent["health"] for agent in published["agents"]] == ["well", "well"]
    process = psutil.Process(pid)
    assert (os.getsid(pid), process.terminal()) == (pid, None)
    eventually(lambda: states(project) == {"spy": "done"}, PATIENCE_SECONDS)
    children = process.children()
    assert len(children) == 3
    for child in children:
        assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(child.environ())
    stopped = call(project.root, "stop", "--wait")
    assert (stopped.code, read_holder(project.state.coordinator_lock)) == (0, None)
    assert "coordinator running, pid" in project.state.coordinator_log.read_text()
    for name in ("spy", "fds"):
        seen = subprocess.check_output(["git", "-C", project.root, "show", f"main:{name}"], text=True)
        assert "NOTIFY_SOCKET" not in seen
        assert "/dev/pts" not in seen


def test_a_program_that_says_that_we_are_up_is_not_heard() -> None:
    """The address stands in the environment of the coordinator, which a program can read."""
    says = "import sys; from parallel_loop.coordinator.notify import Notifier; Notifier(sys.argv[1]).ready('up')"
    with background._listening() as (listener, address):
        Notifier(address).ready("says a liar")
        argv = [sys.executable, "-c", f"{says}; sys.stdin.read()", address]
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as child:
            assert background._wait(listener, child) == "up"


def test_of_two_starts_at_once_one_is_told_of_the_other(project: Project) -> None:
    argv = [*PROGRAM, "start", "--agents", "1"]
    both = [
        subprocess.Popen(argv, cwd=project.root, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        for _ in range(2)
    ]
    said = {process.wait(PATIENCE_SECONDS): process.communicate()[1].decode() for process in both}
    assert sorted(said) == [0, 3]
    assert said[0] == ""
    assert said[3].startswith(f"parallel-loop: another coordinator runs in this repository (pid {holder(project).pid}")
    assert said[3].count("\n") == 1


def test_what_ends_the_coordinator_before_it_is_up_is_told_in_one_line_with_its_exit_code(tmp_path: Path) -> None:
    root = make_empty_repository(tmp_path / "empty")
    answer = call(root, "start")
    assert answer.code == 4
    assert "ended before it was up: " in answer.line
    assert "commit" in answer.line
    (root / "parallel-loop.yaml").write_text("agents: many\n")
    assert call(root, "start").code == 2


def test_a_worker_that_cannot_be_started_is_told_of(project: Project) -> None:
    agent = project.state.agent("agent-1")
    agent.root.mkdir()
    agent.logs.touch()  # where a directory has to be
    answer = call(project.root, "start", "--agents", "1")
    assert answer.code == 0, answer
    assert "0 of 1 agent up; agent-1 waits to be started again: could not be started: " in answer.out


def test_a_drain_with_nothing_to_do_has_ended_already(project: Project) -> None:
    answer = call(project.root, "start", "--drain")
    assert (answer.code, "has ended already, with nothing left to do" in answer.out) == (0, True)


def test_the_single_agent_loop_can_be_started_too(project: Project) -> None:
    answer = call(project.root, "start", environ={"PARALLEL_MODE": "false"})
    assert (answer.code, "1 agent up, in this process" in answer.out) == (0, True)
    assert current_snapshot(project).coordinator.pid == holder(project).pid


def test_ctrl_c_while_it_is_not_up_yet_ends_it(project: Project, tmp_path: Path) -> None:
    fakes = tmp_path / "bin"
    fakes.mkdir()
    (fakes / "git").write_text(f"#!/bin/sh\necho $PPID > {tmp_path}/asked; exec sleep 1000\n")
    (fakes / "git").chmod(0o755)
    environ = {**environment(), "PATH": f"{fakes}:{os.environ['PATH']}"}
    starting = subprocess.Popen([*PROGRAM, "start"], cwd=project.root, env=environ, stderr=subprocess.PIPE)
    pid = int(eventually(lambda: (tmp_path / "asked").exists() and (tmp_path / "asked").read_text(), PATIENCE_SECONDS))
    starting.send_signal(signal.SIGINT)
    _, said = starting.communicate(timeout=PATIENCE_SECONDS)
    assert (starting.returncode, said) == (130, b"parallel-loop: interrupted\n")
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie", PATIENCE_SECONDS)


# --- restart --------------------------------------------------------------------------------------------------------


def restart(project: Project, *options: str) -> Answer:
    answer = call(project.root, "restart", *options)
    assert answer.code == 0, answer
    return answer


def test_restart_finishes_the_work_in_hand_and_goes_on_with_the_same_options(project: Project, tmp_path: Path) -> None:
    add(project, "in-hand", f"touch {tmp_path}/up; until test -e {tmp_path}/go; do sleep 0.02; done; echo x > x")
    assert call(project.root, "start", "--agents", "2").code == 0
    first = holder(project)
    eventually((tmp_path / "up").exists, PATIENCE_SECONDS)
    restarting = subprocess.Popen([*PROGRAM, "restart"], cwd=project.root, env=environment())
    eventually(lambda: "finishing" in [event["event"] for event in events(project)], PATIENCE_SECONDS)
    (tmp_path / "go").touch()
    assert restarting.wait(PATIENCE_SECONDS) == 0
    second = holder(project)
    assert (first.pid != second.pid, second.agents, second.drain) == (True, 2, False)
    assert kinds(project, "in-hand") == ["claimed", "landing", "done"]

    os.kill(second.pid, signal.SIGKILL)
    eventually(lambda: read_holder(project.state.coordinator_lock) is None, PATIENCE_SECONDS)
    assert "2 agents up" in restart(project).out
    assert holder(project).agents == 2


def test_restart_now_gives_the_work_back(project: Project, tmp_path: Path) -> None:
    add(project, "long", f"test -e {tmp_path}/up || {{ touch {tmp_path}/up; exec sleep 1000; }}; echo x > x")
    assert call(project.root, "start", "--agents", "1", "--drain").code == 0
    eventually((tmp_path / "up").exists, PATIENCE_SECONDS)
    assert "stops first" in restart(project, "--now").out
    eventually(lambda: states(project) == {"long": "done"}, PATIENCE_SECONDS)
    assert kinds(project, "long") == ["claimed", "released", "claimed", "landing", "done"]
    eventually(lambda: read_holder(project.state.coordinator_lock) is None, PATIENCE_SECONDS)  # it was to drain


def test_what_could_not_start_again_is_not_stopped(project: Project) -> None:
    assert call(project.root, "start", "--agents", "1").code == 0
    before = holder(project)
    (project.root / "parallel-loop.yaml").write_text("target: nowhere\n")
    assert call(project.root, "restart").code == 2
    assert holder(project) == before


# --- the log --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [True, False])
def test_our_own_log_is_bounded_and_a_file_of_the_users_is_not(
    project: Project, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    monkeypatch.setattr(logs, "MAX_LOG_BYTES", 1000)
    log = project.state.coordinator_log
    path = log if ours else project.root / "mine.log"
    log.touch()
    with path.open("a") as out:
        lines = Lines(project.state.events, out, log)
        for _ in range(100):
            project.state.record_event("paused")
            lines.show()
    size = path.stat().st_size
    assert (size <= 1000) == ours
    assert path.read_text().endswith("paused: no more items are taken\n")
