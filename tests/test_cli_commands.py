"""What the commands do and print, in this process."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.coordinator import errors
from parallel_loop.coordinator.cli import COMMANDS
from parallel_loop.coordinator.commands import steer
from parallel_loop.coordinator.commands.harmless import Harmless
from parallel_loop.coordinator.control import Wanted, read_wanted, write_wanted
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.project import Project
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, Taker
from support.cli import CommandLine
from support.repository import git
from support.runs import running
from support.taking import claimed


@pytest.fixture
def project(root: Path) -> Project:
    return Project.open(root, {})


@pytest.fixture
def taker(project: Project) -> Iterator[Taker]:
    """A worker that takes items, in this process."""
    project.queue.create()
    taker = Taker(project.queue, Owner("agent-1", *own_identity()))
    yield taker
    taker.close()


@pytest.fixture
def coordinator(project: Project) -> Iterator[None]:
    """Somebody holds the coordinator's lock."""
    project.state.create()
    write_wanted(project.state, Wanted(agents=3))
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    yield
    lock.close()


def end(project: Project, taker: Taker, claim: Claim, **fields: Any) -> None:
    assert taker.end(claim, Record(at=project.queue.now(), agent="agent-1", **fields))


def test_init_writes_a_configuration_once_and_leaves_an_existing_one_alone(root: Path, cli: CommandLine) -> None:
    first = cli("init")
    written = (root / "parallel-loop.yaml").read_text()
    (root / "parallel-loop.yaml").write_text("agents: 2\n")
    second = cli("init")

    assert (first.code, second.code) == (0, 0)
    assert "parallel-loop.yaml written (target: main)" in first.out
    assert "target: main" in written
    assert "parallel-loop.yaml exists and is left as it is" in second.out
    assert (root / "parallel-loop.yaml").read_text() == "agents: 2\n"
    assert git(root, "status", "--porcelain") == "?? parallel-loop.yaml"


def test_items_can_be_added_before_init_and_from_a_folder_and_from_an_agents_worktree(
    root: Path, cli: CommandLine
) -> None:
    (root / "src").mkdir()
    git(root, "worktree", "add", "--quiet", "--detach", str(root / ".parallel-loop/worktrees/agent-1"))
    for place in (root, root / "src", root / ".parallel-loop/worktrees/agent-1"):
        cli.directory = place
        assert cli("add", "--command", "true").code == 0

    assert [row["id"] for row in json.loads(cli("list", "--json").out)] == ["true", "true-2", "true-3"]


def test_list_shows_what_is_in_the_states_asked_for(cli: CommandLine) -> None:
    cli("add", "--command", "true", "--id", "a")
    cli("add", "--command", "true", "--id", "b", "--after", "a")
    cli("cancel", "a")

    def ids(*states: str) -> list[str]:
        argv = [argument for state in states for argument in ("--state", state)]
        return [row["id"] for row in json.loads(cli("list", "--json", *argv).out)]

    assert (ids("blocked"), ids("cancelled"), ids("ready"), ids("cancelled", "blocked")) == (
        ["b"],
        ["a"],
        [],
        ["a", "b"],
    )
    assert "blocked" in cli("list").out


def test_show_tells_the_whole_history(cli: CommandLine, project: Project, taker: Taker) -> None:
    cli("add", "--command", "true", "--id", "a")
    end(project, taker, claimed(taker), kind="failed", outcome="failed", why="exit code 7", seconds=1.5)
    cli("retry", "a")

    history = json.loads(cli("show", "a", "--json").out)["history"]

    assert [(event["event"], event["attempt"]) for event in history][:2] == [("claimed", 1), ("failed", 1)]
    assert history[1]["why"] == "exit code 7"
    assert "exit code 7" in cli("show", "a").out


def test_show_tells_since_when_an_item_is_worked_on_and_where_it_prints(cli: CommandLine, project: Project) -> None:
    go = project.root.parent / "go"
    cli("add", "--command", f"until test -e {go}; do sleep 0.02; done", "--id", "a")
    with running(project, "--agents", "1", "--drain") as run:
        run.until_working("a")
        [claimed] = json.loads(cli("show", "a", "--json").out)["history"]
        said = cli("show", "a").out
        go.touch()
        assert run.wait() == 0, run.output
    history = json.loads(cli("show", "a", "--json").out)["history"]
    assert claimed["log"] == history[1]["log"]
    assert claimed["log"] in said
    assert claimed["at"] == history[0]["at"]


