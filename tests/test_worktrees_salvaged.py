"""What was saved is found again, survives every gc, becomes a branch, and goes by age alone."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import SALVAGE, keep
from parallel_loop.worktrees.salvaged import BranchTaken, content, matching, prune, restore, saved
from support.repository import commit, git, make_repository


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repo", {"f": "1\n"})


def loose(root: Path, name: str) -> str:
    """A commit that no branch has."""
    git(root, "switch", "-q", "--detach", "main")
    made = commit(root, {name: "saved\n"}, f"about {name}")
    git(root, "switch", "-q", "main")
    return made


def test_all_that_is_saved_is_listed_by_one_question(root: Path) -> None:
    git_here = Git(root)
    commits = {name: loose(root, name) for name in ("a", "b", "c", "d", "e")}
    refs = {"a": "fix/1", "b": "fix/1", "c": "fix/2", "d": f"follow/{commits['d']}", "e": "unknown/agent-1"}
    for name, ref in refs.items():
        keep(git_here, f"{SALVAGE}/{ref}", commits[name], f"because of {name}")
    git(root, "update-ref", f"refs/parallel-loop/left-behind/{commits['a']}", commits["a"])
    found = {one.name: one for one in saved(Repository.open(root))}
    assert {name: (one.item, one.attempt) for name, one in found.items()} == {
        "fix/1": ("fix", 1),
        "fix/1-2": ("fix", 1),
        "fix/2": ("fix", 2),
        f"follow/{commits['d']}": (None, None),
        "unknown/agent-1": (None, None),
        f"left-behind/{commits['a']}": (None, None),
    }
    assert found["fix/1-2"].why == "because of b"
    assert found["fix/2"].subject == "about c"
    every = list(found.values())
    assert [one.commit for one in matching(every, "fix/1")] == [commits["a"]]
    assert {one.commit for one in matching(every, "fix")} == {commits["a"], commits["b"], commits["c"]}
    assert [one.commit for one in matching(every, f"{SALVAGE}/fix/1-2")] == [commits["b"]]
    assert matching(every, "fi") == []


def test_a_commit_without_a_message_is_among_those_that_are_shown(root: Path) -> None:
    git(root, "switch", "-q", "--detach")
    git(root, "commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    silent = git(root, "rev-parse", "HEAD")
    made = commit(root, {"more": "more\n"}, "last")
    assert content(Git(root), made, "main").commits == ((made, "last"), (silent, ""))


def test_gc_keeps_what_is_saved_even_when_it_prunes_at_once(root: Path) -> None:
    kept, lost = loose(root, "kept"), loose(root, "lost")
    keep(Git(root), f"{SALVAGE}/fix/1", kept)
    git(root, "reflog", "expire", "--expire=now", "--all")
    git(root, "gc", "--quiet", "--prune=now")
    assert git(root, "show", f"{SALVAGE}/fix/1:kept") == "saved"
    assert Repository.open(root).resolve(lost) is None
    (one,) = saved(Repository.open(root))
    assert time.time() - one.at_seconds < 60  # the log is gone with its lines, and counts as just emptied


def test_what_it_has_that_the_target_has_not(root: Path) -> None:
    made = loose(root, "new")
    commit(root, {"meanwhile": "x\n"})
    has = content(Git(root), made, git(root, "rev-parse", "main"))
    assert (has.files, has.commits, has.message) == ((("new", 1, 0),), ((made, "about new"),), "about new")
    alone = content(Git(root), made, None)
    assert {name for name, *_ in alone.files} == {"f", "new"}


def test_a_branch_is_made_and_no_checkout_is_touched(root: Path) -> None:
    made, other = loose(root, "new"), loose(root, "other")
    before = git(root, "status", "--porcelain", "--branch")
    assert restore(Git(root), made, "mine")
    assert not restore(Git(root), made, "mine")
    with pytest.raises(BranchTaken, match="--branch NAME"):
        restore(Git(root), other, "mine")
    assert git(root, "rev-parse", "mine") == made
    assert git(root, "status", "--porcelain", "--branch") == before


def test_age_is_that_of_saving_and_not_of_the_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long_ago = str(int(time.time()) - 400 * 86400)
    tree = git(root, "rev-parse", "HEAD^{tree}")
    made = Git(root).run("commit-tree", tree, "-m", "old", env={"GIT_COMMITTER_DATE": f"@{long_ago} +0000"}).text
    keep(Git(root), f"{SALVAGE}/fix/1", made)
    git(root, "update-ref", f"{SALVAGE}/fix/2", made)  # by hand: without a log the commit's date is all there is
    by_name = {one.name: one.at_seconds for one in saved(Repository.open(root))}
    assert time.time() - by_name["fix/1"] < 60
    assert by_name["fix/2"] == int(long_ago)


def test_what_moved_meanwhile_is_not_let_go_of(root: Path) -> None:
    keep(Git(root), f"{SALVAGE}/fix/1", loose(root, "a"))
    old = saved(Repository.open(root))
    git(root, "update-ref", f"{SALVAGE}/fix/1", loose(root, "b"))
    with pytest.raises(Exception, match="but expected"):
        prune(Git(root), old)
    prune(Git(root), saved(Repository.open(root)))
    prune(Git(root), [])
    assert saved(Repository.open(root)) == []
    assert not os.path.lexists(root / ".git/logs" / SALVAGE / "fix/1")
