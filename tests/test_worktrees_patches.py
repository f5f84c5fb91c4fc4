"""Whether a branch's work is on the target: as commits, as patches, squashed; and never because it looks alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.patches import how_on
from support.repository import commit, git, make_repository

CODE = "if x:\n    a()\n    b()\nc()\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_repository(tmp_path / "repo", {"f": "1\n2\n3\n", "code.py": CODE, "image": b"\0one"})
    git(root, "branch", "base")
    git(root, "switch", "-q", "-c", "work")
    return root


def how(root: Path, tip: str = "work", target: str = "main") -> str | None:
    return how_on(Git(root), git(root, "rev-parse", tip), git(root, "rev-parse", target))


def on_target(root: Path, *argv: str) -> None:
    git(root, "switch", "-q", "main")
    git(root, *argv)


def test_the_same_commits(root: Path) -> None:
    commit(root, {"f": "1\n2\n3\n4\n"})
    assert how(root) is None
    on_target(root, "merge", "-q", "--no-ff", "-m", "merged", "work")
    assert how(root) == "commits"


def test_rebased_commits_are_there_when_each_of_them_is(root: Path) -> None:
    commit(root, {"f": "1\n2\n3\n4\n"})
    commit(root, {'odd\n"name': "x\n", "image": b"\0two"})
    git(root, "switch", "-q", "main")
    commit(root, {"other": "x\n"})
    git(root, "cherry-pick", "work^")
    assert how(root) is None
    git(root, "cherry-pick", "work")
    assert how(root) == "patches"


def test_a_squash_with_other_commits_around_it(root: Path) -> None:
    commit(root, {"f": "1\n2\nthree\n"})
    commit(root, {"f": "1\n2\n3\n", "new": "new\n"})
    git(root, "switch", "-q", "main")
    commit(root, {"code.py": "# above\n" + CODE})
    git(root, "merge", "-q", "--squash", "work")
    git(root, "commit", "-q", "-m", "squashed")
    commit(root, {"later": "x\n"})
    assert how(root) == "squash"


def test_a_squash_inside_a_batch_that_landed_as_one_merge(root: Path) -> None:
    commit(root, {"f": "1\n2\n3\n4\n"})
    commit(root, {"new": "new\n"})
    git(root, "switch", "-q", "-c", "stack", "main")
    git(root, "merge", "-q", "--squash", "work")
    git(root, "commit", "-q", "-m", "squashed")
    commit(root, {"another item": "x\n"})
    on_target(root, "merge", "-q", "--no-ff", "-m", "batch", "stack")
    assert how(root) == "squash"


def test_a_line_that_is_indented_otherwise_is_another_patch_whatever_git_cherry_says(root: Path) -> None:
    commit(root, {"code.py": "if x:\n    a()\n    b()\n    d()\nc()\n"})
    git(root, "switch", "-q", "main")
    commit(root, {"code.py": "if x:\n    a()\n    b()\nd()\nc()\n"})
    assert git(root, "cherry", "main", "work").startswith("- ")
    assert how(root) is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"image": b"\0two"}, {"image": b"\0too"}),
        ({"new": "x\n"}, {"new": "x"}),
        ({"new": "x\r\n"}, {"new": "x\n"}),
        ({"new": "x\n", "more": "y\n"}, {"new": "x\n"}),
        ({"f": "1\n2\n3\n4\n"}, {"g": "1\n2\n3\n4\n"}),
    ],
)
def test_what_differs_in_a_byte_or_a_name_is_not_there(root: Path, ours: dict, theirs: dict) -> None:
    commit(root, ours)
    git(root, "switch", "-q", "main")
    commit(root, theirs)
    assert how(root) is None


def test_a_mode_is_part_of_the_patch(root: Path) -> None:
    (root / "f").chmod(0o755)
    commit(root, {})
    assert how(root) is None
    git(root, "switch", "-q", "main")
    commit(root, {"f": "1\n2\n3\n"})
    assert how(root) is None
    git(root, "cherry-pick", "work")
    assert how(root) in {"commits", "patches"}


def test_commits_that_undo_each_other_or_change_nothing_are_not_there(root: Path) -> None:
    commit(root, {"f": "other\n"})
    git(root, "revert", "--no-edit", "HEAD")
    git(root, "switch", "-q", "main")
    commit(root, {"g": "x\n"})
    git(root, "commit", "-q", "--allow-empty", "-m", "empty")
    assert how(root) is None
    git(root, "switch", "-q", "work")
    git(root, "reset", "-q", "--hard", "base")
    git(root, "commit", "-q", "--allow-empty", "-m", "empty, too")
    assert how(root) is None


def test_a_merge_that_was_resolved_by_hand_counts_only_as_a_whole(root: Path) -> None:
    commit(root, {"f": "1\n2\nthree\n"})
    git(root, "switch", "-q", "-c", "side", "base")
    commit(root, {"f": "1\n2\ndrei\n"})
    git(root, "switch", "-q", "main")
    git(root, "cherry-pick", "side")
    git(root, "switch", "-q", "-c", "both", "work")
    git(root, "merge", "-q", "-s", "ours", "side")
    commit(root, {"f": "1\n2\nby hand\n"})
    assert how(root, "both") is None


def test_histories_that_share_nothing(root: Path) -> None:
    git(root, "switch", "-q", "--orphan", "alone")
    commit(root, {"f": "1\n2\n3\n"})
    assert how(root, "alone") is None


def test_the_users_configuration_of_diffs_does_not_matter(root: Path) -> None:
    for key, value in {"diff.noprefix": "true", "diff.external": "false", "diff.renames": "copies"}.items():
        git(root, "config", key, value)
    commit(root, {"f": "1\n2\n3\n4\n"})
    git(root, "switch", "-q", "main")
    commit(root, {"other": "x\n"})
    git(root, "cherry-pick", "work")
    assert how(root) == "patches"