@pytest.mark.parametrize("kind", ["done", "failed", "cancelled"])
def test_an_item_that_has_ended_has_no_next_prompt(cli: CommandLine, project: Project, taker: Taker, kind: str) -> None:
    cli("add", "--command", "true", "--id", "a")
    end(project, taker, claimed(taker), kind=kind)
    answer = cli("show", "a", "--prompt")
    retry = "" if kind == "done" else "; `parallel-loop retry a` has it tried again"
    assert (answer.code, answer.out, answer.line) == (1, "", f"a is {kind}, so nothing more is sent{retry}")
    if kind != "done":
        cli("retry", "a")
        assert cli("show", "a", "--prompt").code == 0


def test_a_person_decides(cli: CommandLine, project: Project, taker: Taker) -> None:
    cli("add", "--command", "true", "--id", "a")
    refusals = [cli("retry", "a"), cli("answer", "a", "yes"), cli("approve", "a"), cli("reject", "a", "no")]
    assert [(answer.code, answer.line.split(" ")[:2]) for answer in refusals] == [(1, ["a", "is"])] * 4

    end(project, taker, claimed(taker), kind="waiting", outcome="asked", why="which one?")
    assert "waits for an answer" in cli("approve", "a").line
    assert "waits for an answer" in cli("reject", "a", "no").line
    assert cli("answer", "a", "the", "left one").out == "a goes on with that answer\n"
    end(project, taker, claimed(taker), kind="waiting", outcome="review", why="look")
    assert cli("answer", "a", "once more").out == "a goes back to work with that answer\n"

    end(project, taker, claimed(taker), kind="waiting", outcome="review", why="look")
    assert cli("reject", "a", "too long").out == "a goes back to work with that reason\n"
    end(project, taker, claimed(taker), kind="waiting", outcome="review", why="look", commit="c", branch="b")
    assert cli("approve", "a").code == 0

    entry = project.queue.entry("a")
    assert entry is not None
    assert [record.text for record in entry.records if record.kind == "answered"] == [
        "the left one",
        "once more",
        "too long",
    ]
    assert (entry.records[-1].kind, entry.records[-1].commit) == ("landing", "c")


def test_cancelling_an_item_in_work_names_the_agent_and_a_second_time_is_refused(
    cli: CommandLine, taker: Taker
) -> None:
    cli("add", "--command", "true", "--id", "a")
    claim = claimed(taker)

    assert cli("cancel", "a").out == "a is cancelled; agent-1 stops working on it\n"
    assert not taker.holds(claim)
    assert cli("cancel", "a")[::2] == (1, "parallel-loop: a has ended already (cancelled); nothing to cancel\n")


def test_ask_writes_the_reason_where_the_worker_looks(tmp_path: Path, cli: CommandLine) -> None:
    cli.monkeypatch.setenv("PARALLEL_LOOP_ASK_FILE", str(tmp_path / "ask"))

    assert cli("ask", "Which", "one?").code == 0
    assert (tmp_path / "ask").read_text() == "Which one?\n"


@pytest.mark.parametrize("command", [["stop"], ["stop", "--now"], ["pause"], ["resume"], ["scale", "5"]])
def test_without_a_coordinator_there_is_nobody_to_speak_to(cli: CommandLine, command: list[str]) -> None:
    assert cli(*command)[::2] == (
        1,
        "parallel-loop: no coordinator runs in this repository; start one with `parallel-loop run`\n",
    )


@pytest.mark.usefixtures("coordinator")
def test_speaking_to_the_coordinator_changes_what_is_wanted_and_nothing_else(
    cli: CommandLine, project: Project
) -> None:
    said = [cli(*command) for command in (["scale", "5"], ["pause"], ["stop"])]

    assert [answer.code for answer in said] == [0, 0, 0]
    assert read_wanted(project.state) == Wanted(agents=5, paused=True, ending="finish")
    for too_late in (["resume"], ["pause"], ["scale", "2"]):
        answer = cli(*too_late)
        assert answer.code == 1
        assert "is ending; when it has, start again with `parallel-loop run`" in answer.err
    assert "and ends" in cli("stop", "--now").out
    assert read_wanted(project.state) == Wanted(agents=5, paused=True, ending="stop")


