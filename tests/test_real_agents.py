"""Real coding agents, driven by real coordinators, against a fake model server (`make test-real`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.requests import cancel
from support.models.cases import edit
from support.models.clients import CLIENTS, Client, Place, Wish
from support.models.script import prompt
from support.models.server import ModelServer
from support.repository import environment, git, make_repository
from support.runs import drain, running, states
from support.waiting import eventually

pytestmark = [pytest.mark.real_client, pytest.mark.timeout(300)]

PROGRAMS = {
    "claude": "claude: {model: claude-sonnet-4-5}",
    "codex": (
        "codex: {model: gpt-5.5, "
        "args: [--dangerously-bypass-approvals-and-sandbox, --disable, plugins, --disable, apps]}"
    ),
}


@dataclass
class Stage:
    """A repository whose items are done by a real client, which asks the fake server."""

    client: Client
    project: Project
    server: ModelServer

    def add(self, item_id: str, *steps: dict[str, Any], **fields: object) -> None:
        named = {"id": item_id, "title": f"Do {item_id}", "added_at": "", "prompt": prompt(*steps)}
        self.project.queue.add([Item(**(named | fields))])

    def records(self, item_id: str) -> tuple[Record, ...]:
        entry = self.project.queue.entry(item_id)
        assert entry is not None
        return entry.records

    def outcomes(self, item_id: str) -> list[str | None]:
        return [record.outcome for record in self.records(item_id) if record.kind in {"released", "landing", "failed"}]


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server
    assert server.problems == []


@pytest.fixture(params=["claude", "codex"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, server: ModelServer) -> Stage:
    return make_stage(tmp_path, server, request.param)


def make_stage(folder: Path, server: ModelServer, name: str, more: str = "", **wish: Any) -> Stage:
    """The stage for a client with `more` keys for its program, started as `wish` says."""
    client = CLIENTS[name]
    program = client.program()
    assert program, f"{name} is not installed: make test-real"
    (folder / "home" / "tmp").mkdir(parents=True)
    program_keys = PROGRAMS[name].removesuffix("}") + f"{more}}}"
    text = f"program: {name}\nprograms: {{{program_keys}}}\nchecks: ['test ! -e broken']\n"
    text += "retry: {first: 0s}\nafter_limit: {slack: 0s, jitter: 0s}\n"
    root = make_repository(folder / "repo", {"README": "start\n", "parallel-loop.yaml": text})
    started = client.invoke(Place(folder / "home", root, server.url), Wish("", **wish))
    own = {**started.env, "PATH": f"{program.parent}:{started.env['PATH']}"}
    project = Project.open(root, {**environment(), **own})
    project.state.create()
    return Stage(client, project, server)


def test_12_items_by_3_workers_end_in_landed_commits(stage: Stage) -> None:
    for number in range(12):
        stage.add(f"i{number}", *edit(f"file-{number}.txt"))
    assert drain(stage.project, "--agents", "3") == 0
    assert set(states(stage.project).values()) == {"done"}
    names = git(stage.project.root, "ls-tree", "--name-only", "main").split()
    assert {f"file-{number}.txt" for number in range(12)} <= set(names)
    landed = stage.records("i0")[-1]
    handed = next(record for record in stage.records("i0") if record.kind == "landing")
    assert landed.kind == "done"
    assert handed.session
    assert handed.usage is not None
    assert handed.usage.input + handed.usage.cached >= 3 * 1500


def test_what_it_did_not_commit_lands_too(stage: Stage) -> None:
    stage.add("one", {"tool": "write", "args": {"path": "left.txt", "content": "x\n"}}, {"text": "It is written."})
    assert drain(stage.project, "--agents", "1") == 0
    assert git(stage.project.root, "show", "main:left.txt") == "x"


def test_a_fault_that_passes_costs_no_attempt(stage: Stage) -> None:
    stage.add("one", *edit()[:1], {"fail": "overloaded", "times": 2, "then": edit()[1]}, edit()[2])
    stage.add("two", {"fail": "rate_limit", "times": 1, "retry_after": 1, "then": edit("two")[0]}, *edit("two")[1:])
    assert drain(stage.project, "--agents", "2") == 0
    assert set(states(stage.project).values()) == {"done"}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_usage_limit_in_the_middle_is_waited_out_in_the_same_session(
    tmp_path: Path, server: ModelServer, name: str
) -> None:
    stage = make_stage(tmp_path, server, name, subscription=name == "claude")
    write, commit, done = edit()
    stage.add("one", write, {"fail": "usage_limit", "times": 1, "reset_in": 1, "then": commit}, done)
    with running(stage.project, "--agents", "1", "--drain") as run:
        assert run.wait(100) == 0, run.output  # Codex tells the minute only
    limited, handed = (record for record in stage.records("one") if record.kind in {"released", "landing"})
    assert (limited.outcome, limited.counted) == ("limited", False)
    assert handed.session == limited.session is not None
    assert len({request.session for request in stage.server.steps}) == 1
    assert git(stage.project.root, "show", "main:hello.txt") == "hello"


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("fault", ["hang", "hang_mid", "disconnect"])
def test_who_hears_nothing_any_more_is_ended_and_goes_on(
    tmp_path: Path, server: ModelServer, name: str, fault: str
) -> None:
    stage = make_stage(tmp_path, server, name, ", silent: 4s")
    write, commit, done = edit()
    stage.add("one", write, {"fail": fault, "times": 1, "then": commit}, done)
    assert drain(stage.project, "--agents", "1") == 0
    assert git(stage.project.root, "show", "main:hello.txt") == "hello"
    sessions = {record.session for record in stage.records("one") if record.session}
    assert len(sessions) == 1
    assert stage.outcomes("one")[0] == ("stalled" if fault == "hang" else "done") or fault == "hang_mid"


def test_who_repeats_itself_is_stopped_and_no_tool_of_it_runs_on(stage: Stage) -> None:
    same = {"tool": "bash", "args": {"command": "echo the same"}, "forever": True}
    stage.add("one", same, max_attempts=1)
    assert drain(stage.project, "--agents", "1") == 1
    assert stage.outcomes("one") == ["looping"]


def test_a_killed_tool_is_gone(stage: Stage) -> None:
    stage.add("one", {"tool": "bash", "args": {"command": "touch 987654; tail -f 987654"}}, {"text": "Done."})
    with running(stage.project, "--agents", "1") as run:
        run.until_working("one")
        eventually(following, 60)
        cancel(stage.project.queue, "one")
        eventually(lambda: not following(), 30)


def following() -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "cmdline").read_bytes().split(b"\0")[:3] == [b"tail", b"-f", b"987654"]:
                found.append(int(folder.name))
        except OSError:
            continue
    return found
