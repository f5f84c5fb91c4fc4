"""Branches of attempts are deleted from the commit that was looked at, and never lose what only they hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import SALVAGE
from parallel_loop.worktrees.spent import AttemptBranch, Spent, attempt_branches, contained_in, delete
from support.repository import attempt_git, commit, git, make_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_repository(tmp_path / "repo")
    for name in ("fix/1", "fix/2", "fix/2-2", "other/1"):
        git(root, "switch", "-q", "-c", f"parallel-loop/item/{name}", "main")
        commit(root, {name: "work\n"}, name)
    git(root, "switch", "-q", "main")
    git(root, "merge", "-q", "--no-ff", "-m", "merge", "parallel-loop/item/fix/2")
    return root


def listed(root: Path) -> dict[str, AttemptBranch]:
    found = attempt_branches(Repository.open(root))
    return {branch.name.removeprefix("parallel-loop/item/"): branch for branch in found}


def branches(root: Path) -> set[str]:
    return set(git(root, "for-each-ref", "--format=%(refname:lstrip=4)", "refs/heads/parallel-loop/item").split())


def test_the_branches_with_item_and_attempt(root: Path) -> None:
    found = listed(root)
    assert {name: (branch.item, branch.attempt, branch.is_in_use) for name, branch in found.items()} == {
        "fix/1": ("fix", 1, False),
        "fix/2": ("fix", 2, False),
        "fix/2-2": ("fix", 2, False),
        "other/1": ("other", 1, False),
    }
    assert contained_in(Repository.open(root), git(root, "rev-parse", "main")) == {"parallel-loop/item/fix/2"}


def test_one_transaction_deletes_and_keeps(root: Path) -> None:
    found = listed(root)
    tip = found["fix/1"].commit
    spent = [Spent(found["fix/1"], f"{SALVAGE}/fix/1"), Spent(found["fix/2"])]
    assert delete(Git(root), spent, "test") == spent
    assert branches(root) == {"fix/2-2", "other/1"}
    assert git(root, "rev-parse", f"{SALVAGE}/fix/1") == tip
    left = [path.name for path in (root / ".git").rglob("*") if path.is_dir() and path.name == "fix"]
    assert left == ["fix"] * len(left)
    assert not (root / ".git/logs/refs/heads/parallel-loop/item/fix/1").exists()


def test_a_branch_that_moved_meanwhile_stays_and_holds_up_no_other(root: Path) -> None:
    found = listed(root)
    git(root, "update-ref", "refs/heads/parallel-loop/item/fix/1", "main")
    gone = delete(Git(root), [Spent(found["fix/1"], f"{SALVAGE}/fix/1"), Spent(found["fix/2"])], "test")
    assert [one.branch.name for one in gone] == ["parallel-loop/item/fix/2"]
    assert "fix/1" in branches(root)


def test_a_branch_that_is_checked_out_rebased_or_bisected_stays(root: Path, tmp_path: Path) -> None:
    git(root, "worktree", "add", "-q", str(tmp_path / "one"), "parallel-loop/item/fix/1")
    git(root, "worktree", "add", "-q", str(tmp_path / "two"), "parallel-loop/item/other/1")
    commit(tmp_path / "two", {"both": "x\n"})
    commit(root, {"both": "y\n"})
    assert attempt_git(tmp_path / "two", "rebase", "-q", "main").returncode != 0
    found = listed(root)
    assert {name for name, branch in found.items() if branch.is_in_use} == {"fix/1", "other/1"}
    assert delete(Git(root), [Spent(found["fix/1"]), Spent(found["other/1"])], "test") == []
    assert {"fix/1", "other/1"} <= branches(root)


def test_a_salvage_ref_that_holds_something_else_is_not_moved(root: Path) -> None:
    found = listed(root)
    git(root, "update-ref", f"{SALVAGE}/fix/1", "main")
    before = git(root, "rev-parse", "main")
    delete(Git(root), [Spent(found["fix/1"], f"{SALVAGE}/fix/1")], "test")
    assert git(root, "rev-parse", f"{SALVAGE}/fix/1") == before
    assert git(root, "rev-parse", f"{SALVAGE}/fix/1-2") == found["fix/1"].commit


def test_a_symbolic_ref_goes_alone(root: Path) -> None:
    git(root, "branch", "-D", "parallel-loop/item/fix/1")
    git(root, "symbolic-ref", "refs/heads/parallel-loop/item/fix/1", "refs/heads/main")
    before = git(root, "rev-parse", "main")
    delete(Git(root), [Spent(listed(root)["fix/1"])], "test")
    assert git(root, "rev-parse", "main") == before
    assert "fix/1" not in branches(root)


def test_packed_branches_are_deleted_too(root: Path) -> None:
    git(root, "pack-refs", "--all")
    found = listed(root)
    delete(Git(root), [Spent(branch, f"{SALVAGE}/{name}") for name, branch in found.items()], "test")
    assert branches(root) == set()
    assert len(git(root, "for-each-ref", SALVAGE).split("\n")) == 4


@pytest.mark.parametrize("name", ["refs/heads/parallel-loop/item/fix/1.lock", f"{SALVAGE}/fix/1.lock"])
def test_a_lock_in_the_way_leaves_both_or_neither(root: Path, name: str) -> None:
    lock = root / ".git" / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    spent = Spent(listed(root)["fix/1"], f"{SALVAGE}/fix/1")
    with pytest.raises(Exception, match="lock"):
        delete(Git(root, pause=lambda _: None), [spent], "test")
    assert "fix/1" in branches(root)