@pytest.mark.usefixtures("coordinator")
def test_a_repair_is_refused_while_a_coordinator_runs(cli: CommandLine) -> None:
    cli("add", "--command", "true")

    answer = cli("doctor", "--repair", "--json")

    assert (answer.code, answer.out) == (3, "")
    assert re.search(r"another coordinator runs in this repository \(pid \d+, since [-\d]+ [:\d]+\); ", answer.line)
    assert re.search(r"coordinator +pid \d+ since [-\d]+ [:\d]+\n", cli("doctor").out)


def test_a_program_does_not_interrupt_itself(
    cli: CommandLine, project: Project, taker: Taker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That costs no attempt, and might go on for ever."""
    cli("add", "--command", "true", "--id", "a")
    claimed(taker)
    agent = project.state.agent("agent-1")
    agent.create()
    monkeypatch.setenv("PARALLEL_LOOP_STATE", str(project.state.root))
    monkeypatch.setenv("PARALLEL_LOOP_AGENT", "agent-1")
    refused = cli("interrupt", "a", "again")
    assert refused.code == 2
    assert "`parallel-loop ask`" in refused.line
    assert not agent.interrupt.exists()
    monkeypatch.setenv("PARALLEL_LOOP_AGENT", "agent-2")
    assert cli("interrupt", "a", "again").code == 0


def test_who_is_to_be_interrupted_is_an_item_or_an_agent(cli: CommandLine, taker: Taker) -> None:
    cli("add", "--command", "true", "--id", "a")
    assert cli("interrupt", "a", "stop").line == "nobody works on a now; nothing was interrupted"
    assert cli("interrupt", "agent-7", "stop").line == "there is no agent 'agent-7'; none has worked here yet"
    assert cli("interrupt", "b", "stop").line.startswith("there is no item 'b'; ")


def test_logs_prints_the_bytes_of_the_attempt_that_was_asked_for(
    cli: CommandLine, project: Project, taker: Taker
) -> None:
    cli("add", "--command", "true", "--id", "a")
    assert cli("logs", "a")[::2] == (1, "parallel-loop: a was never worked on; it is ready\n")
    agent = project.state.agent("agent-1")
    agent.create()
    for text in ("one\n", "two \x1b[31m\n"):
        claim = claimed(taker)
        agent.attempt_log("a", claim.attempt).write_text(text)
        end(project, taker, claim, kind="failed", outcome="failed")
        cli("retry", "a")
    agent.session.write_text('{"item": "a", "attempt": 1, "branch": "b"}')

    assert cli("logs", "a").out == "two \x1b[31m\n"
    assert cli("logs", "a", "--attempt", "1", "--follow").out == "one\n"
    assert cli("logs", "agent-1").out == "one\n"
    assert "it has 2, see `parallel-loop show a`" in cli("logs", "a", "--attempt", "3").line
    agent.worker_log.write_text("Killed\n")
    assert cli("logs", "agent-1", "--worker").out == "Killed\n"
    assert cli("logs", "a", "--worker").line == "there is no agent 'a'; those that there are: agent-1"
    assert cli("logs", "agent-9").line == "there is no agent 'agent-9'; those that there are: agent-1"
    agent.attempt_log("a", 2).write_text("")
    assert cli("logs", "a") == (0, "", "parallel-loop: attempt 2 at a has printed nothing\n")
    agent.attempt_log("a", 2).unlink()
    assert cli("logs", "a")[0] == 1


def test_waiting_for_the_end_returns_when_the_coordinator_has_ended(cli: CommandLine, project: Project) -> None:
    project.state.create()
    write_wanted(project.state, Wanted(agents=3))
    ended = own_identity()._replace(process_start=1.0)  # nobody any more
    lock = CoordinatorLock(project.state.coordinator_lock, *ended)
    looks = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        lock.close()

    cli.monkeypatch.setattr(steer.time, "sleep", look)

    assert cli("stop", "--wait").code == 0
    assert len(looks) == 1


def test_contention_on_this_file_system_has_one_winner_each_time(cli: CommandLine) -> None:
    answer = cli("contention", "--iterations", "3", "--claimers", "2", "--json")

    result = json.loads(answer.out)
    assert (answer.code, result["winners"], result["violations"]) == (0, {"1": 3}, [])
    assert [len(found["winners"]) for found in result["rounds"]] == [1, 1, 1]


def test_contention_tries_the_file_system_that_it_is_given(cli: CommandLine, tmp_path: Path) -> None:
    place = Path(os.fsdecode(bytes(tmp_path / "no utf-8 ") + b"\xff"))
    place.mkdir()

    races = cli("contention", "--iterations", "2", "--claimers", "2", "--rounds", "--dir", str(place))
    drained = cli("contention", "--items", "20", "--claimers", "2", "--dir", str(place))
    as_json = cli("contention", "--items", "20", "--claimers", "2", "--dir", str(place), "--json")

    assert [answer.code for answer in (races, drained, as_json)] == [0, 0, 0]
    assert [line.partition(":")[0] for line in races.out.splitlines()[:2]] == ["iteration 1", "iteration 2"]
    assert "no utf-8 \\xff, on " in drained.out
    assert "20 items, 2 processes" in drained.out
    result = json.loads(as_json.out)
    assert (result["items"], sum(result["served"].values()), result["violations"]) == (20, 20, [])
    assert {trial["name"] for trial in result["probed"] if trial["works"]} >= {"hard links", "locks", "process locks"}
    assert list(place.iterdir()) == []


def test_contention_says_what_cannot_be_asked_for_together_and_where_it_cannot_be(
    cli: CommandLine, tmp_path: Path
) -> None:
    together = cli("contention", "--items", "2", "--iterations", "2")
    nowhere = cli("contention", "--dir", str(tmp_path / "missing"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    cli.monkeypatch.setattr(os, "link", refuse)
    without_links = [cli("contention", "--dir", str(tmp_path), *more) for more in ((), ("--items", "2"))]

    assert (together.code, "leave out --iterations" in together.line) == (2, True)
    assert (nowhere.code, "does not exist" in nowhere.line) == (2, True)
    for answer in without_links:
        assert (answer.code, answer.out, "has no hard links" in answer.line) == (4, "", True)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_only_colours_reach_the_terminal_wherever_the_text_is_cut(size: int) -> None:
    data = "a\x1b[1;31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\r\nb\rc\x9b2J é \u202e\t\xff\n\x1b[".encode() + b"\xff"
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    shown = "a{}red{} ^[]0;title^G ^[[2J\nb\nc\\x9b2J é \\u202e\tÿ\n^[[\\xff"

    for colour, expected in ((True, shown.format("\x1b[1;31m", "\x1b[0m") + "\x1b[0m"), (False, shown.format("", ""))):
        harmless = Harmless(colour=colour)
        assert "".join(harmless.take(piece) for piece in pieces) + harmless.end() == expected


@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_every_help_text_begins_with_what_to_do_and_shows_an_example(cli: CommandLine, name: str | None) -> None:
    answer = cli(*([name] if name else []), "--help")

    assert (answer.code, answer.err) == (0, "")
    usage, first = answer.out.split("\n\n")[:2]
    assert usage.startswith("Usage: parallel-loop ")
    assert "Example" in answer.out
    assert first[2].isupper()


def test_every_error_of_ours_has_an_exit_code() -> None:
    inside = {  # never leave the module that raises them, or only between ours
        "BranchExists",
        "Enough",
        "Faulty",
        "Invalid",
        "NoAnswer",
        "NotAllowed",
        "OutsideTree",
        "RecycleFailed",
        "RedBase",
        "TemplateError",
        "Unsettled",
    }
    ours = {kind.__name__ for kind in subclasses(Exception) if kind.__module__.startswith("parallel_loop.")}

    assert ours - inside == set(errors.CODES)


def subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    import importlib

    folder = Path(errors.__file__).parent.parent
    for part in ("queue", "worktrees", "harness", "coordinator"):
        for file in sorted((folder / part).rglob("*.py")):
            if file.stem != "__main__":
                importlib.import_module(".".join(["parallel_loop", *file.relative_to(folder).with_suffix("").parts]))
    todo = [kind]
    while todo:
        todo += (found := todo.pop().__subclasses__())
        yield from found
