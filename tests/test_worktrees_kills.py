"""A kill between any two git commands, and then the same again: nothing is lost and nothing is in the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from parallel_loop.worktrees.commit import commit_rest
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.recycle import recycle
from parallel_loop.worktrees.salvage import salvage
from support.repository import commit, git, write
from support.worktrees import IDENTITY, Place, make_place, open_pool

REF = "refs/parallel-loop/salvage/item/1"


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, so nothing is tidied up."""


def killed_before(monkeypatch: pytest.MonkeyPatch, number: int, work) -> bool:
    """Do `work` up to its git command `number`; False when it ended before that."""
    real, calls = Git.run, []

    def run(self, *argv, **options):
        calls.append(argv)
        if len(calls) > number:
            raise Killed
        return real(self, *argv, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Git, "run", run)
        try:
            work()
        except Killed:
            return True
        return False


def leave_a_mess(place: Place) -> None:
    """Commits on no branch, staged and unstaged edits, a nested repository, a hidden edit."""
    wt = place.worktree.path
    commit(wt, {"f.txt": "detached\n"})
    write(wt, {"g.txt": "staged\n", "new": "new\n"})
    git(wt, "add", "g.txt")
    git(wt, "update-index", "--assume-unchanged", "UNION.md")
    write(wt, {"g.txt": "unstaged\n", "UNION.md": "hidden\n", "nested/x": "x\n"})
    git(wt, "init", "-q", "nested")


@pytest.mark.parametrize("number", range(26))
def test_salvage_and_recycling(tmp_path, monkeypatch, number):
    place = make_place(tmp_path / "repo")
    leave_a_mess(place)

    def work() -> None:
        worktree = open_pool(place.root).ensure("agent-1")
        salvage(worktree, REF, "salvaged", IDENTITY)
        recycle(worktree, place.start, "parallel-loop/item/next/1")

    killed_before(monkeypatch, number, work)
    # Between `checkout` and `clean` new files are left, for which the next salvage cannot know that they are saved.
    half_reset = place.worktree.head() == place.start and "?? new" in git(place.worktree.path, "status", "--porcelain")
    work()
    saved = {name: place.show(REF, name) for name in ("f.txt", "g.txt", "new", "UNION.md", "nested/x")}
    assert saved == {"f.txt": "detached", "g.txt": "unstaged", "new": "new", "UNION.md": "hidden", "nested/x": "x"}
    assert place.show(f"{REF}^2", "g.txt") == "staged"
    assert git(place.worktree.path, "status", "--porcelain", "--branch") == "## parallel-loop/item/next/1"
    assert git(place.root, "for-each-ref", "refs/parallel-loop/salvage").count("\n") == half_reset


@pytest.mark.parametrize("detached", [False, True], ids=["on its branch", "detached"])
@pytest.mark.parametrize("number", range(14))
def test_committing_the_rest(tmp_path, monkeypatch, number, detached):
    place = make_place(tmp_path / "repo")
    recycle(place.worktree, place.start, "attempt")
    if detached:
        git(place.worktree.path, "checkout", "-q", "--detach")
    commit(place.worktree.path, {"f.txt": "own\n"})
    write(place.worktree.path, {"new": "new\n"})

    def work():
        return commit_rest(place.worktree, "attempt", "the rest", IDENTITY, start=place.start)

    killed_before(monkeypatch, number, work)
    rest = work()
    assert (rest.commits, rest.left_behind) == (2, None)
    assert place.show("attempt", "new") == "new"
    assert git(place.worktree.path, "status", "--porcelain", "--branch") == "## attempt"


@pytest.mark.parametrize("number", range(3))
def test_making_a_worktree(tmp_path, monkeypatch, number):
    place = make_place(tmp_path / "repo")
    killed_before(monkeypatch, number, lambda: open_pool(place.root).ensure("agent-2"))
    assert git(open_pool(place.root).ensure("agent-2").path, "status", "--porcelain") == ""


KILL_UPWARDS = """p=$PPID
while true; do
  name=$(cat /proc/$p/comm); next=$(cut -d' ' -f4 /proc/$p/stat)
  case $name in git*) kill -9 $p;; python*) kill -9 $p; break;; *) break;; esac
  p=$next
done
"""
ENSURE = """
import sys
from pathlib import Path
from support.worktrees import open_pool
open_pool(Path(sys.argv[1])).ensure("agent-2")
"""


def test_git_and_its_caller_killed_in_the_middle_of_a_checkout(tmp_path):
    """A smudge filter kills the git that called it and the process that started that, when some files are written."""
    files = {"a": "a\n", "b.k": "b\n", "c": "c\n", ".gitattributes": "*.k filter=kill\n"}
    place = make_place(tmp_path / "repo", files)
    script = tmp_path / "kill.sh"
    script.write_text(KILL_UPWARDS)
    git(place.root, "config", "filter.kill.smudge", f". '{script}'")
    environ = {"PYTHONPATH": "tests", "PATH": os.environ["PATH"]}
    killed = subprocess.run([sys.executable, "-c", ENSURE, place.root], env=environ, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (place.pool.directory / "agent-2" / "c").exists()
    git(place.root, "config", "filter.kill.smudge", "cat")
    worktree = open_pool(place.root).ensure("agent-2")
    assert git(worktree.path, "status", "--porcelain") == ""
    assert (worktree.path / "b.k").read_text() == "b\n"
