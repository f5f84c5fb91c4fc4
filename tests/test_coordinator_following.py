"""The target follows what landed, with real git: what stands in its way, and what frees it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.coordinator.target_report import read_target
from parallel_loop.harness.project import Project
from support.landing import SUM_FILES, a_lander, hand_over, land, landed_items, replay, scratch, tip
from support.repository import attempt_git, commit, git, write
from support.runs import events, kinds, make_project


def run_remedy(command: str | None) -> None:
    assert command is not None
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True)


def in_the_way_of_one(folder: Path) -> Project:
    """The item `one` waits to be landed, and cannot be followed: its file is one that the user has changed."""
    project = make_project(folder / "r")
    hand_over(project, "one", {"README": "landed\n"})
    write(project.root, {"README": "in the way\n"})
    return project


def test_a_commit_of_the_user_on_the_target_is_checked_and_merged_in(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test -e README']")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project):
        mine = commit(project.root, {"mine": "mine"}, "by the user")
    report = land(project)
    assert report.blocked is None
    assert tip(project, "main") == tip(project)
    assert git(project.root, "merge-base", mine, "main") == mine
    assert "target-merged" in [event["event"] for event in events(project)]
    replay(project, "test -e README")


@pytest.mark.parametrize("how", ["conflict", "check"])
def test_a_commit_of_the_user_that_does_not_fit_blocks_only_the_target_until_they_merge(
    tmp_path: Path, how: str
) -> None:
    check = "test $(( $(cat a) + $(cat b) )) -le 10"
    project = make_project(tmp_path / "r", f"checks: ['{check}']", SUM_FILES)
    hand_over(project, "one", {"a": "7\n"})
    with a_lander(project) as lander:
        lander.land_all()
        main = tip(project, "main")
        git(project.root, "reset", "--quiet", "--hard", "HEAD~1")
        commit(project.root, {"a": "8\n"} if how == "conflict" else {"b": "8\n"}, "by the user")
        lander.look_at_target()
        report = read_target(project.state.root)
        assert report is not None
        assert "does not go together" in (report.blocked or "")
        assert ("in a" if how == "conflict" else "check") in (report.blocked or "")
        hand_over(project, "two", {"two": "2"}, base="parallel-loop/landed")
        lander.land_all()
        assert landed_items(project) == ["one", "two"]
        attempt_git(project.root, "merge", "--quiet", "parallel-loop/landed")
        commit(project.root, {"a": "3\n", "b": "3\n"}, "merged by the user")
        lander.look_at_target()
        report = read_target(project.state.root)
    assert report is not None
    assert report.blocked is None
    assert tip(project, "main") == tip(project)
    assert git(project.root, "merge-base", main, "main") == main
    replay(project, check)


@pytest.mark.parametrize(
    ("in_the_way", "ignored"),
    [({"README": "changed by the user\n"}, False), ({"new.txt": "the user's\n"}, False), ({"new.txt": "kept\n"}, True)],
    ids=["changed", "untracked", "ignored"],
)
def test_files_of_the_user_in_the_way_block_the_target_and_the_remedy_frees_it(
    tmp_path: Path, in_the_way: dict[str, str], ignored: bool
) -> None:
    project = make_project(tmp_path / "r", files={".gitignore": "new.txt\n"} if ignored else None)
    git(scratch(project), "config", "advice.addIgnoredFile", "false")
    branch_files = {"README": "landed\n", ".gitignore": "", "new.txt": "landed\n"}
    hand_over(project, "one", branch_files)
    write(project.root, in_the_way)
    report = land(project)
    assert report.blocked is not None
    (name,) = in_the_way
    assert name in report.blocked
    assert (project.root / name).read_text() == in_the_way[name]
    assert landed_items(project) == ["one"]
    run_remedy(report.next)
    report = land(project)
    assert report.blocked is None
    assert (project.root / name).read_text() == "landed\n"
    assert in_the_way[name].strip() in git(project.root, "stash", "show", "--include-untracked", "-p", "stash@{0}")


def test_files_of_the_user_elsewhere_stay_and_the_target_follows(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", files={"other": "x\n"})
    hand_over(project, "one", {"README": "landed\n"})
    write(project.root, {"other": "in work\n", "untracked": "mine\n"})
    assert land(project).blocked is None
    assert (project.root / "README").read_text() == "landed\n"
    assert (project.root / "other").read_text() == "in work\n"
    assert git(project.root, "status", "--porcelain").split("\n") == ["M other", "?? untracked"]


def test_the_user_on_another_branch_sees_nothing_and_the_target_moves(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "-c", "feature")
    hand_over(project, "one", {"one": "1"})
    assert land(project).blocked is None
    assert landed_items(project, "main") == ["one"]
    assert git(project.root, "status", "--porcelain") == ""
    assert not (project.root / "one").exists()


def test_the_target_checked_out_in_another_worktree_follows_there(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "-c", "feature")
    git(project.root, "worktree", "add", "--quiet", str(tmp_path / "other place"), "main")
    hand_over(project, "one", {"one": "1"})
    assert land(project).blocked is None
    assert (tmp_path / "other place" / "one").read_text() == "1"
    assert git(tmp_path / "other place", "status", "--porcelain") == ""


def test_a_target_branch_that_was_deleted_is_reported_and_landing_goes_on(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "-c", "feature")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        git(project.root, "branch", "-D", "main")
        lander.land_all()
    report = read_target(project.state.root)
    assert report is not None
    assert "there is no branch main" in (report.blocked or "")
    run_remedy(report.next)
    assert landed_items(project, "main") == ["one"]
    assert land(project).blocked is None


@pytest.mark.parametrize("begun_again", [False, True], ids=["deleted", "begun again at the target by a worker"])
def test_a_landing_branch_that_the_user_deletes_comes_back_with_all_that_landed(
    tmp_path: Path, begun_again: bool
) -> None:
    project = in_the_way_of_one(tmp_path)
    with a_lander(project) as lander:
        lander.land_all()
        before = tip(project)
        git(project.root, "branch", "-D", "parallel-loop/landed")
        if begun_again:
            git(project.root, "branch", "parallel-loop/landed", "main")
        hand_over(project, "two", {"two": "2"})
        lander.land_all()
    assert landed_items(project) == ["one", "two"]
    assert git(project.root, "merge-base", before, "parallel-loop/landed") == before


@pytest.mark.parametrize("undone", ["moved back", "deleted"])
def test_what_somebody_else_moved_the_landing_branch_to_is_not_put_back(tmp_path: Path, undone: str) -> None:
    project = in_the_way_of_one(tmp_path)
    with a_lander(project) as lander:
        lander.land_all()
        landed = tip(project)
        foreign = git(project.root, "commit-tree", "-m", "checked by nobody", "-p", landed, f"{landed}^{{tree}}")
        git(project.root, "branch", "-f", "parallel-loop/landed", foreign)
        lander.look_at_target()
        if undone == "deleted":
            git(project.root, "branch", "-qD", "parallel-loop/landed")
        else:
            git(project.root, "branch", "-f", "parallel-loop/landed", landed)
        lander.look_at_target()
        assert tip(project) == landed


@pytest.mark.parametrize("refs", ["files", "reftable"])
def test_git_is_not_asked_about_branches_that_nobody_touched(tmp_path: Path, refs: str) -> None:
    project = make_project(tmp_path / "r")
    root = project.root
    if refs == "reftable" and attempt_git(root, "refs", "migrate", "--ref-format=reftable").returncode != 0:
        pytest.skip("needs `git refs migrate` with reftables, which came with git 2.46")
    touches: list[Callable[[], object]] = [
        lambda: commit(root, {"mine": "mine"}, "by the user"),
        lambda: git(root, "switch", "--quiet", "-c", "feature"),
        lambda: git(root, "branch", "-qD", "parallel-loop/landed"),
        lambda: git(root, "worktree", "add", "--quiet", str(tmp_path / "elsewhere"), "main"),
    ]
    with a_lander(project) as lander:
        keeper = lander._keeper
        for touch in touches:
            for _ in range(2):  # the first may have moved a branch itself
                lander.look_at_target()
            keeper._next_look = 0.0
            assert not keeper.is_due()
            assert keeper.seconds_until_due > 2.0, "it is not asked again at once"
            touch()
            keeper._next_look = 0.0
            assert keeper.is_due()
        lander.look_at_target()
        lander.look_at_target()
        keeper._next_look = keeper._settled_until = 0.0
        assert keeper.is_due(), "not even what leaves no trace stays unseen for ever"


def test_a_target_that_cannot_follow_is_looked_at_whether_or_not_a_branch_moved(tmp_path: Path) -> None:
    project = in_the_way_of_one(tmp_path)
    with a_lander(project) as lander:
        lander.land_all()
        lander.look_at_target()
        lander._keeper._next_look = 0.0
        assert lander._keeper.is_due()
        git(project.root, "checkout", "--quiet", "README")
        lander.look_at_target()
    assert landed_items(project, "main") == ["one"]


def test_a_git_that_fails_at_the_target_is_reported_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    git(project.root, "switch", "--quiet", "--detach")
    lock = project.root / ".git" / "refs" / "heads" / "main.lock"
    with a_lander(project) as lander:
        lock.touch()
        lander.land_all()
        report = read_target(project.state.root)
        assert report is not None
        assert "git could not do it" in (report.blocked or "")
        assert kinds(project, "one")[-1] == "done"
        lock.unlink()
        lander.look_at_target()
    assert landed_items(project, "main") == ["one"]
