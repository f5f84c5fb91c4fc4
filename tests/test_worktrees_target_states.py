"""The user's checkout in states that git knows: it is fast-forwarded as git would, or waited for with a reason."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from parallel_loop.worktrees import obstacles
from parallel_loop.worktrees.following import begin, finish_interrupted
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Followed
from support.repository import attempt_git, commit, git, make_repository, write
from support.targets import cut_short, do, follows, land, status, why

# --- hooks and configuration ------------------------------------------------------------------------------


def test_no_hook_of_the_user_takes_part(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n"})
    landed = land(root, {"f": "new\n"})
    for name in ("post-merge", "pre-merge-commit", "post-checkout", "post-index-change", "reference-transaction"):
        hook = root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text("#!/bin/sh\necho hooked >f; echo hooked >hooked; sleep 100; exit 1\n")
        hook.chmod(0o755)
    assert follows(root, landed) == Followed(landed)
    git(root, "config", "core.hooksPath", os.devnull)  # for git's own sake below
    assert (status(root), (root / "f").read_text()) == ([], "new\n")


ODD = {
    "branch.main.mergeOptions": "--squash",
    "merge.ff": "false",
    "merge.autoStash": "true",
    "checkout.workers": "0",
    "core.untrackedCache": "true",
    "index.version": "4",
    "status.showUntrackedFiles": "no",
    "status.relativePaths": "false",
    "core.logAllRefUpdates": "false",
}


@pytest.mark.parametrize(
    "settings",
    [ODD, {"branch.main.mergeOptions": "--no-ff --no-commit", "core.splitIndex": "true"}],
    ids=["many", "split index"],
)
def test_a_fast_forward_is_one_however_git_is_configured(tmp_path: Path, settings: dict[str, str]) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n", "keep": "old\n"})
    landed = land(root, {"f": "new\n", "d/added": "new\n"})
    for key, value in settings.items():
        git(root, "config", key, value)
    write(root, {"keep": "mine\n", "d/mine": "mine\n"})
    git(root, "add", "keep")
    git(root, "update-index", "--refresh", "-q")
    cut_short(root, landed, {"f": "n", "d/added": "new\n"})
    assert follows(root, landed) == Followed(landed)
    assert git(root, "rev-parse", "main") == landed
    assert git(root, "diff", "--cached", "--name-only") == "keep"
    assert [(root / name).read_text() for name in ("f", "d/added", "keep", "d/mine")] == ["new\n"] * 2 + ["mine\n"] * 2


# --- what status does not tell ----------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "cut"), [("--assume-unchanged", True), ("--skip-worktree", False)])
def test_an_edit_that_git_was_told_not_to_look_at_is_kept_and_the_remedy_frees_it(
    tmp_path: Path, flag: str, cut: bool
) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n", "g": "old\n"})
    landed = land(root, {"f": "new\n", "g": "new\n"})
    git(root, "update-index", flag, "f")
    write(root, {"f": "mine\n"})
    if cut:
        cut_short(root, landed, {"g": "new\n"})
    found = follows(root, landed)
    assert "f" in why(found)
    assert [(root / name).read_text() for name in ("f", "g")] == ["mine\n", "old\n"]
    assert git(root, "rev-parse", "main") != landed
    do(found.remedy)  # type: ignore[union-attr]
    assert follows(root, landed) == Followed(landed)
    assert git(root, "show", "stash@{0}:f") == "mine"


@pytest.mark.parametrize("flag", ["--assume-unchanged", "--skip-worktree"])
def test_a_hidden_edit_beside_what_lands_stays_hidden(tmp_path: Path, flag: str) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n", "mine": "old\n"})
    landed = land(root, {"f": "new\n"})
    git(root, "update-index", flag, "mine")
    write(root, {"mine": "mine\n"})
    cut_short(root, landed, {"f": "ne"})
    assert follows(root, landed) == Followed(landed)
    assert (root / "mine").read_text() == "mine\n"
    assert git(root, "ls-files", "-v", "mine")[0] in "hS"


# --- kinds, modes, ends of lines --------------------------------------------------------------------------


def test_a_mode_lands_and_one_that_the_user_changed_is_in_the_way(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"a": "a\n", "b": "b\n"})
    place = root.parent / "elsewhere"
    land(root, {})
    (place / "a").chmod(0o755)
    (place / "b").chmod(0o755)
    landed = commit(place, {})
    (root / "a").chmod(0o755)
    assert "'a'" in why(follows(root, landed))
    (root / "a").chmod(0o644)
    begin(Repository.open(root).checkouts_of("main")[0], "main", git(root, "rev-parse", "main"), landed)
    (root / ".git" / "index.lock").touch()
    (root / "a").chmod(0o755)
    finish_interrupted(Repository.open(root))
    assert status(root) == []
    assert follows(root, landed) == Followed(landed)
    assert os.access(root / "b", os.X_OK)
    assert status(root) == []


@pytest.mark.parametrize("mine", ["file", "folder", "link"])
def test_a_link_that_the_user_put_in_the_place_of_a_folder_is_not_written_through(tmp_path: Path, mine: str) -> None:
    root = make_repository(tmp_path / "repo", {"d/x": "old\n", "f": "old\n"})
    landed = land(root, {"d/x": "new\n", "d/y": "new\n"})
    outside = tmp_path / "outside"
    write(outside, {"x": "precious\n", "y": "precious\n"})
    (root / "d" / "x").unlink()
    (root / "d").rmdir()
    if mine == "link":
        (root / "d").symlink_to(outside)
    else:
        write(root, {"d": "mine\n"} if mine == "file" else {"d/mine": "mine\n"})
    assert "d" in why(follows(root, landed))
    assert (outside / "x").read_text() == (outside / "y").read_text() == "precious\n"
    assert git(root, "rev-parse", "main") != landed


# --- more than one checkout -------------------------------------------------------------------------------


def test_a_target_in_two_worktrees_waits_and_the_remedy_frees_it(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n"})
    landed = land(root, {"f": "new\n"})
    second = tmp_path / "second one"
    git(root, "worktree", "add", "--quiet", "--force", str(second), "main")
    write(second, {"f": "mine\n"})
    found = follows(root, landed)
    assert "2 places" in why(found)
    assert (root / "f").read_text() == "old\n"
    do(found.remedy)  # type: ignore[union-attr]
    assert follows(root, landed) == Followed(landed)
    assert (second / "f").read_text() == "mine\n"
    assert attempt_git(second, "diff", "--quiet").returncode == 1
    assert shlex.split(found.remedy)[2] == str(second)  # type: ignore[union-attr]


def test_conflicts_of_no_operation_are_told_with_what_ends_them(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n", "mine": "old\n"})
    write(root, {"mine": "stashed\n"})
    git(root, "stash", "push", "--quiet")
    commit(root, {"mine": "committed\n"})
    landed = land(root, {"f": "new\n"})
    assert attempt_git(root, "stash", "pop").returncode != 0
    found = follows(root, landed)
    assert "conflicts that are not resolved, in 'mine'" in why(found)
    assert status(root) == ["UU mine"]
    write(root, {"mine": "both\n"})
    do(found.remedy)  # type: ignore[union-attr]
    assert follows(root, landed) == Followed(landed)
    assert status(root) == ["M  mine"] or status(root) == ["M mine"]


def test_a_repository_in_a_folder_called_worktrees_has_its_journal_in_itself(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "worktrees", {"f": "old\n", "g": "old\n"})
    landed = land(root, {"f": "new\n", "g": "new\n"})
    place = tmp_path / "linked"
    git(root, "switch", "--quiet", "-c", "else")
    git(root, "worktree", "add", "--quiet", str(place), "main")
    repository = Repository.open(root)
    journal = begin(repository.checkouts_of("main")[0], "main", git(root, "rev-parse", "main"), landed)
    assert journal.file.parent == root / ".git"
    (journal.git_dir / "index.lock").touch()
    write(place, {"f": "ne"})
    assert follows(root, landed) == Followed(landed)
    assert status(place) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "linked", "worktrees"]


def test_a_disk_that_would_be_full_in_the_middle_is_noticed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_repository(tmp_path / "repo", {"f": "old\n"})
    landed = land(root, {"f": "new\n" * 1_000_000, "g": "new\n"}, "f")
    monkeypatch.setattr(obstacles, "free_bytes", lambda _path: 5_000_000)
    found = follows(root, landed)
    assert "needs 6 MB of room" in why(found)
    do(found.remedy)  # type: ignore[union-attr]
    assert status(root) == []
    monkeypatch.setattr(obstacles, "free_bytes", lambda _path: 6_000_000)
    assert follows(root, landed) == Followed(landed)
