"""How attempts of real agents end that cannot go on, or are ended (`make test-real-all`); see test_real_agents.py."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.harness.resuming import session_in
from parallel_loop.queue.requests import cancel
from support.cli import call
from support.models.clients import CLIENTS
from support.models.driving import COMMANDING, FOLLOW, NAMES, Stage, make_stage
from support.models.server import ModelServer
from support.repository import git
from support.runs import Run, running
from support.waiting import eventually

pytest_plugins = ["support.models.fixtures"]
pytestmark = [pytest.mark.real_client, pytest.mark.timeout(300)]


def test_who_is_not_let_in_needs_a_person(stage: Stage) -> None:
    stage.add("one", {"fail": "auth"}, max_attempts=1)
    assert stage.drain() == 1
    (refused,) = stage.ends("one")
    assert (refused.outcome, refused.counted) == ("auth-failed", False)


def test_a_busy_service_is_waited_for_and_costs_no_attempt(stage: Stage) -> None:
    stage.add("one", *stage.driven.edit_with({"fail": "overloaded"}), max_attempts=1)
    with running(stage.project, "--agents", "1", "--drain") as run:
        eventually(lambda: stage.ends("one"), 200)
        stage.server.mend()
        assert run.wait(90) == 0, run.output
    *before, handed = stage.ends("one")
    assert {(record.outcome, record.counted) for record in before} == {("overloaded", False)}
    assert handed.kind == "landing"
    assert git(stage.project.root, "show", "main:hello.txt") == "hello"


def test_a_session_that_is_too_long_is_told_so(stage: Stage) -> None:
    stage.add("one", {"fail": "context"}, max_attempts=1)
    assert stage.drain() == 1
    assert stage.outcomes("one") == ["context-full"]


def cancelled(stage: Stage, _run: Run) -> None:
    cancel(stage.project.queue, "one")


def stopped(stage: Stage, run: Run) -> None:
    assert call(stage.project.root, "stop", "--now").code == 0
    run.wait()


def worker_killed(_stage: Stage, run: Run) -> None:
    os.kill(run.until_working("one").pid, signal.SIGKILL)


ENDS: dict[Callable[[Stage, Run], None], list[str]] = {
    cancelled: [],
    stopped: ["interrupted"],
    worker_killed: ["died"],
}


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("stage", NAMES, indirect=True)
def test_nothing_is_left_of_who_is_ended(stage: Stage, end: Callable[[Stage, Run], None]) -> None:
    """Neither of its tools, nor of itself: all of them run tools in other process groups, one starts itself again."""
    commands = stage.client.name in COMMANDING
    stage.add("one", FOLLOW if commands else {"fail": "hang"}, {"text": "Done."}, max_attempts=1)
    with running(stage.project, "--agents", "1") as run:
        run.until_working("one")
        eventually(stage.following if commands else lambda: stage.server.steps, 100)
        end(stage, run)
        eventually(lambda: not stage.following() and not stage.left(), 40)
        eventually(lambda: stage.outcomes("one") == ENDS[end], 40)


@pytest.mark.parametrize("name", [name for name in COMMANDING if "resume" in CLIENTS[name].can])
def test_the_session_of_a_killed_worker_goes_on(tmp_path: Path, server: ModelServer, name: str) -> None:
    stage = make_stage(tmp_path, server, name)
    write = {"tool": "write", "args": {"path": "hello.txt", "content": "hello\n"}}
    stage.add("one", write, FOLLOW, {"text": "Done."})
    with running(stage.project, "--agents", "1", "--drain") as run:
        eventually(stage.following, 100)
        events = stage.project.state.agent("agent-1").events_file("one", 1)
        eventually(lambda: session_in(events))  # the worker has heard it: it looks four times a second
        worker_killed(stage, run)
        assert run.wait(200) == 0, run.output
    assert stage.outcomes("one") == ["died", "done"]
    assert git(stage.project.root, "show", "main:hello.txt") == "hello"
    assert len({request.session for request in server.steps}) == 1
