"""Real coding agents, driven by real coordinators, against a fake model server (`make test-real`, `test-real-all`).

Measured on two cores beside two other tests: six items by three workers land in 20 s, and in 29 s (gemini) to 58 s
(opencode) where others use the cores, too; so these four get no twelve, as Claude Code and Codex do.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.harness.briefing import own_command
from parallel_loop.queue.requests import cancel
from support.cli import call
from support.models.cases import edit
from support.models.driving import COMMANDING, DRIVEN, FOLLOW, NAMES, Stage, make_stage
from support.models.server import ModelServer
from support.repository import git
from support.runs import running, states
from support.waiting import eventually

pytest_plugins = ["support.models.fixtures"]
pytestmark = [pytest.mark.real_client, pytest.mark.timeout(300)]


def test_items_by_3_workers_end_in_landed_commits(stage: Stage) -> None:
    ids = [f"i{number}" for number in range(stage.driven.items)]
    for item_id in ids:
        stage.add(item_id, *edit(f"file-{item_id}.txt"))
    assert stage.drain(agents=3) == 0
    assert set(states(stage.project).values()) == {"done"}
    names = git(stage.project.root, "ls-tree", "-r", "--name-only", "main").split()
    assert set(names) == {"README", "parallel-loop.yaml", *(f"file-{item_id}.txt" for item_id in ids)}
    for item_id in ids:
        (handed,) = stage.ends(item_id)
        assert bool(handed.session) == ("resume" in stage.client.can)
        assert handed.usage is not None
        assert handed.usage.input + handed.usage.cached >= stage.driven.steps * 1500


def test_what_it_did_not_commit_lands_too(stage: Stage) -> None:
    stage.add("one", {"tool": "write", "args": {"path": "left.txt", "content": "x\n"}}, {"text": "It is written."})
    assert stage.drain() == 0
    assert git(stage.project.root, "show", "main:left.txt") == "x"


def test_a_fault_that_passes_costs_no_attempt(stage: Stage) -> None:
    stage.add("one", *stage.driven.edit_with({"fail": "overloaded", "times": 2}))
    stage.add("two", {"fail": "rate_limit", "times": 1, "retry_after": 1, "then": edit("two")[0]}, *edit("two")[1:])
    assert stage.drain(agents=2) == 0
    assert set(states(stage.project).values()) == {"done"}
    assert (stage.outcomes("one"), stage.outcomes("two")) == (["done"], ["done"])


@pytest.mark.parametrize("name", NAMES)
def test_a_usage_limit_in_the_middle_is_waited_out_in_the_same_session(
    tmp_path: Path, server: ModelServer, name: str
) -> None:
    """By itself, where its end is told; else when a person says so, as fifteen minutes later."""
    driven = DRIVEN[name]
    stage = make_stage(tmp_path, server, name, f", silent: {driven.silent}s", **driven.wish)
    stage.add("one", *driven.edit_with(driven.limit or {"fail": "usage_limit", "retry_after": 3600}))
    with running(stage.project, "--agents", "1", "--drain") as run:
        if driven.limit is None:
            eventually(lambda: stage.outcomes("one"), 150)
            server.mend()
            resumed = call(stage.project.root, "resume", name)
            assert resumed.code == 0, resumed
        assert run.wait(150) == 0, run.output  # Codex tells the minute only
    limited, handed = stage.ends("one")
    assert (limited.outcome, limited.counted) == ("limited", False)
    if "resume" in stage.client.can:
        assert handed.session == limited.session is not None
        assert len({request.session for request in stage.server.steps}) == 1
    assert git(stage.project.root, "show", "main:hello.txt") == "hello"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["hang", "hang_mid", "disconnect"])
def test_who_hears_nothing_any_more_is_ended_and_goes_on(
    tmp_path: Path, server: ModelServer, name: str, fault: str
) -> None:
    driven = DRIVEN[name]
    stage = make_stage(tmp_path, server, name, f", silent: {driven.silent}s")
    stage.add("one", *driven.edit_with({"fail": fault, "times": 1}))
    assert stage.drain() == 0
    assert git(stage.project.root, "show", "main:hello.txt") == "hello"
    assert len(stage.sessions("one")) == ("resume" in stage.client.can)
    assert stage.outcomes("one")[0] == ("stalled" if fault == "hang" else driven.dropped) or fault == "hang_mid"


@pytest.mark.parametrize("stage", COMMANDING, indirect=True)
def test_who_repeats_itself_is_stopped(stage: Stage) -> None:
    same = {"tool": "bash", "args": {"command": "echo the same"}, "forever": True}
    stage.add("one", same, max_attempts=1)
    assert stage.drain() == 1
    assert stage.outcomes("one") == ["looping"]


@pytest.mark.parametrize("stage", COMMANDING, indirect=True)
def test_a_killed_tool_is_gone(stage: Stage) -> None:
    stage.add("one", FOLLOW, {"text": "Done."})
    with running(stage.project, "--agents", "1") as run:
        run.until_working("one")
        eventually(stage.following, 60)
        cancel(stage.project.queue, "one")
        eventually(lambda: not stage.following() and not stage.left(), 30)


_ELSEWHERE = "sandbox_workspace_write.exclude_slash_tmp=true, -c, sandbox_workspace_write.exclude_tmpdir_env_var=true"


@pytest.mark.skipif(
    "codex" not in NAMES, reason="needs codex, which is not among the agents that WHO names, or that are installed"
)
def test_codex_asks_from_within_its_sandbox_by_a_login_shell(tmp_path: Path, server: ModelServer) -> None:
    """A repository is seldom below /tmp, where it may write; and its shell has the PATH of /etc/profile."""
    keys = f"model: gpt-5.5, args: [--disable, plugins, --disable, apps, -c, {_ELSEWHERE}]"
    stage = make_stage(tmp_path, server, "codex", keys=keys)
    ask = f"echo hi > kept && touch {tmp_path}/outside; {own_command()} ask 'which colour?'"
    stage.add("one", {"tool": "bash", "args": {"command": ask}}, {"text": "I asked."})
    with running(stage.project, "--agents", "1", "--drain") as run:
        run.wait(100)
    last = stage.records("one")[-1]
    assert (last.kind, last.outcome, last.why) == ("waiting", "asked", "which colour?")
    assert git(stage.project.root, "show", f"{last.commit}:kept") == "hi"
    assert not (tmp_path / "outside").exists(), "the sandbox is one"
