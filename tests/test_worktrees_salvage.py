"""Whatever a program left, nothing of it is lost: where it is kept, what is no work, and what stops nothing."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from support.repository import attempt_git, commit, git, make_empty_repository, write
from support.salvaging import REF, conflict, diverge, save
from support.worktrees import make_place


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path / "repo")


def test_ignored_files_are_saved_on_request_only(place):
    write(place.worktree.path, {"a.o": "object", "build/x": "built"})
    assert save(place) is None
    saved = save(place, ignored=True)
    assert {"a.o", "build/x"} <= place.names(saved)


def test_commits_on_no_branch_are_kept(place):
    made = commit(place.worktree.path, {"f.txt": "detached\n"})
    assert save(place) == made == git(place.root, "rev-parse", REF)
    assert save(place) is None, "the ref keeps it now"


def test_what_a_rebase_stashed_is_kept(place):
    wt = place.worktree.path
    diverge(wt)
    write(wt, {"g.txt": "uncommitted\n"})
    assert attempt_git(wt, "rebase", "--autostash", "side").returncode != 0
    stashed = (place.worktree.git_dir / "rebase-merge" / "autostash").read_text().strip()
    assert git(place.root, "merge-base", "--is-ancestor", stashed, save(place)) == ""


@pytest.mark.parametrize("state", ["detached", "branch", "touched", "sparse", "broken index"])
def test_nothing_is_saved_where_nothing_would_be_lost(place, state):
    wt = place.worktree.path
    if state == "branch":
        git(wt, "switch", "-q", "-c", "work")
        commit(wt, {"f.txt": "committed\n"})
    elif state == "touched":
        os.utime(wt / "f.txt", (1, 1))
    elif state == "sparse":
        git(wt, "sparse-checkout", "set", "--no-cone", "/src")
        assert not (wt / "UNION.md").exists()
    elif state == "broken index":
        (place.worktree.git_dir / "index").write_bytes(b"DIRC nonsense")
    assert save(place) is None
    assert git(place.root, "for-each-ref", "refs/parallel-loop") == ""


def test_a_ref_that_is_taken_is_never_moved(place):
    write(place.worktree.path, {"new": "1"})
    first = save(place)
    write(place.worktree.path, {"new": "2"})
    second = save(place)
    write(place.worktree.path, {"new": "3"})
    save(place)
    assert [place.show(ref, "new") for ref in (REF, f"{REF}-2", f"{REF}-3")] == ["1", "2", "3"]
    assert first != second


AS_NOBODY = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests")
import git  # while the interpreter's own files can still be read
from support.worktrees import make_place, IDENTITY
from support.repository import write
from parallel_loop.worktrees.salvage import salvage
from parallel_loop.worktrees.recycle import recycle
if os.geteuid() == 0:
    os.chown(sys.argv[1], 65534, 65534)
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
place = make_place(Path(sys.argv[1]) / "repo")
wt = place.worktree.path
write(wt, {"locked/in/x": "deep", "secret": "s", "tracked-dir/x": "y"})
(wt / "secret").chmod(0)
(wt / "locked" / "in").chmod(0)
(wt / "src").chmod(0o500)
saved = salvage(place.worktree, "refs/parallel-loop/salvage/x/1", "salvaged", IDENTITY)
print(sorted(place.names(saved.commit) & {"locked/in/x", "secret"}))
(wt / "locked" / "in").chmod(0o500)
(wt / "src").chmod(0o500)
recycle(place.worktree, place.start, "attempt")
print(sorted(file.name for file in wt.iterdir()))
"""


@pytest.mark.parametrize("replaced", [False, True])
def test_what_is_staged_beside_a_conflict_is_kept(place, replaced):
    """`write-tree` refuses such an index as a whole."""
    conflict(place.worktree.path, "merge")
    write(place.worktree.path, {"staged": "in the index"})
    git(place.worktree.path, "add", "staged")
    write(place.worktree.path, {"staged": "in the file"})
    if replaced:
        write(place.worktree.path, {"new/in": "x"})
        git(place.worktree.path, "add", "new")
    saved = save(place)
    assert place.show(saved, "staged") == "in the file"
    parents = git(place.root, "rev-parse", f"{saved}^@").split()
    assert [place.show(one, "staged") for one in parents if "staged" in place.names(one)] == ["in the index"]


def test_a_ref_that_a_killed_git_left_locked_is_not_waited_for(place):
    (place.worktree.path / "work").write_text("unsaved")
    lock = place.root / ".git" / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    saved = save(place)
    assert saved is not None
    assert git(place.root, "rev-parse", f"{REF}-2") == saved


def test_rights_that_a_program_took_away_stop_neither_salvage_nor_recycling(tmp_path_factory):
    """Run as an ordinary user: root may read everything, so that nothing would be tested."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-B", "-c", AS_NOBODY, folder],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": os.environ["PATH"], "HOME": folder},
        )
    assert done.stdout.splitlines() == [
        "['locked/in/x', 'secret']",
        "['.git', '.gitattributes', '.gitignore', 'UNION.md', 'f.txt', 'g.txt', 'src']",
    ], done.stderr


def test_a_file_of_another_user_is_named_in_the_message(place, monkeypatch):
    write(place.worktree.path, {"fine": "fine", "nested/fifo-like": "x"})
    make_empty_repository(place.worktree.path / "nested")
    monkeypatch.setattr("parallel_loop.worktrees.snapshot._readable", lambda _: False)  # root may read all
    saved = save(place)
    assert "nested/fifo-like" in git(place.root, "log", "-1", "--format=%B", saved)
    assert "fine" in place.names(saved)


def test_sockets_and_pipes_are_no_work(place):
    os.mkfifo(place.worktree.path / "pipe")
    make_empty_repository(place.worktree.path / "nested")
    os.mkfifo(place.worktree.path / "nested" / "pipe")
    write(place.worktree.path, {"nested/x": "x"})
    saved = save(place)
    assert {name for name in place.names(saved) if "pipe" in name} == set()
    assert stat.S_ISFIFO((place.worktree.path / "pipe").lstat().st_mode)
