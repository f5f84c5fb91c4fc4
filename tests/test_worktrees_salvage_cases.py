"""Each state in which a program can leave a worktree: its work is in the commit that is saved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.worktrees.files import remove
from parallel_loop.worktrees.salvage import has_work
from support.repository import commit, git, make_empty_repository, write
from support.salvaging import REF, conflict, save
from support.worktrees import make_place


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path / "repo")


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
