"""A checkout whose files are not those of its commit as they are: sparse ones, filters, ends of lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.worktrees.target import Followed
from support.repository import commit, git, make_repository, write
from support.targets import Files, cut_short, do, follows, land, status, why

# --- sparse checkouts ---------------------------------------------------------------------------------


SPARSE: Files = {"in/a": "old\n", "in/b": "old\n", "out/a": "old\n", "out/b": "old\n", "top": "old\n"}


@pytest.mark.parametrize("mode", ["cone", "cone, sparse index", "patterns"])
def test_a_sparse_checkout_stays_as_sparse_as_it_is(tmp_path: Path, mode: str) -> None:
    root = make_repository(tmp_path / "repo", SPARSE)
    landed = land(root, {"in/a": "new\n", "in/new": "new\n", "out/a": "new\n", "out/new": "new\n"}, "out/b")
    if mode == "patterns":
        git(root, "sparse-checkout", "set", "--no-cone", "/*", "!/out/")
    else:
        git(root, "sparse-checkout", "set", "--cone", *(["--sparse-index"] if "index" in mode else []), "in")
    write(root, {"in/b": "mine\n"})
    cut_short(root, landed, {"in/a": "ne", "in/new": "new\n"})
    assert (root / "in" / "a").read_text() == "old\n"
    assert status(root) == ["M in/b"]
    assert not (root / "out").exists()
    assert follows(root, landed) == Followed(landed)
    assert status(root) == ["M in/b"]
    assert (root / "in" / "new").exists()
    assert not (root / "out").exists()
    git(root, "sparse-checkout", "disable")
    assert (root / "out" / "a").read_text() == "new\n"
    assert status(root) == ["M in/b"]


def test_a_file_of_the_users_where_a_sparse_checkout_leaves_one_out_is_kept(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", SPARSE)
    landed = land(root, {"in/a": "new\n", "out/a": "new\n", "out/new": "new\n"})
    git(root, "sparse-checkout", "set", "--cone", "in")
    for name in ("out/a", "out/new"):
        write(root, {name: "mine\n"})
        found = follows(root, landed)
        assert name in why(found)
        assert (root / name).read_text() == "mine\n"
        assert git(root, "rev-parse", "main") != landed
        (root / name).unlink()
    assert follows(root, landed) == Followed(landed)


# --- filters, and ends of lines -----------------------------------------------------------------------


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12\n"
LFS: Files = {".gitattributes": "*.bin filter=lfs -text\n", "a.bin": POINTER.format("a" * 64), "f": "old\n"}


def test_pointer_files_without_git_lfs_are_files_like_others(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", LFS)
    landed = land(root, {"a.bin": POINTER.format("b" * 64), "b.bin": POINTER.format("c" * 64)})
    assert follows(root, landed) == Followed(landed)
    assert status(root) == []
    landed = land(root, {"a.bin": POINTER.format("d" * 64)})
    write(root, {"a.bin": "replaced by the user"})
    assert "a.bin" in why(follows(root, landed))


def lfs(root: Path, store: Path) -> None:
    """What git-lfs does: the content is in a store, the repository has its name."""
    store.mkdir(exist_ok=True)
    clean = f'f=$(mktemp {store}/tmp.XXXXXX); cat >$f; id=$(sha256sum <$f | cut -d" " -f1); mv $f {store}/$id; echo $id'
    for key, value in (("clean", clean), ("smudge", f"read id; cat {store}/$id"), ("required", "true")):
        git(root, "config", f"filter.lfs.{key}", value)


def test_large_files_are_fetched_and_an_edit_of_one_is_kept(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {".gitattributes": LFS[".gitattributes"], "f": "old\n"})
    lfs(root, tmp_path / "store")
    commit(root, {"a.bin": "content", "b.bin": "content"})
    landed = land(root, {"a.bin": "new content", "c.bin": "more"})
    write(root, {"b.bin": "mine"})
    cut_short(root, landed, {"a.bin": "new co"})
    assert (root / "a.bin").read_text() == "content"
    assert follows(root, landed) == Followed(landed)
    assert [(root / name).read_text() for name in ("a.bin", "b.bin", "c.bin")] == ["new content", "mine", "more"]
    assert status(root) == ["M b.bin"]


@pytest.mark.parametrize("how", ["missing", "fails for one"])
def test_a_filter_that_must_work_and_does_not_is_noticed_before_anything_is_done(tmp_path: Path, how: str) -> None:
    root = make_repository(tmp_path / "repo", {".gitattributes": LFS[".gitattributes"], "f": "old\n", "z": "old\n"})
    store = tmp_path / "store"
    lfs(root, store)
    commit(root, {"m.bin": "content"})
    landed = land(root, {"f": "new\n", "m.bin": "new content", "z": "new\n"})
    works = git(root, "config", "filter.lfs.smudge")
    if how == "missing":
        git(root, "config", "filter.lfs.smudge", "git-lfs-that-is-missing smudge -- %f")
    else:
        id_ = git(root, "show", f"{landed}:m.bin")
        (store / id_).rename(store / "away")
    index = (root / ".git" / "index").read_bytes()
    found = follows(root, landed)
    assert "a filter" in why(found)
    assert "m.bin" in why(found)
    do(found.remedy)  # type: ignore[union-attr]
    assert [(root / name).read_text() for name in ("f", "m.bin", "z")] == ["old\n", "content", "old\n"]
    assert (root / ".git" / "index").read_bytes() == index
    left = sorted(path.name for path in (root / ".git").glob("parallel-loop.*"))
    assert left == ["parallel-loop.repair.lease"]
    git(root, "config", "filter.lfs.smudge", works)
    if how != "missing":
        (store / "away").rename(store / id_)
    assert follows(root, landed) == Followed(landed)
    assert status(root) == []


@pytest.mark.parametrize("setting", ["core.autocrlf", ".gitattributes"])
def test_ends_of_lines_are_the_users_and_no_change(tmp_path: Path, setting: str) -> None:
    attributes: Files = {".gitattributes": "*.txt text eol=crlf\n"} if setting == ".gitattributes" else {}
    root = make_repository(tmp_path / "repo", {"keep.txt": "1\n2\n", "a.txt": "1\n2\n", "b.txt": "1\n2\n"})
    commit(root, attributes)
    if setting == "core.autocrlf":
        git(root, "config", "core.autocrlf", "true")
    landed = land(root, {"a.txt": "1\n3\n", "b.txt": "1\n3\n"})
    for name in ("a.txt", "b.txt", "keep.txt"):
        (root / name).unlink()
    git(root, "checkout", "--quiet", ".")
    write(root, {"keep.txt": "1\r\nmine\r\n"})
    cut_short(root, landed, {"b.txt": "1\r\n3"})
    assert status(root) == ["M keep.txt"]
    assert follows(root, landed) == Followed(landed)
    assert status(root) == ["M keep.txt"]
    assert (root / "a.txt").read_bytes() == b"1\r\n3\r\n"
    assert (root / "keep.txt").read_bytes() == b"1\r\nmine\r\n"
