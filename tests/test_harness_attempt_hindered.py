"""An attempt that is hindered: no room, a git that refuses, and what lies where its files belong."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from parallel_loop.harness import attempt
from parallel_loop.worktrees.commit import Rest
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.repository import Repository
from support.attempts import assert_landing, files
from support.harness import Workshop
from support.repository import git

FULL = GitError(("add",), Path("/x"), 128, "error: unable to write file: No space left on device")


def test_finished_work_is_committed_when_there_is_room_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_rest, calls = attempt.commit_rest, []

    def without_room(*arguments: object, **options: object) -> Rest:
        calls.append(arguments)
        if len(calls) < 3:
            raise FULL
        return commit_rest(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "commit_rest", without_room)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    assert_landing(shop, shop.work("one", "echo 1 > a; echo once >> ../ran"), "a")
    assert (shop.project.worktrees / "ran").read_text() == "once\n"


def test_an_item_that_found_no_room_loses_no_attempt(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parallel_loop.harness.room._FIRST_BREATH_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "recycle", lambda *_, **__: (_ for _ in ()).throw(FULL))
        record = shop.work("one", "echo 1 > a", max_attempts=1)
    assert (record.kind, record.outcome, record.counted) == ("released", "no-room", False)
    assert shop.work_at_once("one").kind == "landing"


def test_a_full_disk_at_flushing_is_waited_for(shop: Workshop, monkeypatch) -> None:
    answers = iter([OSError(errno.ENOSPC, "No space left on device"), None])

    def flush(_: Repository) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    monkeypatch.setattr(Repository, "flush", flush)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.01)
    assert_landing(shop, shop.work("one", "echo 1 > a"), "a")


def test_what_git_refuses_is_an_attempt_that_says_so(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = GitError(("switch",), Path("/x"), 128, "fatal: something odd")
    monkeypatch.setattr(attempt, "recycle", lambda *_, **__: (_ for _ in ()).throw(refusal))
    record = shop.work("one", "true")
    assert (record.kind, record.outcome, record.counted) == ("released", "error", True)
    assert "fatal: something odd" in (record.why or "")


def test_logs_that_cannot_be_written_are_named(shop: Workshop) -> None:
    log = shop.project.state.agent("agent-1").attempt_log("one", 1)
    log.mkdir(parents=True)
    record = shop.work("one", "true")
    assert record.outcome == "not-started"
    assert str(log) in (record.why or "")


def salvaged(shop: Workshop) -> dict[str, str]:
    """Salvage refs and their commits."""
    lines = git(shop.root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/parallel-loop/salvage")
    return {
        name.removeprefix("refs/parallel-loop/salvage/"): commit for name, commit in map(str.split, lines.splitlines())
    }


def test_work_of_nobody_is_salvaged_before_the_first_attempt(shop: Workshop) -> None:
    worker = shop.worker()
    (shop.project.worktrees / "agent-1/found").write_text("somebody's")
    shop.add("one", "test ! -e found && echo 1 > a")
    assert worker.work_once()
    worker.close()
    assert_landing(shop, shop.last("one"), "a")
    assert files(shop, salvaged(shop)["unknown/agent-1"]) == {"found"}


def test_directories_in_place_of_our_files_cost_the_next_item_nothing(shop: Workshop) -> None:
    agent = shop.project.state.agent("agent-1")
    places = (agent.session, agent.prompt_file("two", 1), agent.using, agent.interrupt)
    shop.work("one", "; ".join(f"rm -f {place}; mkdir -p {place}/x" for place in places))
    record = shop.work("two", "echo two > two.txt", prompt="Do it.")
    assert (record.kind, record.outcome) == ("landing", "done"), record


def test_a_program_that_deletes_the_folder_of_its_agent_costs_the_next_item_nothing(shop: Workshop) -> None:
    shop.add("one", f"rm -r {shop.project.state.root}/agents/*; echo 1 > a")
    shop.add("two", f"rm -r {shop.project.state.root}/agents/*/logs; echo 2 > b")
    shop.add("three", "echo 3 > c")
    shop.work_at_once("three", attempts=3)
    assert [shop.last(name).kind for name in ("one", "two", "three")] == ["landing"] * 3


@pytest.mark.parametrize(
    "session",
    [
        '{"item": "../../../heads/x", "attempt": 1, "branch": "x"}',
        '{"item": "a b\\\\n", "attempt": -1, "branch": "--help"}',
        '{"item": "one.lock", "attempt": 99999999999999999999, "branch": ""}',
        '{"item": "", "attempt": 1, "branch": "\\\\u0000"}',
        '{"item": "one/1/x", "attempt": 1, "branch": "x"}',
    ],
)
def test_a_session_that_a_program_wrote_costs_the_next_item_nothing_and_loses_nothing(
    shop: Workshop, session: str
) -> None:
    shop.work("one", "echo one > one.txt")
    worktree = shop.project.worktrees / "agent-1"
    (worktree / "left.txt").write_text("left\n")
    shop.project.state.agent("agent-1").session.write_text(session)
    record = shop.work("two", "echo two > two.txt")
    assert (record.kind, record.outcome) == ("landing", "done"), record
    saved = [
        ref
        for ref in git(shop.root, "for-each-ref", "--format=%(refname)").split()
        if "salvage" in ref and "left.txt" in git(shop.root, "ls-tree", "--name-only", ref)
    ]
    assert len(saved) == 1
