"""Whatever a program left, nothing of it is lost: the cases in which other ways to rescue work fail."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.worktrees.files import remove
from parallel_loop.worktrees.salvage import has_work, salvage
from support.repository import attempt_git, commit, git, make_empty_repository, write
from support.worktrees import IDENTITY, Place, make_place

REF = "refs/parallel-loop/salvage/item/1"


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path / "repo")


def save(place: Place, ref: str = REF, **options: bool) -> str | None:
    kept = salvage(place.worktree, ref, "salvaged", IDENTITY, **options)
    return None if kept is None else kept.commit


CASES: dict[str, tuple[Callable[[Path, Path], object], dict[str, str | None]]] = {}


def case(**expected: str | None) -> Callable[[Callable[[Path, Path], object]], Callable[[Path, Path], object]]:
    """Register a function (worktree, admin directory) that leaves work, and what the saved commit must hold.

    In a name, `__` stands for a slash and `_dot_` for a dot; None means that the file must be absent.
    """

    def register(build: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
        files = {name.replace("__", "/").replace("_dot_", "."): text for name, text in expected.items()}
        CASES[build.__name__] = (build, files)
        return build

    return register


def conflict(wt: Path, command: str) -> None:
    """Two commits that do not merge, and `command` stopped between them."""
    git(wt, "switch", "-q", "-c", "side")
    commit(wt, {"f.txt": "side\n"})
    git(wt, "switch", "-q", "--detach", "HEAD^")
    commit(wt, {"f.txt": "here\n"})
    assert attempt_git(wt, command, "side").returncode != 0


@case(f_dot_txt="edit")
def tracked_edit(wt, admin):
    write(wt, {"f.txt": "edit"})


@case(f_dot_txt="one")
def staged_edit_reverted_in_the_files(wt, admin):
    write(wt, {"f.txt": "staged"})
    git(wt, "add", "-A")
    write(wt, {"f.txt": "one\n"})


@case(f_dot_txt="v2")
def staged_v1_with_v2_in_the_file(wt, admin):
    write(wt, {"f.txt": "staged"})
    git(wt, "add", "-A")
    write(wt, {"f.txt": "v2"})


@case(new_dot_txt="new")
def untracked_file(wt, admin):
    write(wt, {"new.txt": "new"})
    git(wt, "config", "status.showUntrackedFiles", "no")


@case(f_dot_txt="hidden")
def assume_unchanged_edit(wt, admin):
    git(wt, "update-index", "--assume-unchanged", "f.txt")
    write(wt, {"f.txt": "hidden"})


@case(f_dot_txt="hidden")
def skip_worktree_edit(wt, admin):
    git(wt, "update-index", "--skip-worktree", "f.txt")
    write(wt, {"f.txt": "hidden"})


@case(new="staged")
def staged_file_that_is_absent_and_marked_skip_worktree(wt, admin):
    write(wt, {"new": "staged"})
    git(wt, "add", "new")
    git(wt, "update-index", "--skip-worktree", "new")
    (wt / "new").unlink()


@case(nested__in__x="deep", nested__y="flat")
def nested_repository_with_a_commit(wt, admin):
    commit(make_empty_repository(wt / "nested"), {"in/x": "deep"})
    write(wt, {"nested/y": "flat"})


@case(nested__x="deep", new="too")
def nested_repository_without_a_commit(wt, admin):
    make_empty_repository(wt / "nested")
    write(wt, {"nested/x": "deep", "new": "too"})


@case(nested__x="deep")
def nested_repository_committed_as_a_link(wt, admin):
    commit(make_empty_repository(wt / "nested"), {"x": "deep"})
    git(wt, "add", "-A")
    git(wt, "commit", "-q", "-m", "a link to a commit that only the nested repository has")


@case(nested="new", new__x="x")
def nested_repository_committed_as_a_link_and_replaced_by_a_symbolic_link(wt, admin):
    commit(make_empty_repository(wt / "nested"), {"x": "deep"})
    git(wt, "add", "-A")
    git(wt, "commit", "-q", "-m", "a link to a commit that only the nested repository has")
    remove(wt / "nested")
    make_empty_repository(wt / "new")
    write(wt, {"new/x": "x"})
    (wt / "nested").symlink_to("new")


@case(src__a_dot_py="edit", src__new="new")
def repository_made_in_a_tracked_folder(wt, admin):
    commit(make_empty_repository(wt / "src"), {"a.py": "edit", "new": "new"})


@case(f_dot_txt="resolved by hand")
def unmerged_index(wt, admin):
    conflict(wt, "merge")
    write(wt, {"f.txt": "resolved by hand"})


@case(f_dot_txt="edit", new="new")
def truncated_index(wt, admin):
    write(wt, {"f.txt": "edit", "new": "new"})
    git(wt, "add", "-A")
    content = (admin / "index").read_bytes()
    (admin / "index").write_bytes(content[: len(content) // 2])


@case(f_dot_txt="edit", nested__x="x")
def missing_index(wt, admin):
    write(wt, {"f.txt": "edit", "nested/x": "x"})
    make_empty_repository(wt / "nested")
    (admin / "index").unlink()


@case(f_dot_txt="edit")
def stale_index_lock(wt, admin):
    write(wt, {"f.txt": "edit"})
    (admin / "index.lock").touch()


@case(f_dot_txt="mid-rebase")
def rebase_stopped(wt, admin):
    conflict(wt, "rebase")
    write(wt, {"f.txt": "mid-rebase"})


@case(new="edit")
def file_nobody_may_read(wt, admin):
    write(wt, {"new": "edit"})
    (wt / "new").chmod(0)


@case(**{'a\n"b"\t': "odd"})
def name_with_newline_and_quotes(wt, admin):
    write(wt, {'a\n"b"\t': "odd"})


@case(link="/nowhere/at all")
def symbolic_link(wt, admin):
    (wt / "link").symlink_to("/nowhere/at all")


@case(new="new")
def hook_that_rejects(wt, admin):
    hook = admin.parent.parent / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    write(wt, {"new": "new"})


@case(f_dot_txt=None, g_dot_txt="two")
def deleted_file(wt, admin):
    (wt / "f.txt").unlink()


@case(new="new")
def no_identity_configured(wt, admin):
    git(wt, "config", "--unset", "user.name")
    git(wt, "config", "user.useConfigOnly", "true")
    git(wt, "config", "commit.gpgSign", "true")
    write(wt, {"new": "new"})


@case(src__a_dot_py="edit", f_dot_txt="one", src__deep__b_dot_py="b = 1")
def sparse_checkout(wt, admin):
    git(wt, "sparse-checkout", "set", "--no-cone", "/src/a.py")
    write(wt, {"src/a.py": "edit"})


@case(f_dot_txt="edit")
def edit_of_the_same_size_with_its_time_put_back(wt, admin):
    before = (wt / "f.txt").stat()
    write(wt, {"f.txt": "edit"})
    os.utime(wt / "f.txt", ns=(before.st_atime_ns, before.st_mtime_ns))


@case(data_dot_bin="raw")
def clean_filter_that_fails(wt, admin):
    git(wt, "config", "filter.gone.clean", "false")
    git(wt, "config", "filter.gone.required", "true")
    write(wt, {".gitattributes": "*.bin filter=gone\n", "data.bin": "raw"})


@case(new="new", f_dot_txt=None)
def orphan_branch(wt, admin):
    git(wt, "checkout", "-q", "--orphan", "nothing")
    write(wt, {"new": "new"})
    (wt / "f.txt").unlink()


@pytest.mark.parametrize("name", CASES)
def test_work_is_saved(place, name):
    build, expected = CASES[name]
    build(place.worktree.path, place.worktree.git_dir)
    before = {file: os.lstat(file).st_size for file in sorted(place.worktree.path.rglob("*")) if file.is_file()}
    assert has_work(place.worktree)
    saved = save(place)
    assert saved == git(place.root, "rev-parse", REF)
    for file, text in expected.items():
        assert (place.show(saved, file) if file in place.names(saved) else None) == text
    assert save(place) == saved, "a second salvage of the same saves nothing new"
    assert git(place.root, "for-each-ref", "refs/parallel-loop/salvage").count("\n") == 0
    after = {file: os.lstat(file).st_size for file in sorted(place.worktree.path.rglob("*")) if file.is_file()}
    assert after == before, "saving changes no file"
    assert not list(place.worktree.git_dir.glob("parallel-loop.index*"))


def test_what_was_staged_is_kept_beside_what_is_in_the_files(place):
    staged_v1_with_v2_in_the_file(place.worktree.path, place.worktree.git_dir)
    saved = save(place)
    assert place.show(f"{saved}^2", "f.txt") == "staged"
    assert git(place.root, "log", "-1", "--format=%an %s", saved) == "agent-1 salvaged"


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
    git(wt, "switch", "-q", "-c", "side")
    commit(wt, {"f.txt": "side\n"})
    git(wt, "switch", "-q", "--detach", "HEAD^")
    commit(wt, {"f.txt": "here\n"})
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
