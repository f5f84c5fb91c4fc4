"""Runs in which a program is paused, or there is no room: what goes on, how they end, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallel_loop.coordinator.cli import main
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.pausing.pauses import RunBegun
from parallel_loop.harness.project import Project
from support.runs import PATIENCE_SECONDS, add, happened, make_project, running, states
from support.waiting import eventually

LOOP = str(Path(__file__).parent.parent / "loop.py")
ALONE = pytest.mark.parametrize("alone", [False, True], ids=["coordinator", "loop"])


def make(tmp_path: Path, config: str = "") -> Project:
    """A repository whose program `agent` is a script that is not there yet."""
    named = f"programs: {{agent: {{argv: [{tmp_path}/agent]}}}}\n"
    return make_project(tmp_path / "r", named + config)


def install(tmp_path: Path, script: str = "cat > $PARALLEL_LOOP_ITEM.txt") -> None:
    path = tmp_path / "agent.new"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    path.rename(tmp_path / "agent")


def add_for_agent(project: Project, *names: str, **fields: object) -> None:
    for name in names:
        add(project, name, **({"command": None, "program": "agent", "prompt": name} | fields))


def call(project: Project, *argv: str) -> int:
    return main(["--repo", str(project.root), *argv])


@ALONE
def test_a_drain_ends_with_1_and_says_so_when_only_items_of_a_paused_program_are_left(
    tmp_path: Path, alone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make(tmp_path, "retry: {first: 1h, max: 1h}\n")
    add_for_agent(project, "a", "b", "c", "d", "e")
    add(project, "other")
    options = ("--drain",) if alone else ("--drain", "--agents", "1")
    with running(project, *options, main=LOOP if alone else "") as run:
        assert run.wait() == 1, run.output
        assert "all that is left waits for what is paused: the program agent" in run.output
        assert "paused: agent: 3 attempts failed alike within seconds (not-started): the program could" in run.output
        (need,) = run.snapshot().attention
    assert need.why.startswith("the program agent is paused (the next trial is at ")
    assert "(not-started): the program could not be started: " in need.why
    assert need.next == "parallel-loop resume agent"
    assert states(project) == dict.fromkeys("abc", "delayed") | {"d": "ready", "e": "ready", "other": "done"}
    call(project, "doctor", "--json")
    found = json.loads(capsys.readouterr().out)["findings"]
    remedies = [each["remedy"] for each in found if "is paused" in each["detail"]]
    assert remedies == ["mend it, then `parallel-loop resume agent`"]
    call(project, "list", "--state", "ready")
    assert capsys.readouterr().out.count("waits for the program agent, which is paused") == 2
    looked_at = {each["detail"].partition(":")[0] for each in found if each["name"] == "room"}
    assert looked_at == {"memory", "disk of the worktrees", "disk of the state"}
    # Whoever starts a run may have mended something: it begins with a trial, which costs nothing.
    with running(project, *options, main=LOOP if alone else "") as run:
        assert run.wait() == 1, run.output
    entry = project.queue.entry("d")
    assert entry is not None
    assert (entry.attempts, entry.counted_attempts) == (1, 0)
    assert call(project, "resume", "agent") == 0, "it needs no coordinator"
    assert "one item of agent is tried when a coordinator runs, and" in capsys.readouterr().out
    (need,) = run.snapshot().attention
    assert need.why.startswith("the program agent is paused (the next of its items that can be taken is a trial): 4 ")
    for name in "abcde":
        assert call(project, "cancel", name) == 0
    assert run.snapshot().attention == (), "nothing waits for it any more"


@ALONE
def test_a_drain_waits_for_a_trial_while_other_work_goes_on(tmp_path: Path, alone: bool) -> None:
    project = make(tmp_path)
    add_for_agent(project, "a", "b", "c", max_attempts=1)
    add_for_agent(project, "d", "e")
    go = tmp_path / "go"
    add(project, "long", f"until test -e {go}; do sleep 0.02; done", priority=9)
    with running(project, "--drain", *(() if alone else ("--agents", "1")), main=LOOP if alone else "") as run:
        eventually(lambda: states(project)["long"] == "working", PATIENCE_SECONDS)
        (paused,) = happened(project, "program-paused")
        assert paused["program"] == "agent"
        install(tmp_path)
        PauseFile(project).change(RunBegun())  # as if the time had come
        go.touch()
        assert run.wait() == 1, run.output
    assert states(project) == dict.fromkeys("abc", "failed") | {"d": "done", "e": "done", "long": "done"}
    (resumed,) = happened(project, "program-resumed")
    assert resumed["program"] == "agent"


@ALONE
def test_resume_wakes_those_who_wait_and_is_refused_when_nothing_is_paused(
    tmp_path: Path, alone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make(tmp_path, "retry: {first: 1h, max: 1h}\nhealth: {heartbeat: 60s}\n")
    add_for_agent(project, "a", "b", "c", "d")
    assert call(project, "resume", "agent") == 1
    assert "'agent' is not paused; no program is" in capsys.readouterr().err
    with running(project, *(() if alone else ("--agents", "1")), main=LOOP if alone else ""):
        eventually(lambda: happened(project, "program-paused"), PATIENCE_SECONDS)
        eventually(lambda: "working" not in states(project).values(), PATIENCE_SECONDS)
        assert states(project)["d"] == "ready"
        assert call(project, "resume", "agnet") == 1
        assert "'agnet' is not paused; paused: agent" in capsys.readouterr().err
        assert call(project, "resume", "agent") == 0, "although it is missing still"
        assert "one item of agent is tried now, and" in capsys.readouterr().out
        eventually(lambda: [event["item"] for event in happened(project, "released")][3:] == ["d"], PATIENCE_SECONDS)
        (pause,) = PauseFile(project).in_force().values()
        assert (pause.attempts, pause.trial) == (4, False)
        entry = project.queue.entry("d")
        assert entry is not None
        assert (entry.attempts, entry.counted_attempts) == (1, 0)
        install(tmp_path)
        assert call(project, "resume", "agent") == 0
        eventually(lambda: states(project)["d"] == "done", PATIENCE_SECONDS)
    assert PauseFile(project).look() == ()


@ALONE
def test_a_drain_waits_for_room_and_says_who_is_held_and_why(tmp_path: Path, alone: bool) -> None:
    project = make(tmp_path, "floors: {disk: 900TB}\n")
    add(project, "one")
    with running(project, "--drain", *(() if alone else ("--agents", "2")), main=LOOP if alone else "") as run:
        agents = 1 if alone else 2
        eventually(lambda: [agent.state for agent in run.snapshot().agents] == ["held"] * agents, PATIENCE_SECONDS)
        snapshot = run.snapshot()
        assert all("`floors: disk:` asks for" in (agent.note or "") for agent in snapshot.agents)
        (need,) = snapshot.attention
        names = ", ".join(agent.name for agent in snapshot.agents)
        assert need.why.startswith(f"{names}: disk of the worktrees: ")
        assert need.next.startswith("df -h ")
        assert run.process.poll() is None
        assert call(project, "stop") == 0
        assert run.wait() == 0, run.output
    assert states(project) == {"one": "ready"}
    entry = project.queue.entry("one")
    assert entry is not None
    assert entry.records == ()


SHORT = """
import sys
from pathlib import Path
from parallel_loop import loop
from parallel_loop.harness import floors, room
room.ROOM_SECONDS = 0.05
floors._free_disk = lambda folder: 0 if not Path(sys.argv[0]).with_name("room").exists() else 10**12
sys.exit(loop.main())
"""


def test_the_single_agent_loop_goes_on_by_itself_when_there_is_room(tmp_path: Path) -> None:
    project = make(tmp_path)
    add(project, "one")
    script = tmp_path / "short.py"
    script.write_text(SHORT)
    with running(project, "--drain", main=str(script)) as run:
        eventually(lambda: [agent.state for agent in run.snapshot().agents] == ["held"], PATIENCE_SECONDS)
        (tmp_path / "room").touch()
        assert run.wait() == 0, run.output
    assert states(project) == {"one": "done"}
