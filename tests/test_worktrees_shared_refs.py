"""Refs that all worktrees share, after a program was at them: put back, kept, and a person's are left alone."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from parallel_loop.worktrees.reflogs import program_email
from parallel_loop.worktrees.shared_refs import Attempted, settle
from support.repository import commit, git, write
from support.shared_bench import BRANCH, KEPT, SharedBench
from support.worktrees import make_place


@pytest.fixture
def bench(tmp_path: Path) -> SharedBench:
    return SharedBench(make_place(tmp_path / "repo"))


MADE = {
    "tag": ("git tag v1", "tags/v1"),
    "annotated tag": ("git tag -a -m x v1", "tags/v1"),
    "note": ("git notes add -m n HEAD", "notes/commits"),
    "replace ref": ("git replace --graft HEAD", None),
    "branch": ("git branch other", "heads/other"),
    "branch that is worked on": ("git switch -q -c other; git commit -q --allow-empty -m work", "heads/other"),
    "renamed branch": ("git branch one; git branch -m one other", "heads/other"),
}


@pytest.mark.parametrize("name", MADE)
def test_a_ref_that_a_program_made_does_not_reach_the_next_item_and_is_kept(bench, name):
    commit(bench.root, {"more": "more\n"})
    git(bench.place.worktree.path, "reset", "-q", "--hard", "main")
    bench.begin()
    before = bench.refs()
    command, kept = MADE[name]
    bench.program(command)
    made = {ref: value for ref, value in bench.refs().items() if ref not in before}
    assert made
    deeds = bench.settle()
    assert bench.refs() == before
    assert len(deeds) == 1
    assert deeds[0].kept_as is not None
    if kept:
        assert deeds[0].kept_as == f"{KEPT}-shared/{kept}"
    assert git(bench.root, "rev-parse", deeds[0].kept_as) in made.values()
    assert bench.settle() == []


def test_what_the_user_made_at_the_same_time_stays(bench):
    git(bench.root, "branch", "mine")
    git(bench.root, "tag", "mine")
    write(bench.root, {"f.txt": "mine"})
    git(bench.root, "stash")
    bench.program("git tag theirs")
    before = bench.refs()
    bench.settle()
    assert bench.refs() == {ref: value for ref, value in before.items() if ref != "refs/tags/theirs"}


def test_a_moved_branch_and_note_of_the_user_are_put_back_unless_the_user_went_on_from_there(bench):
    git(bench.root, "branch", "one")
    git(bench.root, "branch", "two")
    git(bench.root, "notes", "add", "-m", "mine", "HEAD")
    bench.begin()
    before = bench.refs()
    bench.program(
        "git commit -q --allow-empty -m work; git branch -q -f one; git branch -q -f two; git notes append -m x main"
    )
    git(bench.root, "update-ref", "--create-reflog", "refs/heads/two", git(bench.root, "rev-parse", "main"))
    git(bench.root, "branch", "-f", "two", BRANCH)
    bench.settle()
    after = bench.refs()
    assert after["refs/heads/one"] == before["refs/heads/one"]
    assert after["refs/notes/commits"] == before["refs/notes/commits"]
    assert after["refs/heads/two"] == after[f"refs/heads/{BRANCH}"]


def test_another_items_branch_and_the_landing_branch_are_put_back(bench):
    git(bench.root, "branch", "parallel-loop/item/y/1")
    git(bench.root, "branch", "parallel-loop/landed")
    bench.begin()
    before = bench.refs()
    bench.program("git commit -q --allow-empty -m theirs; git branch -q -f parallel-loop/item/y/1", "agent-2")
    second = bench.refs()["refs/heads/parallel-loop/item/y/1"]
    bench.program(
        "git commit -q --allow-empty -m w; git branch -q -f parallel-loop/item/y/1; git branch -f parallel-loop/landed"
    )
    bench.settle()
    after = bench.refs()
    assert after["refs/heads/parallel-loop/item/y/1"] == second  # what its own agent made of it stays
    assert after["refs/heads/parallel-loop/landed"] == before["refs/heads/parallel-loop/landed"]


def test_the_branch_of_the_attempt_before_stays_when_its_log_is_written_anew(bench):
    bench.program("echo one > one; git add one; git commit -q -m one")
    tip = git(bench.root, "rev-parse", BRANCH)
    git(bench.place.worktree.path, "switch", "--quiet", "-c", "parallel-loop/item/y/1")
    bench.begin()
    os.utime(bench.git_dir / "logs" / "refs" / "heads" / BRANCH)  # gc writes all logs again
    before = replace(bench.before, at_ns=bench.before.at_ns - 10**9)  # as if all were within one second
    attempted = Attempted(program_email("agent-1"), "parallel-loop/item/y/1", "refs/parallel-loop/salvage/y/1")
    assert settle(bench.place.repository, before, attempted, []) == []
    assert git(bench.root, "rev-parse", BRANCH) == tip


def test_a_branch_under_somebodys_feet_is_not_moved_but_told(bench):
    bench.program(f"cd {bench.root}; git commit -q --allow-empty -m intruder")
    tip = git(bench.root, "rev-parse", "main")
    deeds = bench.settle()
    assert git(bench.root, "rev-parse", "main") == tip
    assert [deed.ref for deed in deeds] == ["refs/heads/main", "HEAD"]
    assert deeds[0].remedy == f"git -C {bench.root} reset --keep {bench.place.start}"


DELETIONS = {
    "branch -D": ("git branch -D mine", "refs/heads/mine"),
    "branch -m": ("git branch -m mine yours", "refs/heads/mine"),
    "tag -d": ("git tag -d v0", "refs/tags/v0"),
    "update-ref -d": ("git update-ref -d refs/tags/v0", "refs/tags/v0"),
}


@pytest.mark.parametrize("name", DELETIONS)
def test_a_ref_that_a_program_deleted_is_back_and_one_that_the_user_deleted_is_not(bench, name):
    for ref in ("mine", "also"):
        git(bench.root, "branch", ref)
    git(bench.root, "tag", "v0")
    bench.begin()
    before = bench.refs()
    command, ref = DELETIONS[name]
    bench.program(command)
    git(bench.root, "branch", "-D", "also")
    assert ref not in bench.refs()
    bench.settle()
    assert bench.refs() == {name: value for name, value in before.items() if name != "refs/heads/also"}


def stash(bench: SharedBench) -> list[str]:
    return git(bench.root, "stash", "list", "--format=%s").splitlines()


def test_the_stash_has_what_the_user_put_there_and_nothing_else(bench):
    write(bench.root, {"f.txt": "mine 1"})
    git(bench.root, "stash", "push", "-m", "mine 1")
    bench.begin()
    bench.program("echo a > f.txt; git stash push -q -m theirs-1")
    write(bench.root, {"f.txt": "mine 2"})
    git(bench.root, "stash", "push", "-m", "mine 2")
    bench.program("echo b > f.txt; git stash push -q -m theirs-2")
    kept = [deed.kept_as for deed in bench.settle()]
    assert stash(bench) == ["On main: mine 2", "On main: mine 1"]
    assert [git(bench.root, "show", f"{ref}:f.txt") for ref in kept] == ["a", "b"]


@pytest.mark.parametrize("command", ["git stash drop -q", "git stash clear", "git stash pop -q"])
def test_what_a_program_took_off_the_users_stash_is_back(bench, command):
    write(bench.root, {"f.txt": "mine"})
    git(bench.root, "stash", "push", "-m", "mine")
    bench.begin()
    bench.program(command)
    assert stash(bench) == []
    bench.settle()
    assert stash(bench) == ["On main: mine"]
    assert git(bench.root, "show", "stash@{0}:f.txt") == "mine"


def test_what_the_user_took_off_the_stash_is_gone(bench):
    write(bench.root, {"f.txt": "mine"})
    git(bench.root, "stash")
    bench.begin()
    bench.program("git status")
    git(bench.root, "stash", "pop")
    assert bench.settle() == []
    assert stash(bench) == []


def test_an_attempt_that_did_nothing_of_the_kind_costs_no_git_command(bench, monkeypatch):
    bench.program("git commit -q --allow-empty -m work; git status; git log -1")
    git(bench.place.worktree.path, "checkout", "--quiet", "--detach")
    monkeypatch.setattr("parallel_loop.worktrees.git.Git.run", None)
    assert bench.look() == []
    attempted = Attempted(program_email("agent-1"), BRANCH, KEPT)
    assert settle(bench.place.repository, bench.before, attempted, bench.commands()) == []
