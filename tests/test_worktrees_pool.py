"""One worktree per agent: made once, reused, repaired after kills, moves and programs that destroy things."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from parallel_loop.worktrees.environment import Identity
from parallel_loop.worktrees.errors import WorktreeGone
from parallel_loop.worktrees.locks import LockTimeout, hold
from parallel_loop.worktrees.pool import ForeignDirectory
from parallel_loop.worktrees.repository import EmptyRepository
from support.repository import commit, git, make_empty_repository, make_repository, write
from support.worktrees import IDENTITY, make_place, open_pool

AWKWARD = "sp ace 'q\" new\nline ü"


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path / AWKWARD)


def assert_usable(place, worktree):
    """The program's git and ours see the same, clean worktree of the right repository."""
    assert git(worktree.path, "status", "--porcelain") == ""
    assert worktree.head() == git(worktree.path, "rev-parse", "HEAD")
    assert git(worktree.path, "rev-parse", "--path-format=absolute", "--git-common-dir") == str(place.root / ".git")


def test_a_worktree_is_made_once_detached_and_locked(place):
    assert place.worktree.path == place.root / ".parallel-loop" / "worktrees" / "agent-1"
    assert_usable(place, place.worktree)
    assert place.worktree.head() == place.start
    listed = git(place.root, "worktree", "list", "--porcelain")
    assert "detached" in listed
    assert "locked parallel-loop: agent-1" in listed
    write(place.worktree.path, {"f.txt": "work\n"})
    again = open_pool(place.root).ensure("agent-1")
    assert again.git_dir == place.worktree.git_dir
    assert (again.path / "f.txt").read_text() == "work\n"
    assert place.pool.names() == ["agent-1"]


def test_many_processes_make_worktrees_at_once(tmp_path):
    root = make_repository(tmp_path / "repo")
    script = (
        "import sys; from pathlib import Path; from support.worktrees import open_pool; sys.stdin.read(1); "
        "open_pool(Path(sys.argv[1])).ensure(sys.argv[2])"
    )
    environ = {"PYTHONPATH": "tests", "PATH": __import__("os").environ["PATH"]}
    names = [f"agent-{number}" for number in (1, 2, 3, 3)]
    started = [
        subprocess.Popen([sys.executable, "-c", script, root, name], stdin=subprocess.PIPE, env=environ)
        for name in names
    ]
    for process in started:
        process.communicate(b"x")
    assert [process.returncode for process in started] == [0] * 4
    assert open_pool(root).names() == ["agent-1", "agent-2", "agent-3"]


@pytest.mark.parametrize("name", ["", "../x", ".git", "-x", "a/b", "a\n", "x" * 101])
def test_a_name_that_is_no_plain_file_name_is_refused(place, name):
    with pytest.raises(ValueError, match="no name for a worktree"):
        place.pool.ensure(name)


def test_an_empty_repository_has_no_worktrees(tmp_path):
    with pytest.raises(EmptyRepository):
        open_pool(make_empty_repository(tmp_path / "repo")).ensure("agent-1")


@pytest.mark.parametrize("stage", ["mkdir", "locked", "gitdir", "git file", "head", "no mark", "tidying"])
def test_what_a_killed_worktree_add_left_is_made_again(place, stage):
    """The stages are those of git's own `add_worktree`; the mark is ours and comes last."""
    path, admin = place.pool.directory / "agent-2", place.root / ".git" / "worktrees" / "agent-2"
    if stage == "no mark":
        place.pool.ensure("agent-2")
        (admin / "parallel-loop").unlink()
        (admin / "index.lock").touch()
    elif stage == "tidying":  # git removes the admin directory, then the files, `.git` among them
        write(path, {"half": "half a file"})
        (place.pool.directory / ".agent-2.making").touch()
    else:
        admin.mkdir()
    if stage in {"locked", "gitdir", "git file", "head"}:
        (admin / "locked").write_text("initializing" if stage == "locked" else "parallel-loop: agent-2")
    if stage in {"gitdir", "git file", "head"}:
        (admin / "gitdir").write_text(f"{path}/.git\n")
        path.mkdir()
    if stage in {"git file", "head"}:
        (path / ".git").write_text(f"gitdir: {admin}\n")
    if stage == "head":
        (admin / "HEAD").write_text(place.start + "\n")
        (admin / "commondir").write_text("../..\n")
        (path / "half").write_text("half a file")
    assert_usable(place, place.pool.ensure("agent-2"))
    assert not (path / "half").exists()


def test_a_deleted_worktree_comes_back_with_what_was_staged(place):
    write(place.worktree.path, {"f.txt": "staged\n", "new.txt": "staged too\n"})
    git(place.worktree.path, "add", "-A")
    shutil.rmtree(place.worktree.path)
    again = place.pool.ensure("agent-1")
    assert (again.path / "f.txt").read_text() == "staged\n"
    assert git(again.path, "status", "--porcelain") == "M  f.txt\nA  new.txt"


def test_a_removed_git_file_is_written_again(place):
    (place.worktree.path / ".git").unlink()
    assert_usable(place, place.pool.ensure("agent-1"))


