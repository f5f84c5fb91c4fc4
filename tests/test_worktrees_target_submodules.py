"""A checkout with submodules: their files are the user's, whatever lands for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.worktrees.target import Followed
from support.repository import commit, configure, git, make_repository, write
from support.targets import Files, cut_short, do, follows, land, status, why


@pytest.fixture
def with_submodule(tmp_path: Path) -> Path:
    library = make_repository(tmp_path / "library", {"lib": "1\n"})
    root = make_repository(tmp_path / "repo", {"f": "old\n"})
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "sub")
    commit(root, {})
    configure(root / ".git" / "modules" / "sub")
    commit(library, {"lib": "2\n"})
    git(root / "sub", "fetch", "--quiet")
    return root


def moved(root: Path, to: str = "origin/main") -> str:
    """A commit that moves the submodule to another commit of its own."""
    landed = land(root, {"f": "new\n"})
    place = root.parent / "elsewhere"
    git(place, "update-index", "--cacheinfo", f"160000,{git(root / 'sub', 'rev-parse', to)},sub")
    git(place, "commit", "--quiet", "--amend", "-m", "moved")
    landed = git(place, "rev-parse", "HEAD")
    git(root, "branch", "--force", "parallel-loop/landed", landed)
    return landed


@pytest.mark.parametrize(
    ("state", "recurse"),
    [("clean", "false"), ("changed", "true"), ("untracked", "false"), ("commit of the user's own", "true")],
)
def test_a_submodule_is_the_users_whatever_commit_lands_for_it(with_submodule: Path, state: str, recurse: str) -> None:
    root, sub = with_submodule, with_submodule / "sub"
    git(root, "config", "submodule.recurse", recurse)
    landed = moved(root)
    if state == "changed":
        write(sub, {"lib": "mine\n"})
    elif state == "untracked":
        write(sub, {"mine": "mine\n"})
    elif state != "clean":
        commit(sub, {"lib": "mine\n"})
    before = git(sub, "rev-parse", "HEAD"), git(sub, "status", "--porcelain"), (sub / "lib").read_text()
    cut_short(root, landed, {"f": "new\n"})
    assert (root / "f").read_text() == "old\n"
    assert follows(root, landed) == Followed(landed)
    assert (git(sub, "rev-parse", "HEAD"), git(sub, "status", "--porcelain"), (sub / "lib").read_text()) == before
    assert status(root) == ["M sub"], "as after a `git pull`"
    commit(root.parent / "library", {"lib": "3\n"})
    git(sub, "fetch", "--quiet")
    landed = moved(root)
    assert follows(root, landed) == Followed(landed), "and again, with the submodule where it was"
    assert git(sub, "rev-parse", "HEAD") == before[0]


def test_a_submodule_that_the_user_has_staged_is_in_the_way(with_submodule: Path) -> None:
    root = with_submodule
    landed = moved(root)
    mine = commit(root / "sub", {"lib": "mine\n"})
    git(root, "add", "sub")
    assert "'sub'" in why(follows(root, landed))
    assert git(root, "ls-files", "-s", "sub").split()[1] == mine


@pytest.mark.parametrize(
    ("becomes", "changed"), [("gone", False), ("gone", True), ("a file", False), ("a file", True), ("files", False)]
)
def test_a_submodule_that_goes_keeps_its_files(with_submodule: Path, becomes: str, changed: bool) -> None:
    root = with_submodule
    files: dict[str, Files] = {"gone": {"f": "new\n"}, "a file": {"sub": "file\n"}, "files": {"sub/new": "new\n"}}
    landed = land(root, files[becomes], "sub", ".gitmodules")
    if changed:
        write(root / "sub", {"lib": "mine\n"})
    found = follows(root, landed)
    assert (root / "sub" / "lib").read_text() == ("mine\n" if changed else "1\n")
    if becomes == "gone" and not changed:
        assert found == Followed(landed)
        assert status(root) == ["?? sub/"]
        return
    assert "'sub'" in why(found)
    assert git(root, "rev-parse", "main") != landed
    assert status(root) == (["M sub"] if changed else [])
    if becomes != "gone":
        git(root / "sub", "checkout", "--quiet", "--force", "HEAD")
        do(found.remedy)  # type: ignore[union-attr]
        assert follows(root, landed) == Followed(landed)
        assert (root / "sub").is_dir() == (becomes == "files")
