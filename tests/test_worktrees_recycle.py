"""A used worktree is as good as new, also where `reset --hard` and `clean -ffdx` leave something behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.worktrees import recycle as module
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.recycle import BranchExists, RecycleFailed, detach, recycle, reset_to
from support.repository import attempt_git, commit, git, make_empty_repository, make_repository, write
from support.worktrees import FILES, Place, make_place, open_pool

CONTAMINANTS: dict[str, Callable[[Path, Path], object]] = {}


def contaminant(build: Callable[[Path, Path], object]) -> Callable[[Path, Path], object]:
    """Register a function (worktree, a directory outside) that leaves something behind."""
    CONTAMINANTS[build.__name__] = build
    return build


def two_branches(wt: Path) -> None:
    git(wt, "switch", "-q", "-c", "side")
    commit(wt, {"f.txt": "side\n"})
    commit(wt, {"f.txt": "side 2\n"})
    git(wt, "switch", "-q", "-c", "here", "HEAD~2")
    commit(wt, {"f.txt": "here\n"})


@contaminant
def modified_untracked_and_ignored_files(wt, outside):
    write(wt, {"f.txt": "changed", "new/x": "x", "a.o": "o", "build/b": "b", "src/deep/c.o": "o"})
    git(wt, "add", "f.txt")


@contaminant
def nested_repository(wt, outside):
    commit(make_empty_repository(wt / "nested"), {"x": "x"})
    make_empty_repository(wt / "build" / "empty")


@contaminant
def repository_made_in_a_tracked_folder(wt, outside):
    commit(make_empty_repository(wt / "src"), {"a.py": "changed", "x": "x"})


@contaminant
def assume_unchanged_edit(wt, outside):
    git(wt, "update-index", "--assume-unchanged", "f.txt")
    write(wt, {"f.txt": "hidden"})


@contaminant
def skip_worktree_edit(wt, outside):
    git(wt, "update-index", "--skip-worktree", "f.txt", "g.txt")
    write(wt, {"f.txt": "hidden"})
    (wt / "g.txt").unlink()


@contaminant
def rebase_in_progress(wt, outside):
    two_branches(wt)
    assert attempt_git(wt, "rebase", "side").returncode != 0


@contaminant
def merge_in_progress(wt, outside):
    two_branches(wt)
    assert attempt_git(wt, "merge", "side").returncode != 0


@contaminant
def cherry_pick_sequence(wt, outside):
    two_branches(wt)
    assert attempt_git(wt, "cherry-pick", "side~1", "side").returncode != 0


@contaminant
def revert_in_progress(wt, outside):
    two_branches(wt)
    assert attempt_git(wt, "revert", "side~1").returncode != 0


@contaminant
def bisect_in_progress(wt, outside):
    two_branches(wt)
    git(wt, "bisect", "start", "HEAD", "HEAD~1")


@contaminant
def sparse_checkout(wt, outside):
    git(wt, "sparse-checkout", "set", "--no-cone", "/f.txt")
    assert not (wt / "src" / "a.py").exists()


@contaminant
def configuration_of_the_worktree(wt, outside):
    git(wt, "config", "extensions.worktreeConfig", "true")
    git(wt, "config", "--worktree", "user.name", "Somebody Else")


@contaminant
def read_only_directory(wt, outside):
    write(wt, {"ro/x": "x"})
    (wt / "ro").chmod(0o500)
    (wt / "src").chmod(0o500)


@contaminant
def changed_file_mode(wt, outside):
    (wt / "f.txt").chmod(0o755)


@contaminant
def file_replaced_by_a_directory(wt, outside):
    (wt / "f.txt").unlink()
    write(wt, {"f.txt/x": "x"})


@contaminant
def directory_replaced_by_a_link_to_outside(wt, outside):
    git(wt, "rm", "-rqf", "--cached", "src")
    module.remove(wt / "src")
    (wt / "src").symlink_to(outside)


@contaminant
def directory_replaced_by_a_link_unstaged(wt, outside):
    module.remove(wt / "src")
    (wt / "src").symlink_to(outside)


@contaminant
def stale_locks(wt, outside):
    admin = Path(git(wt, "rev-parse", "--absolute-git-dir"))
    for name in ("index.lock", "HEAD.lock", "index.stash.1.lock"):
        (admin / name).touch()
    write(wt, {"f.txt": "changed"})
    (admin.parent.parent / "refs/heads/parallel-loop/item/x").mkdir(parents=True)
    (admin.parent.parent / "refs/heads/parallel-loop/item/x/1.lock").touch()


@contaminant
def another_branch(wt, outside):
    git(wt, "switch", "-q", "-c", "of-another-agent")
    commit(wt, {"f.txt": "changed", "more": "more"})


@contaminant
def orphan_branch(wt, outside):
    git(wt, "checkout", "-q", "--orphan", "nothing")


@contaminant
def edit_of_the_same_size_with_its_time_put_back(wt, outside):
    before = (wt / "f.txt").stat()
    write(wt, {"f.txt": "xxx\n"})
    os.utime(wt / "f.txt", ns=(before.st_atime_ns, before.st_mtime_ns))


@contaminant
def truncated_index(wt, outside):
    index = Path(git(wt, "rev-parse", "--absolute-git-dir")) / "index"
    index.write_bytes(index.read_bytes()[:-30])
    write(wt, {"f.txt": "changed", "new": "new"})


@contaminant
def missing_index(wt, outside):
    (Path(git(wt, "rev-parse", "--absolute-git-dir")) / "index").unlink()
    write(wt, {"f.txt": "changed", "new": "new"})


@contaminant
def removed_git_file(wt, outside):
    (wt / ".git").unlink()
    write(wt, {"new": "new"})


@contaminant
def everything_deleted(wt, outside):
    for child in wt.iterdir():
        module.remove(child)


def tree(path: Path) -> dict[str, str]:
    """Every file below `path` with its mode and content; links by what they point to."""
    found = {}
    for folder, below, files in os.walk(path):
        for name in (*files, *(one for one in below if (Path(folder) / one).is_symlink())):
            file = Path(folder, name)
            content = f"-> {file.readlink()}" if file.is_symlink() else file.read_text("latin-1")
            found[str(file.relative_to(path))] = f"{file.lstat().st_mode:o} {content}"
    return found


@pytest.mark.parametrize("name", CONTAMINANTS)
def test_nothing_of_the_last_item_is_left(tmp_path, name):
    place = make_place(tmp_path / "repo")
    outside = tmp_path / "outside"
    write(outside, {"a.py": "precious", "deep/b.py": "precious"})
    CONTAMINANTS[name](place.worktree.path, outside)
    start = commit(place.root, {"g.txt": "newer\n", "added": "a\n"})
    recycle(place.worktree, start, "parallel-loop/item/x/1")
    fresh = make_repository(tmp_path / "fresh", FILES | {"g.txt": "newer\n", "added": "a\n"})
    expected = tree(fresh)
    assert {k: v for k, v in tree(place.worktree.path).items() if k != ".git"} == {
        k: v for k, v in expected.items() if not k.startswith(".git/")
    }
    wt = place.worktree.path
    assert git(wt, "rev-parse", "HEAD", "--abbrev-ref", "HEAD").split() == [start, "parallel-loop/item/x/1"]
    assert git(wt, "status").splitlines() == [
        "On branch parallel-loop/item/x/1",
        "nothing to commit, working tree clean",
    ]
    assert git(wt, "config", "user.name") == "Tess Ter"
    assert not git(wt, "ls-files", "-v", "f.txt").startswith(("h", "S"))
    assert tree(outside) == {"a.py": "100644 precious", "deep/b.py": "100644 precious"}


@pytest.fixture
def place(tmp_path) -> Place:
    return make_place(tmp_path / "repo")


def test_a_clean_worktree_takes_few_git_commands(place, monkeypatch):
    calls: list[tuple[str, ...]] = []
    real = Git.run

    def counted(self, *argv, **options):
        calls.append(argv)
        return real(self, *argv, **options)

    monkeypatch.setattr(Git, "run", counted)
    recycle(place.worktree, place.start, "one")
    assert [argv[0] for argv in calls] == ["checkout", "clean", "ls-files", "update-ref", "symbolic-ref"]


def test_unchanged_files_are_not_written_again(place):
    before = (place.worktree.path / "f.txt").stat().st_mtime_ns
    recycle(place.worktree, commit(place.root, {"g.txt": "newer\n"}), "one")
    assert (place.worktree.path / "f.txt").stat().st_mtime_ns == before


def test_build_caches_survive_when_asked(place):
    write(place.worktree.path, {"node_modules/x": "x", "src/node_modules/y": "y", "a.o": "o"})
    make_empty_repository(place.worktree.path / "node_modules" / "nested")
    recycle(place.worktree, place.start, "one", keep=["node_modules"])
    kept = set(tree(place.worktree.path))
    assert {"node_modules/x", "src/node_modules/y", "node_modules/nested/.git/HEAD"} <= kept
    assert "a.o" not in kept


def test_nothing_but_caches_is_kept(place, tmp_path):
    wt = place.worktree.path
    write(tmp_path / "outside", {"precious": "precious"})
    start = commit(place.root, {"cache/tracked": "tracked\n", "more/cache": "a tracked file\n"})
    recycle(place.worktree, start, "one", keep=["cache"])
    write(wt, {"cache/tracked": "changed", "cache/x": "x", "more/cache": "changed", "other": "x"})
    git(wt, "update-index", "--assume-unchanged", "cache/tracked")
    (wt / "src" / "cache").symlink_to(tmp_path / "outside")
    (wt / "new").mkdir()
    (wt / "new" / "cache").symlink_to("/")
    (wt / "cache" / "y").write_text("y")
    recycle(place.worktree, start, "two", keep=["cache"])
    assert git(wt, "status", "--porcelain") == "?? cache/x\n?? cache/y"
    assert (wt / "cache" / "tracked").read_text() == "tracked\n"
    assert not (wt / "src" / "cache").is_symlink()
    assert not (wt / "new" / "cache").is_symlink()
    assert (tmp_path / "outside" / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", ["cache", "cache/"])
def test_a_link_in_place_of_what_is_kept_is_not_kept(place, tmp_path, name):
    wt = place.worktree.path
    write(tmp_path / "outside", {"tracked": "precious", "more": "precious"})
    start = commit(place.root, {"cache/tracked": "tracked\n"})
    recycle(place.worktree, start, "one", keep=[name])
    module.remove(wt / "cache")
    (wt / "cache").symlink_to(tmp_path / "outside")
    recycle(place.worktree, start, "two", keep=[name])
    assert tree(wt / "cache") == {"tracked": "100644 tracked\n"}
    assert not (wt / "cache").is_symlink()
    assert tree(tmp_path / "outside") == {"tracked": "100644 precious", "more": "100644 precious"}


def test_a_branch_made_before_a_kill_is_taken_up_and_a_taken_name_is_refused(place):
    recycle(place.worktree, place.start, "one")
    recycle(place.worktree, place.start, "one")
    assert git(place.worktree.path, "symbolic-ref", "--short", "HEAD") == "one"
    theirs = commit(place.worktree.path, {"f.txt": "work\n"})
    with pytest.raises(BranchExists) as caught:
        recycle(place.worktree, place.start, "one")
    assert (caught.value.branch, caught.value.commit) == ("one", theirs)
    assert git(place.root, "rev-parse", "one") == theirs
    assert place.worktree.head() == place.start


def test_a_branch_name_git_cannot_make_is_gits_error(place):
    with pytest.raises(GitError):
        recycle(place.worktree, place.start, "a..b")


def test_a_commit_that_does_not_exist_is_gits_error(place):
    with pytest.raises(GitError):
        recycle(place.worktree, "f" * 40, "one")


def test_a_checkout_git_alone_cannot_clean_is_emptied_and_filled_again(place, monkeypatch):
    real, looked = module._leftovers, []

    def leftovers(*arguments):
        looked.append(arguments)
        return ["? stubborn"] if len(looked) == 1 else real(*arguments)

    monkeypatch.setattr(module, "_leftovers", leftovers)
    inode = (place.worktree.path / "f.txt").stat().st_ino
    write(place.worktree.path, {"other": "x"})
    hard_link = place.root.parent / "hold"  # keeps the old inode in use, so that a new file has another
    os.link(place.worktree.path / "f.txt", hard_link)
    recycle(place.worktree, place.start, "one")
    assert len(looked) == 2
    assert (place.worktree.path / "f.txt").stat().st_ino != inode


def test_a_worktree_that_stays_dirty_is_said_with_what_is_left(place, monkeypatch):
    monkeypatch.setattr(module, "_leftovers", lambda *_: ["? stubborn"])
    with pytest.raises(RecycleFailed, match=r"cannot be made clean.*\n.*stubborn"):
        recycle(place.worktree, place.start, "one")


def test_a_repository_whose_files_are_never_clean_is_worked_in_all_the_same(tmp_path):
    root = make_repository(tmp_path / "repo", {"dos.txt": "a\r\nb\r\n"})
    write(root, {".gitattributes": "*.txt text eol=lf\n"})
    git(root, "add", ".gitattributes")
    git(root, "commit", "-q", "-m", "attributes without renormalising")
    worktree = open_pool(root).ensure("agent-1")
    recycle(worktree, git(root, "rev-parse", "HEAD"), "one")
    assert (worktree.path / "dos.txt").read_bytes() == b"a\r\nb\r\n"


@pytest.mark.parametrize("recurse", ["false", "true"])
def test_a_populated_submodule_is_left_at_its_commit_or_emptied(place, tmp_path, recurse):
    git(place.root, "config", "submodule.recurse", recurse)
    library = make_repository(tmp_path / "library", {"lib": "1\n"})
    git(place.root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(library), "lib")
    start = commit(place.root, {})
    recycle(place.worktree, start, "one")
    wt = place.worktree.path
    git(wt, "-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init")
    recycle(place.worktree, start, "two")
    assert (wt / "lib" / "lib").exists()
    write(wt, {"lib/lib": "changed\n"})
    recycle(place.worktree, start, "three")
    assert list((wt / "lib").iterdir()) == []


def test_detaching_frees_the_branch_and_touches_nothing_else(place):
    recycle(place.worktree, place.start, "one")
    write(place.worktree.path, {"f.txt": "staged\n"})
    git(place.worktree.path, "add", "-A")
    detach(place.worktree)
    assert git(place.worktree.path, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert git(place.worktree.path, "status", "--porcelain") == "M  f.txt"
    git(place.root, "checkout", "-q", "one")


def test_the_landing_worktree_is_reset_without_a_branch(place):
    write(place.worktree.path, {"f.txt": "changed\n"})
    reset_to(place.worktree, place.start)
    assert git(place.worktree.path, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"
    assert git(place.worktree.path, "status", "--porcelain") == ""
