"""An attempt, made by a real worker in a real repository: what becomes of what the program did there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallel_loop.worktrees.repository import Repository
from support.attempts import BRANCH, COMMIT, assert_landing, files
from support.harness import Workshop, make_workshop
from support.repository import git

pytestmark = pytest.mark.usefixtures("alone")


def test_what_is_left_uncommitted_is_committed_by_the_agent(shop: Workshop) -> None:
    record = shop.work("one", "echo 1 > 'a file'; mkdir d; echo 2 > d/e; echo more >> README.md", title="Say more")
    assert (record.kind, record.branch) == ("landing", BRANCH)
    names = git(shop.root, "show", "--format=%an <%ae>|%cn|%s|%b", "--name-only", BRANCH)
    assert names == (
        "agent-1 (parallel-loop) <agent-1@parallel-loop.invalid>|agent-1 (parallel-loop)|Say more|"
        "Item: one\nAttempt: 1\nAgent: agent-1\nProgram: shell\n\n\nREADME.md\na file\nd/e"
    )
    assert git(shop.root, "config", "user.name") == "Tess Ter", "the user's identity is not touched"
    assert git(shop.root, "status", "--porcelain") == ""
    assert git(shop.root, "rev-parse", "HEAD") == git(shop.root, "rev-parse", "parallel-loop/landed")


def test_what_is_handed_over_is_on_the_disk_before_that_is_recorded(shop: Workshop, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Repository, "flush", lambda self: seen.append(self.branch_tip(BRANCH)))
    record = shop.work("one", f"echo 1 > a; {COMMIT}; echo 2 > b")
    assert seen == [record.commit]
    shop.work("two", "true")
    assert len(seen) == 1, "there is nothing to hand over"


def test_what_a_program_leaves_for_itself_is_no_work_of_it(tmp_path: Path) -> None:
    """aider keeps its history in the worktree, and writes into .gitignore where git would not ignore that."""
    code = "echo 1 > .mine.history; echo 2 > a; git check-ignore .mine || echo .mine >> .gitignore"
    argv = json.dumps(["/bin/sh", "-c", code])
    config = f"program: mine\nprograms: {{mine: {{argv: {argv}, ignore: ['.mine*']}}}}\n"
    shop = make_workshop(tmp_path / "repo", config)
    assert shop.work("one", prompt="Do it.").kind == "landing"
    assert git(shop.root, "show", "--format=", "--name-only", BRANCH) == "a"
    assert shop.work("two", "echo 1 > .mine.history").kind == "landing", "of another program it is work as any other"


def test_commits_of_the_program_are_the_agents_and_the_rest_comes_on_top(shop: Workshop) -> None:
    record = shop.work("one", f"echo 1 > a; {COMMIT}; echo 2 > b")
    assert_landing(shop, record, "a", "b")
    log = git(shop.root, "log", "--format=%an|%s", f"main..{BRANCH}")
    assert log == "agent-1 (parallel-loop)|Do one\nagent-1 (parallel-loop)|by the program"


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (f"git checkout -qb mine; echo 1 > a; {COMMIT}; echo 2 > b", {"a", "b"}),
        (f"git checkout -q --detach; echo 1 > a; {COMMIT}", {"a"}),
        (f"echo 1 > a; {COMMIT}; git branch -qm renamed; echo 2 > b", {"a", "b"}),
        (
            (
                f"git checkout -qb side; echo 1 > a; {COMMIT}; git checkout -q -; echo 2 > b; {COMMIT};"
                " git merge -q --no-edit side"
            ),
            {"a", "b"},
        ),
        (
            (
                f"git checkout -qb side; echo 1 > a; {COMMIT}; git checkout -q -; echo 2 > a; {COMMIT};"
                " git merge side; echo both > a; git add a"
            ),  # begun, and not concluded
            {"a"},
        ),
        (f"echo 1 > a; {COMMIT}; git gc -q --prune=now; git reflog expire --expire=now --all; echo 2 > b", {"a", "b"}),
        ("echo 1 > a; touch $(git rev-parse --git-dir)/index.lock", {"a"}),
        ("echo 1 > a; rm .git", {"a"}),
        ("echo 1 > a; rm .git; git init -q; git add a; git commit -qm 'in a repository of its own'", {"a"}),
        ("echo 1 > a; git add a; git config --worktree core.bare true; git config core.hooksPath /none", {"a"}),
        ("echo 1 > a; chmod 0 a; mkdir ro; echo 2 > ro/b; chmod 555 ro", {"a", "ro/b"}),
    ],
)
def test_whatever_it_does_to_git_its_work_is_on_the_attempts_branch(
    shop: Workshop, command: str, names: set[str]
) -> None:
    before = git(shop.root, "rev-parse", "main")
    assert_landing(shop, shop.work("one", f"exec 2>/dev/null; {command}; true"), *names)
    assert git(shop.root, "rev-parse", "main") == before
    assert shop.work("two", "echo 2 > two").kind == "landing", "the next item finds a clean worktree"
    assert files(shop, shop.last("two").commit) == {"two"}


def test_a_worktree_that_was_deleted_keeps_what_was_committed(shop: Workshop) -> None:
    record = shop.work("one", f'echo 1 > a; {COMMIT}; echo lost > b; rm -rf "$PWD"')
    assert_landing(shop, record, "a")
    assert shop.work("two", "echo 2 > two").kind == "landing"


@pytest.mark.parametrize(
    "how", ['rm -rf "$PWD"', "cd ..; rm -rf agent-1; ln -s / agent-1", 'git worktree remove -ff "$PWD"']
)
def test_a_worktree_that_was_deleted_before_any_commit_is_no_success(shop: Workshop, how: str) -> None:
    record = shop.work("one", f"echo 1 > a; git add a; {how}; true")
    assert (record.kind, record.outcome) == ("released", "error")
    assert record.why == "the program deleted its worktree before anything was committed"
    assert (shop.root / "README.md").read_text() == "hello\n", "the user's own files are untouched"
    assert shop.work("two", "echo 2 > two", priority=0).kind == "landing"


def test_no_hook_of_the_repository_runs_in_our_commits(shop: Workshop) -> None:
    for name in ("pre-commit", "commit-msg", "post-checkout", "reference-transaction", "post-commit"):
        hook = shop.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {shop.root}/ran-{name}\nexit 1\n")
        hook.chmod(0o755)
    assert_landing(shop, shop.work("one", "echo 1 > a"), "a")
    assert list(shop.root.glob("ran-*")) == []


def test_nothing_changed_is_done_with_nothing_to_land(shop: Workshop) -> None:
    record = shop.work("one", "true")
    assert (record.kind, record.outcome, record.branch, record.commit) == ("done", "done", None, None)
    assert record.why == "nothing to land: the program changed nothing"


@pytest.mark.parametrize(
    ("land", "kind", "outcome"), [("review", "waiting", "review"), ("never", "waiting", "unlanded")]
)
def test_what_does_not_land_by_itself_stays_on_its_branch(tmp_path: Path, land: str, kind: str, outcome: str) -> None:
    shop = make_workshop(tmp_path / "repo", f"land: {land}\n")
    record = shop.work("one", "echo 1 > a")
    assert (record.kind, record.outcome, record.branch) == ("waiting", outcome, BRANCH)
    assert files(shop, BRANCH) == {"a"}


def test_the_branch_is_free_for_a_person_when_the_attempt_is_over(shop: Workshop) -> None:
    shop.work("one", "echo 1 > a")
    git(shop.root, "checkout", "-q", BRANCH)


def test_a_branch_name_that_is_taken_is_left_alone(shop: Workshop) -> None:
    git(shop.root, "checkout", "-q", "-b", BRANCH)
    mine = git(shop.root, "commit", "-q", "--allow-empty", "-m", "mine") or git(shop.root, "rev-parse", "HEAD")
    git(shop.root, "checkout", "-q", "main")
    record = shop.work("one", "echo $PARALLEL_LOOP_BRANCH > a")
    assert_landing(shop, record, "a", branch=f"{BRANCH}-2")
    assert git(shop.root, "show", f"{record.commit}:a") == f"{BRANCH}-2"
    assert git(shop.root, "rev-parse", BRANCH) == mine
