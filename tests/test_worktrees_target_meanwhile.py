"""What a user does with the branch or the checkout at the very moment at which the target follows."""

from __future__ import annotations

import pytest

from parallel_loop.worktrees import target as module
from parallel_loop.worktrees import unseen
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Diverged, Followed
from support.repository import git, write
from support.targets import Setting


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path / "my repo")


def test_a_branch_that_moves_at_the_same_moment_is_looked_at_again(setting, monkeypatch):
    git(setting.root, "switch", "-q", "-c", "else")
    real = Repository.checkouts_of
    theirs = git(setting.root, "commit-tree", "main^{tree}", "-p", "main", "-m", "theirs")

    def moved_meanwhile(self, branch):
        found = real(self, branch)
        git(setting.root, "update-ref", "refs/heads/main", theirs)
        return found

    monkeypatch.setattr(Repository, "checkouts_of", moved_meanwhile)
    assert setting.follow() == Diverged(theirs)


@pytest.mark.parametrize("when", ["before the branch moves", "after it", "while it does"])
def test_a_user_who_switches_to_the_target_at_the_same_moment_sees_nothing_undone(setting, monkeypatch, when):
    git(setting.root, "switch", "-q", "-c", "else")
    write(setting.root, {"keep": "edited\n"})
    real, lock = unseen._move, setting.root / ".git" / "index.lock"

    def move(*arguments):
        if unseen._move is not real and when == "before the branch moves":
            monkeypatch.setattr(unseen, "_move", real)
            git(setting.root, "switch", "-q", "main")
        elif unseen._move is not real and when == "while it does":  # it has read where main is, and writes files
            monkeypatch.setattr(unseen, "_move", real)
            monkeypatch.setattr(unseen.time, "sleep", end_of_switch)
            lock.touch()
        real(*arguments)
        if when == "after it":
            git(setting.root, "switch", "-q", "main")

    def end_of_switch(_seconds):
        lock.unlink()
        git(setting.root, "symbolic-ref", "HEAD", "refs/heads/main")

    monkeypatch.setattr(unseen, "_move", move)
    assert setting.follow() == Followed(setting.landed)
    assert setting.tip() == setting.landed
    assert git(setting.root, "status", "--porcelain") == "M keep"
    assert (setting.root / "f").read_text() == "new\n"


def test_a_user_who_switches_away_at_the_same_moment_is_left_alone(setting, monkeypatch):
    real = module.blocked_by_files

    def switched_meanwhile(*arguments):
        git(setting.root, "switch", "-q", "-c", "else")
        return real(*arguments)

    monkeypatch.setattr(module, "blocked_by_files", switched_meanwhile)
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert git(setting.root, "rev-parse", "else") == setting.old == setting.tip()


@pytest.mark.parametrize("to", ["-c else", "--detach", "parallel-loop/landed"])
def test_what_a_user_switches_to_as_git_starts_is_not_moved_in_place_of_the_target(setting, monkeypatch, to):
    real = module.begin
    write(setting.root, {"keep": "mine\n"})

    def switched_meanwhile(*arguments):
        git(setting.root, "switch", "-q", *to.split())
        return real(*arguments)

    monkeypatch.setattr(module, "begin", switched_meanwhile)
    assert isinstance(setting.follow(), Blocked)
    expected = setting.landed if to == "parallel-loop/landed" else setting.old
    assert git(setting.root, "rev-parse", "HEAD") == expected
    assert git(setting.root, "rev-parse", "parallel-loop/landed") == setting.landed
    assert git(setting.root, "status", "--porcelain") == "M keep"
    assert setting.tip() == setting.old
    assert setting.follow() == Followed(setting.landed)
    assert git(setting.root, "rev-parse", "HEAD") == expected
