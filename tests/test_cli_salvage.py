"""`parallel-loop salvage` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Session
from parallel_loop.queue import atomic
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.pool import Pool
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import SALVAGE, keep
from support.cli import CommandLine
from support.landing import hand_over
from support.queues import append
from support.repository import attempt_git, commit, git
from support.runs import make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "repo")


@pytest.fixture
def cli(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, project.root)


def save(project: Project, owner: str, **files: str) -> str:
    git(project.root, "switch", "-q", "--detach", "main")
    made = commit(project.root, files, f"left by {owner}")
    git(project.root, "switch", "-q", "main")
    keep(Git(project.root), f"{SALVAGE}/{owner}", made)
    return made


def test_nothing_was_saved(cli: CommandLine) -> None:
    assert cli("salvage")[:2] == (0, "nothing saved is kept: nothing had to be saved, or it was pruned\n")
    assert json.loads(cli("salvage", "--json").out) == []
    answer = cli("salvage", "show", "fix")
    assert (answer.code, answer.line) == (1, "nothing was saved under 'fix'; `parallel-loop salvage` lists what was")


def test_work_that_is_on_a_branch_was_not_saved_besides(cli: CommandLine, project: Project) -> None:
    for _ in range(2):
        hand_over(project, "fix", {"a": "1"})
        append(project.queue, "fix", "released")
    hand_over(project, "fix", {"a": "1"})
    append(project.queue, "fix", "failed")
    git(project.root, "branch", "-qD", "parallel-loop/item/fix/3")
    said = {name: cli("salvage", "show", name) for name in ("fix", "fix/1", "fix/3")}
    assert {answer.code for answer in said.values()} == {1}
    for name, number in (("fix", 2), ("fix/1", 1)):
        branch = f"the work of attempt {number} is on its branch parallel-loop/item/fix/{number}"
        command = f"`parallel-loop diff fix --attempt {number}` shows it"
        assert said[name].line == f"nothing was saved under {name!r}; {branch}; {command}"
    assert said["fix/3"].line == "nothing was saved under 'fix/3'; `parallel-loop salvage` lists what was"


def test_the_list_and_what_is_in_it(cli: CommandLine, project: Project) -> None:
    made = save(project, "fix/1", new="one\ntwo\n")
    (row,) = json.loads(cli("salvage", "--json").out)
    assert (row["ref"], row["item"], row["attempt"], row["commit"]) == (f"{SALVAGE}/fix/1", "fix", 1, made)
    assert made[:12] in cli("salvage").out
    (shown,) = json.loads(cli("salvage", "show", "fix", "--json").out)
    assert shown["files"] == [{"path": "new", "added": 2, "removed": 0}]
    assert shown["message"] == "left by fix/1"
    assert shown["why"] == "an attempt left it in its worktree"
    assert "+2 -0        new" in cli("salvage", "show", "fix/1").out
    assert cli("salvage", "show", f"{SALVAGE}/fix/1").code == 0


def test_it_becomes_a_branch_and_the_checkout_stays(cli: CommandLine, project: Project) -> None:
    made = save(project, "fix/1", new="x\n")
    before = git(project.root, "status", "--porcelain", "--branch")
    answer = cli("salvage", "restore", "fix")
    assert answer.code == 0
    command = answer.out.split("\n")[1].split()
    assert command[:1] == ["git"]
    assert "left by fix/1" in attempt_git(project.root, *command[3:]).stdout
    assert git(project.root, "rev-parse", "salvage/fix/1") == made
    assert git(project.root, "status", "--porcelain", "--branch") == before
    assert "already" in cli("salvage", "restore", "fix/1").out


def test_what_cannot_be_restored_changes_nothing(cli: CommandLine, project: Project) -> None:
    save(project, "fix/1", new="x\n")
    save(project, "fix/2", new="y\n")
    before = git(project.root, "for-each-ref")
    for name, argv in {
        "fix means several: fix/1, fix/2; name one of them": ["fix"],
        "choose another": ["fix/1", "--branch", "parallel-loop/item/fix/1"],
        "cannot be": ["fix/1", "--branch=-x"],
        "there is a branch main already": ["fix/1", "--branch", "main"],
    }.items():
        answer = cli("salvage", "restore", *argv)
        assert answer.code == 2
        assert name in answer.line
    assert git(project.root, "for-each-ref") == before


def test_pruning_says_what_goes_and_needs_an_age(cli: CommandLine, project: Project) -> None:
    made = save(project, "fix/1", new="x\n")
    assert cli("salvage", "prune").code == 2
    assert cli("salvage", "prune", "--older-than", "soon").code == 2
    assert "nothing was saved more than 90d ago" in cli("salvage", "prune", "--older-than", "90d").out
    answer = cli("salvage", "prune", "--older-than", "0s")
    assert answer.code == 0
    assert answer.out.startswith("gone  fix/1")
    assert answer.out.endswith(f"{made}\n")
    assert json.loads(cli("salvage", "prune", "--older-than", "0s", "--json").out) == []
    assert git(project.root, "for-each-ref", SALVAGE) == ""
    assert "or it was pruned" in cli("salvage").out


def test_what_lies_unsaved_in_a_worktree_is_listed_and_left_as_it_is(cli: CommandLine, project: Project) -> None:
    pool = Pool(Repository.open(project.root), project.worktrees, project.state.worktrees_lock)
    worktree = pool.ensure("agent-7")
    agent = project.state.agent("agent-7")
    agent.create()
    atomic.replace_file(agent.session, msgspec.json.encode(Session("fix", 2, "b")))
    (worktree.path / "new").write_text("work\n")
    lock = worktree.git_dir / "index.lock"
    lock.touch()
    (row,) = json.loads(cli("salvage", "--json").out)
    assert (row["item"], row["attempt"], row["ref"], row["worktree"]) == ("fix", 2, None, str(worktree.path))
    assert "not saved yet" in cli("salvage").out
    assert lock.exists()
    assert git(project.root, "for-each-ref", SALVAGE) == ""


def test_names_that_would_steer_a_terminal_do_not(cli: CommandLine, project: Project) -> None:
    save(project, "fix/1", **{"a\x1b[2Jb\nc": "x\n"})
    out = cli("salvage", "show", "fix").out
    assert "\x1b" not in out
    assert "file    +1 -0" in out
