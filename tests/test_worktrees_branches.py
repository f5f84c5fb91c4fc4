"""A late worker moves no branch once the next attempt has begun; what it did stays in its worktree for a salvage."""

from __future__ import annotations

import pytest

from parallel_loop.worktrees.branches import attempt_branch, free_branch, move_branch
from parallel_loop.worktrees.commit import commit_rest
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.recycle import recycle
from parallel_loop.worktrees.salvage import salvage
from support.repository import git, write
from support.worktrees import IDENTITY, Place, make_place

FIRST, SECOND = attempt_branch("fix", 1), attempt_branch("fix", 2)


@pytest.fixture
def place(tmp_path) -> Place:
    return make_place(tmp_path / "repo")


def refs(place: Place) -> str:
    return git(place.root, "for-each-ref")


def test_who_begins_after_the_next_attempt_has_begun_makes_no_branch(place):
    recycle(place.pool.ensure("agent-2"), place.start, SECOND, heir=attempt_branch("fix", 3))
    before = refs(place)
    with pytest.raises(GitError, match="reference already exists"):
        recycle(place.worktree, place.start, FIRST, heir=SECOND)
    assert refs(place) == before


def test_who_commits_after_the_next_attempt_has_begun_moves_nothing_and_loses_nothing(place):
    recycle(place.worktree, place.start, FIRST, heir=SECOND)
    write(place.worktree.path, {"f.txt": "late\n"})
    recycle(place.pool.ensure("agent-2"), place.start, SECOND, heir=attempt_branch("fix", 3))
    before = refs(place)
    with pytest.raises(GitError, match="reference already exists"):
        commit_rest(place.worktree, FIRST, "the rest", IDENTITY, start=place.start, heir=SECOND)
    assert refs(place) == before
    saved = salvage(place.worktree, "refs/parallel-loop/salvage/fix/1", "late", IDENTITY)
    assert saved is not None
    assert place.show(saved.commit, "f.txt") == "late"


def test_the_next_attempt_is_not_held_up_by_a_lock_that_a_late_git_left_on_its_name(place):
    lock = place.root / ".git/refs/heads" / f"{SECOND}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    recycle(place.worktree, place.start, SECOND)
    assert git(place.root, "rev-parse", SECOND) == place.start


def test_names_that_an_earlier_life_of_the_queue_left_are_passed_over(place):
    repository = place.repository.git
    assert free_branch(repository, SECOND) == SECOND
    move_branch(repository, SECOND, place.start, None, heir=None, message="x")
    move_branch(repository, f"{SECOND}-2", place.start, None, heir=None, message="x")
    heir = free_branch(repository, SECOND)
    assert heir == f"{SECOND}-3"
    recycle(place.worktree, place.start, FIRST, heir=heir)
    assert git(place.root, "rev-parse", FIRST) == place.start


def test_a_branch_that_another_moved_meanwhile_is_not_moved(place):
    move_branch(place.repository.git, FIRST, place.start, None, heir=SECOND, message="x")
    with pytest.raises(GitError, match="reference already exists"):
        move_branch(place.repository.git, FIRST, place.start, None, heir=SECOND, message="x")
    with pytest.raises(GitError, match="but expected"):
        move_branch(place.repository.git, FIRST, place.start, "1" * 40, heir=SECOND, message="x")


def test_a_branch_that_git_saw_moved_although_it_was_not_is_moved_all_the_same(place, monkeypatch):
    """Met beside `git pack-refs`; nothing was done then, and whoever moved the branch in truth is still refused."""
    recycle(place.worktree, place.start, FIRST)
    commit = git(place.root, "commit-tree", "-m", "x", "-p", place.start, f"{place.start}^{{tree}}")
    real, said = Git.run, [f"fatal: cannot lock ref 'refs/heads/{FIRST}': is at {commit} but expected {place.start}"]

    def run(self, *argv, **options):
        if argv[0] == "update-ref" and said:
            raise GitError(argv, place.root, 128, said.pop())
        return real(self, *argv, **options)

    monkeypatch.setattr(Git, "run", run)
    move_branch(place.worktree.git(), FIRST, commit, place.start, heir=SECOND, message="test")
    assert git(place.root, "rev-parse", FIRST) == commit
    with pytest.raises(GitError, match="but expected"):
        move_branch(place.worktree.git(), FIRST, commit, place.start, heir=SECOND, message="test")
