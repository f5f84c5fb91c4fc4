"""`doctor` names what killed gits and dead workers left, and `doctor --repair` tidies it and loses nothing."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.harness.child import hold_for_life
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Session
from parallel_loop.queue import atomic
from parallel_loop.queue.requests import cancel
from parallel_loop.worktrees.following import begin
from parallel_loop.worktrees.locks import hold
from parallel_loop.worktrees.pool import Pool
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import SALVAGE
from parallel_loop.worktrees.worktree import Worktree
from support.cli import CommandLine
from support.landing import make_branch
from support.repository import attempt_git, commit, git, write
from support.runs import add, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = make_project(tmp_path / "repo")
    add(project, "fix")
    return project


@pytest.fixture
def cli(project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, project.root)


def warnings(cli: CommandLine) -> dict[str, list[str]]:
    """What doctor warns of, by name, without what it always does."""
    found: dict[str, list[str]] = {}
    for finding in json.loads(cli("doctor", "--json").out)["findings"]:
        if finding["verdict"] != "ok" and finding["name"] not in {"checks", "room", "disk", "waking"}:
            found.setdefault(finding["name"], []).append(finding["detail"])
    return found


def repair(cli: CommandLine) -> list[str]:
    return json.loads(cli("doctor", "--repair", "--json").out)["repaired"]


def a_worktree(project: Project, name: str = "agent-1") -> Worktree:
    """A worktree in which an attempt was under way when its worker was killed."""
    worktree = Pool(Repository.open(project.root), project.worktrees, project.state.worktrees_lock).ensure(name)
    agent = project.state.agent(name)
    agent.create()
    git(worktree.path, "switch", "-q", "-c", f"parallel-loop/item/fix/{agent.number}")
    atomic.replace_file(agent.session, msgspec.json.encode(Session("fix", agent.number, "")))
    return worktree


def test_a_healthy_repository_has_nothing_to_repair(cli: CommandLine, project: Project) -> None:
    assert repair(cli) == []
    a_worktree(project)
    assert warnings(cli) == {}
    assert repair(cli) == []


def test_a_worktree_that_was_not_finished_is_removed(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    half = project.worktrees / "agent-2"
    git(project.root, "worktree", "add", "-q", "--detach", "--lock", "--reason", "initializing", str(half))
    (project.worktrees / ".agent-2.making").touch()
    (project.worktrees / ".agent-1.making").touch()  # complete, but for this
    assert len(warnings(cli)["worktree"]) == 2
    assert len(repair(cli)) == 2
    assert not half.exists()
    assert worktree.path.is_dir()
    assert sorted(path.name for path in (project.root / ".git/worktrees").iterdir()) == ["agent-1"]
    assert list(project.worktrees.glob(".*.making")) == []
    assert warnings(cli) == {}


def test_locks_go_only_when_no_git_of_ours_can_hold_them(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    locks = [
        project.root / ".git/refs/heads/parallel-loop/item/fix/1.lock",
        project.root / f".git/{SALVAGE}/fix/1.lock",
        worktree.git_dir / "index.lock",
    ]
    for lock in locks:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    theirs = project.root / ".git/refs/heads/theirs.lock"
    theirs.touch()
    assert len(warnings(cli)["git lock"]) == 3
    with hold(worktree.git_dir / "parallel-loop.lease", shared=True), pytest.MonkeyPatch.context() as patch:
        patch.setattr("parallel_loop.coordinator.git_repair._PATIENCE_SECONDS", 0.0)
        assert any("still locked" in line for line in repair(cli))
    assert all(lock.exists() for lock in locks)
    repair(cli)
    assert not any(lock.exists() for lock in locks)
    assert theirs.exists()


def test_work_is_saved_before_its_worktree_is_cleaned(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    write(worktree.path, {"staged": "staged\n", "new": "new\n", "README": "edited\n"})
    git(worktree.path, "add", "staged")
    (found,) = warnings(cli)["salvage"]
    assert "fix, attempt 1" in found
    assert f"saved what is in {worktree.path} as {SALVAGE}/fix/1" in repair(cli)
    for name, text in {"staged": "staged", "new": "new", "README": "edited"}.items():
        assert git(project.root, "show", f"{SALVAGE}/fix/1:{name}") == text
    assert git(worktree.path, "status", "--porcelain", "--branch") == "## HEAD (no branch)"
    assert warnings(cli) == {}
    assert repair(cli) == []


def test_a_worktree_that_is_gone_comes_back_from_what_was_staged(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    write(worktree.path, {"staged": "staged\n"})
    git(worktree.path, "add", "staged")
    shutil.rmtree(worktree.path)
    assert len(warnings(cli)["worktree"]) == 2  # as that of an agent, and as what git knows
    repair(cli)
    assert git(project.root, "show", f"{SALVAGE}/fix/1:staged") == "staged"
    assert warnings(cli) == {}


def test_worktrees_of_another_place_are_saved_and_removed(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    commit(worktree.path, {"a": "x\n"})
    git(worktree.path, "switch", "-q", "--detach")
    loose = commit(worktree.path, {"loose": "x\n"})
    write(worktree.path, {"new": "new\n"})
    (project.root / "parallel-loop.yaml").write_text("worktrees: .parallel-loop/elsewhere\n")
    repair(cli)
    assert not worktree.path.exists()
    assert not worktree.git_dir.exists()
    saved = git(project.root, "for-each-ref", "--format=%(refname)", f"{SALVAGE}/unknown")
    assert git(project.root, "show", f"{saved}:new") == "new"
    assert git(project.root, "rev-parse", f"{saved}^") == loose


def test_commits_of_a_repository_that_a_program_made_in_place_of_ours_are_saved(
    cli: CommandLine, project: Project
) -> None:
    worktree = a_worktree(project)
    (worktree.path / ".git").unlink()
    git(worktree.path, "init", "-q")
    for key, value in {"user.name": "x", "user.email": "x@example.invalid"}.items():
        git(worktree.path, "config", key, value)
    commit(worktree.path, {"only there": "1\n"})
    commit(worktree.path, {"only there": "2\n"})
    repair(cli)
    refs = git(project.root, "for-each-ref", "--format=%(refname)", f"{SALVAGE}/fix").split()
    first = [attempt_git(project.root, "show", f"{ref}~1:only there").stdout for ref in refs]
    assert "1\n" in first
    assert list(worktree.git_dir.glob("found.git.*")) == []


def test_candidates_of_a_dead_lander_and_its_journal(cli: CommandLine, project: Project) -> None:
    tip = git(project.root, "rev-parse", "main")
    git(project.root, "update-ref", f"refs/parallel-loop/candidate/{tip}", tip)
    repository = Repository.open(project.root)
    (checkout,) = repository.checkouts_of("main")
    begin(checkout, "main", tip, commit(project.root, {"new": "x\n"}))
    found = warnings(cli)
    assert set(found) == {"candidates", "journal"}
    descriptor = hold_for_life(project.state.landing_lock, "landing")
    assert warnings(cli) == {}
    assert repair(cli) == []
    os.close(descriptor)
    assert len(repair(cli)) == 2
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") == ""
    assert warnings(cli) == {}


def test_branches_of_ended_items_are_saved_and_deleted(cli: CommandLine, project: Project) -> None:
    made = make_branch(project, "parallel-loop/item/fix/0", {"a": "x\n"})
    cancel(project.queue, "fix")
    assert warnings(cli) == {"branches": ["1 of items that are done or cancelled"]}
    repair(cli)
    assert git(project.root, "rev-parse", f"{SALVAGE}/fix/0") == made
    assert warnings(cli) == {}


def test_what_living_workers_have_is_left_alone(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    write(worktree.path, {"new": "new\n"})
    lock = worktree.git_dir / "index.lock"
    lock.touch()
    descriptor = hold_for_life(project.state.agent("agent-1").lock, "agent-1")
    assert warnings(cli) == {}
    assert repair(cli) == []
    assert lock.exists()
    os.close(descriptor)


def test_while_a_coordinator_runs_doctor_only_looks(cli: CommandLine, project: Project) -> None:
    worktree = a_worktree(project)
    (worktree.git_dir / "index.lock").touch()
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    try:
        assert warnings(cli) == {}
        assert cli("doctor", "--repair").code == 3
        assert (worktree.git_dir / "index.lock").exists()
    finally:
        lock.close()
