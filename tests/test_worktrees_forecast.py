"""Trial merges with real git: who conflicts, where, and that nothing is left of them."""

from __future__ import annotations

import os
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.forecast import TrialMerges
from support.repository import commit, git
from support.worktrees import Place, make_place

LINES = "".join(f"{number}\n" for number in range(9))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    files: dict[str, str | bytes] = {
        "f.txt": LINES,
        "g.txt": "g\n",
        "d/x": "x\n",
        "UNION.md": "first\n",
        ".gitattributes": "UNION.md merge=union\n",
    }
    return make_place(tmp_path / "r", files)


def branch(place: Place, name: str, files: dict[str, str | bytes | None], base: str = "main") -> str:
    """A commit with `files` changed on top of `base`; the user's checkout stays as it is."""
    path = place.root.parent / "scratch"
    if not path.exists():
        git(place.root, "worktree", "add", "--quiet", "--detach", str(path))
    git(path, "switch", "--quiet", "--force", "-C", name, base)
    for file in [file for file, content in files.items() if content is None]:
        git(path, "rm", "--quiet", file)
    made = commit(path, {file: content for file, content in files.items() if content is not None}, name)
    git(path, "switch", "--quiet", "--detach")
    return made


def test_who_conflicts_with_whom_and_in_which_paths(place: Place) -> None:
    tips = {
        "head": branch(place, "head", {"f.txt": "HEAD\n" + LINES}),
        "other": branch(place, "other", {"f.txt": "OTHER\n" + LINES, "g.txt": "other\n"}),
        "tail": branch(place, "tail", {"f.txt": LINES + "TAIL\n"}),
        "gone": branch(place, "gone", {"g.txt": None}),
        "union": branch(place, "union", {"UNION.md": "first\nsecond\n"}),
        "union-too": branch(place, "union-too", {"UNION.md": "first\nthird\n"}),
        "odd": branch(place, "odd", {"a b\nc.txt": "1\n"}),
        "odd-too": branch(place, "odd-too", {"a b\nc.txt": "2\n"}),
        "moved": branch(place, "moved", {"d/x": None, "e/x": "x\n"}),
        "file": branch(place, "file", {"d/x": None, "d": "a file\n"}),
    }
    names = {commit: name for name, commit in tips.items()}
    merges = TrialMerges(place.worktree)
    clashes = merges.clashes(place.start, list(combinations(tips.values(), 2)))
    found = {tuple(names[commit] for commit in pair): paths for pair, paths in clashes.items()}
    for pair in found:  # every answer is what git says of that pair alone
        assert subprocess.run(
            ["git", "merge-tree", "--write-tree", *pair], cwd=place.root, check=False, capture_output=True
        ).returncode
    assert {pair: paths for pair, paths in found.items() if "file" not in pair} == {
        ("head", "other"): ("f.txt",),
        ("other", "gone"): ("g.txt",),
        ("odd", "odd-too"): ("a b\nc.txt",),
    }
    assert ("moved", "file") in found
    changed = merges.changed(place.start, tips.values())
    assert changed[tips["other"]] == ("f.txt", "g.txt")
    assert changed[tips["moved"]] == ("d/x", "e/x")
    assert changed[tips["odd"]] == ("a b\nc.txt",)


def test_nothing_of_it_is_left_in_the_repository(place: Place) -> None:
    pairs = [(branch(place, "one", {"f.txt": "1\n"}), branch(place, "two", {"f.txt": "2\n"}))]
    merges = TrialMerges(place.worktree)

    def everything() -> dict[str, int]:
        return {str(path): path.lstat().st_mtime_ns for path in place.root.rglob("*") if path.is_file()}

    merges.tips(["main"])  # a worktree has a lease from its first git on
    before = everything()
    assert merges.clashes(place.start, pairs) == {pairs[0]: ("f.txt",)}
    merges.changed(place.start, pairs[0])
    assert everything() == before
    assert not (place.worktree.git_dir / "parallel-loop.forecast").exists()


def test_a_branch_is_compared_with_where_it_began_and_one_without_a_beginning_is_left_out(place: Place) -> None:
    one = branch(place, "one", {"g.txt": "1\n"})
    landed = branch(place, "landed", {"f.txt": "landed\n"})
    path = place.root.parent / "scratch"
    git(path, "switch", "--quiet", "--orphan", "stranger")
    stranger = commit(path, {"z": "z"}, "no parent")
    merges = TrialMerges(place.worktree)
    expected = {one: ("g.txt",), place.start: ()}
    assert merges.changed(landed, [one, stranger, place.start]) == expected
    assert merges.changed(landed, [one, stranger, place.start]) == expected
    assert merges.tips(["one", "nobody", "landed"]) == {"one": one, "landed": landed}
    assert merges.tips([]) == merges.changed(landed, []) == merges.clashes(landed, []) == {}
    pairs = [(one, stranger), (one, landed)]
    assert merges.clashes(landed, pairs) == {}  # one that git would not merge is no hindrance for the others
    with pytest.raises(GitError):
        merges.clashes(landed, [(one, "0" * 40)])
    assert not (place.worktree.git_dir / "parallel-loop.forecast").exists()


def test_one_process_merges_all_pairs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    tips = [branch(place, f"b{number}", {"f.txt": f"{number}\n"}) for number in range(6)]
    merges = TrialMerges(place.worktree)
    started: list[object] = []
    real = subprocess.Popen.__init__
    monkeypatch.setattr(subprocess.Popen, "__init__", lambda *a, **k: started.append(a) or real(*a, **k))
    assert len(merges.clashes(place.start, list(combinations(tips[:2], 2)))) == 1
    of_one = len(started)
    assert len(merges.clashes(place.start, list(combinations(tips, 2)))) == 15
    assert len(started) == 2 * of_one


def test_the_folder_of_a_killed_forecast_is_no_hindrance(place: Place) -> None:
    left = place.worktree.git_dir / "parallel-loop.forecast" / "ab"
    left.mkdir(parents=True)
    (left / os.urandom(19).hex()).write_bytes(b"half")
    one, two = branch(place, "one", {"f.txt": "1\n"}), branch(place, "two", {"f.txt": "2\n"})
    assert TrialMerges(place.worktree).clashes(place.start, [(one, two)])
