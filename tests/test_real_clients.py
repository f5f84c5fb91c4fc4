"""Real coding agents against a fake model server: what we take for granted of them is so (`make test-real`)."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.models.cases import CASES, edit
from support.models.clients import CLIENTS, Client
from support.models.running import Run, run, session_of
from support.models.script import prompt
from support.models.server import ModelServer
from support.models.wishes import Place, Wish
from support.repository import git, make_repository

pytest_plugins = ["support.models.fixtures"]
pytestmark = pytest.mark.real_client


@pytest.fixture(params=["claude", "codex"])
def client(request: pytest.FixtureRequest) -> Client:
    found = CLIENTS[request.param]
    assert found.program(), f"{found.name} is not installed: make test-real"
    return found


@pytest.fixture
def place(tmp_path: Path, server: ModelServer) -> Place:
    (tmp_path / "home" / "tmp").mkdir(parents=True)
    return Place(tmp_path / "home", make_repository(tmp_path / "repo"), server.url)


def run_case(client: Client, place: Place, server: ModelServer, name: str) -> Run:
    case = next(case for case in CASES if case.name == name)
    return run(client, client.invoke(place, Wish(prompt(*case.steps), **case.wish)), place, server, case)


def last_event(done: Run) -> dict[str, object]:
    return dict(json.loads(done.out.splitlines()[-1]))


def test_an_edit_is_made_and_committed(client: Client, place: Place, server: ModelServer) -> None:
    done = run_case(client, place, server, "edit")
    assert done.exit_code == 0, done
    assert git(place.repository, "log", "--format=%s", "--max-count=1") == "add hello.txt"
    assert git(place.repository, "show", "HEAD:hello.txt") == "hello"
    assert git(place.repository, "status", "--porcelain") == ""
    assert [request.got for request in server.steps] == ["write", "bash", "The file is there."]
    assert len({request.session for request in server.steps}) == 1
    assert server.others == []


def test_a_usage_limit_ends_the_run_at_once_and_says_until_when(
    client: Client, place: Place, server: ModelServer
) -> None:
    done = run_case(client, place, server, "usage")
    assert done.exit_code == 1, done
    (request,) = server.steps
    assert request.resets_at
    if client.name == "claude":
        events = [json.loads(line) for line in done.out.splitlines()]
        (limit,) = [event["rate_limit_info"] for event in events if event["type"] == "rate_limit_event"]
        assert (limit["status"], limit["resetsAt"]) == ("rejected", request.resets_at)
        assert (last_event(done)["type"], last_event(done)["is_error"]) == ("result", True)
    else:
        assert last_event(done)["type"] == "turn.failed"
        clock = time.strftime("%I:%M %p", time.gmtime(request.resets_at)).lstrip("0")
        assert f"try again at {clock}." in json.dumps(last_event(done))


def test_a_session_that_is_resumed_goes_on_where_it_was(client: Client, place: Place, server: ModelServer) -> None:
    steps = (*edit()[:2], {"text": "Half is done."}, *edit("second.txt"))
    first = run(client, client.invoke(place, Wish(prompt(*steps))), place, server)
    again = Wish("Go on.", session=session_of(first))
    second = run(client, client.invoke(place, again), place, server)
    assert (first.exit_code, second.exit_code) == (0, 0), (first, second)
    assert [request.step for request in server.steps] == [0, 1, 2, 3, 4, 5]
    assert git(place.repository, "log", "--format=%s", "--max-count=2") == "add second.txt\nadd hello.txt"


def test_several_share_a_home_and_a_repository(client: Client, place: Place, server: ModelServer) -> None:
    """As agents of one run do: each in its worktree, with a script of its own."""
    names = [f"agent-{number}" for number in range(4)]
    places = [Place(place.home, place.home.parent / name, place.url) for name in names]
    for name, one in zip(names, places, strict=True):
        git(place.repository, "worktree", "add", "--quiet", "-b", name, str(one.repository))
    wanted = [client.invoke(one, Wish(prompt(*edit(f"{name}.txt")))) for name, one in zip(names, places, strict=True)]
    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(lambda two: run(client, two[0], two[1], server), zip(wanted, places, strict=True)))
    assert [one.exit_code for one in done] == [0] * len(names), done
    for name in names:
        assert git(place.repository, "diff", "--name-only", "main", name) == f"{name}.txt"