def test_a_repository_made_in_place_of_the_git_file_is_set_aside_not_lost(place):
    path = place.worktree.path
    (path / ".git").unlink()
    make_empty_repository(path)
    theirs = commit(path, {})
    assert_usable(place, place.pool.ensure("agent-1"))
    assert git(place.worktree.git_dir / "found.git.1", "rev-parse", "main") == theirs


def test_a_symbolic_link_in_the_worktrees_place_is_removed_and_not_followed(place, tmp_path):
    outside = tmp_path / "outside"
    write(outside, {"precious": "x"})
    shutil.rmtree(place.worktree.path)
    place.worktree.path.symlink_to(outside)
    with pytest.raises(WorktreeGone, match="symbolic link"):
        place.worktree.make_usable()
    assert_usable(place, place.pool.ensure("agent-1"))
    assert [file.name for file in outside.iterdir()] == ["precious"]


def test_a_lost_admin_directory_is_made_again_around_the_files(place):
    write(place.worktree.path, {"work.txt": "work\n"})
    shutil.rmtree(place.worktree.git_dir)
    with pytest.raises(WorktreeGone, match="admin directory"):
        place.worktree.make_usable()
    again = place.pool.ensure("agent-1")
    assert again.head() == place.start
    assert (again.path / "work.txt").exists()
    again.git().run("reset", "--quiet")
    assert git(again.path, "status", "--porcelain") == "?? work.txt"


def test_a_damaged_admin_directory_is_mended(place):
    (place.worktree.git_dir / "HEAD").write_text("")
    (place.worktree.git_dir / "commondir").write_text("")
    assert_usable(place, place.pool.ensure("agent-1"))


def test_a_moved_repository_takes_its_worktrees_along(place, tmp_path):
    write(place.worktree.path, {"f.txt": "work\n"})
    place.root.rename(tmp_path / "moved")
    again = open_pool(tmp_path / "moved").ensure("agent-1")
    assert again.path == tmp_path / "moved" / ".parallel-loop" / "worktrees" / "agent-1"
    assert git(again.path, "diff", "--name-only") == "f.txt"


def test_a_copied_repository_gets_worktrees_of_its_own(place, tmp_path):
    shutil.copytree(place.root, tmp_path / "copy", symlinks=True)
    again = open_pool(tmp_path / "copy").ensure("agent-1")
    commit(again.path, {"f.txt": "in the copy\n"})
    assert again.head() != place.worktree.head() == place.start
    assert_usable(place, place.pool.ensure("agent-1"))


def test_another_place_for_the_worktrees_leaves_the_old_ones_alone(place, tmp_path):
    from parallel_loop.worktrees.pool import Pool

    other = Pool(place.repository, tmp_path / "elsewhere", tmp_path / "lock")
    made = other.ensure("agent-1")
    assert made.git_dir != place.worktree.git_dir
    assert_usable(place, made)
    assert_usable(place, place.pool.ensure("agent-1"))
    assert other.names() == place.pool.names() == ["agent-1"]


@pytest.mark.parametrize("kind", ["directory", "file", "link", "worktree"])
def test_what_is_not_ours_is_never_removed(place, tmp_path, kind):
    path = place.pool.directory / "agent-2"
    if kind == "directory":
        write(path, {"precious": "x"})
    elif kind == "file":
        path.write_text("precious")
    elif kind == "link":
        path.symlink_to(tmp_path)
    else:
        git(place.root, "worktree", "add", "-q", "--detach", str(path))
    with pytest.raises(ForeignDirectory, match="left alone"):
        place.pool.ensure("agent-2")
    assert path.exists()


def test_a_removed_worktree_leaves_nothing_behind(place):
    (place.worktree.path / "src").chmod(0o500)
    place.pool.remove("agent-1")
    place.pool.remove("agent-1")
    assert place.pool.names() == []
    assert not place.worktree.path.exists()
    assert git(place.root, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_taking_over_waits_until_git_has_ended_there(place):
    with hold(place.worktree.git_dir / "parallel-loop.lease", shared=True), pytest.raises(LockTimeout):
        place.worktree.make_usable(timeout_seconds=0)
    place.worktree.make_usable(timeout_seconds=0)


def test_what_set_up_put_there_is_ignored_here_and_the_users_own_ignores_still_count(place, tmp_path, monkeypatch):
    ignores = tmp_path / "ignores"
    ignores.write_text("*.swp")
    git(place.root, "config", "core.excludesFile", str(ignores))
    place.worktree.leave_out(["node_modules", "a b[1]/"])
    path = place.worktree.path
    (path / "node_modules").symlink_to(tmp_path)
    write(path, {"a b[1]/x": "", "f.swp": "", "sub/node_modules": ""})
    write(place.root, {"node_modules": ""})
    assert place.worktree.git().text("status", "--porcelain", "-uall") == "?? sub/node_modules"
    assert git(place.root, "status", "--porcelain") == "?? node_modules"
    settings = place.worktree.program_environment(Identity("a", "b"))
    assert str(place.worktree.git_dir / "parallel-loop.exclude") in settings.values()
    assert IDENTITY.variables().keys() <= settings.keys()
