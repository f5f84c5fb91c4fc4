"""Joining branches without a checkout: git's own means against conflicts, and linear histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.worktrees.joining import Conflict, Joined
from parallel_loop.worktrees.landing import LandingBranch
from support.repository import attempt_git, commit, git
from support.worktrees import IDENTITY, Place, make_place

MESSAGE = "Title\n\nItem: one\nAttempt: 1\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path / "repo")


@pytest.fixture
def landing(place: Place) -> LandingBranch:
    made = LandingBranch(place.repository, place.pool.ensure("landing"), IDENTITY)
    made.ensure(place.start)
    return made


def branch(place: Place, name: str, *steps: dict[str, str | bytes], base: str | None = None) -> str:
    """A branch from the first commit or `base`, with a commit for each step, made in the agent's worktree."""
    path = place.worktree.path
    git(path, "switch", "-q", "-C", name, base or place.start)
    for number, files in enumerate(steps):
        commit(path, files, f"{name} {number}")
    return git(path, "rev-parse", "HEAD")


def joined(found: Joined | Conflict) -> Joined:
    assert isinstance(found, Joined), found
    return found


def test_the_attributes_of_what_it_goes_onto_count_in_any_folder(place: Place, landing: LandingBranch) -> None:
    base = branch(place, "base", {"docs/.gitattributes": "*.log merge=union\n", "docs/a.log": "1\n"})
    one = branch(place, "one", {"docs/a.log": "1\none\n"}, base=base)
    two = branch(place, "two", {"docs/a.log": "1\ntwo\n"}, base=base)
    both = joined(landing.join(one, two, MESSAGE))
    assert git(place.root, "show", f"{both.commit}:docs/a.log").split() == ["1", "one", "two"]
    without = branch(place, "without", {"docs/.gitattributes": ""}, base=one)
    assert isinstance(landing.join(without, two, MESSAGE), Conflict), "of that commit, not of the one before"
    assert joined(landing.join(one, two, MESSAGE)).tree == both.tree


def test_a_branch_whose_first_commit_landed_in_another_form_is_replayed(place: Place, landing: LandingBranch) -> None:
    """Both changed the same line, but what the branch did there is on the tip already: git sees it commit by commit."""
    tip = branch(place, "tip", {"f.txt": "shared\n"}, {"f.txt": "shared\nand more\n"})
    other = branch(place, "other", {"f.txt": "shared\n"}, {"g.txt": "new\n"})
    assert git(place.root, "rev-parse", f"{tip}~1") != git(place.root, "rev-parse", f"{other}~1")
    found = joined(landing.join(tip, other, MESSAGE))
    assert git(place.root, "show", f"{found.commit}:f.txt") == "shared\nand more"
    assert git(place.root, "show", f"{found.commit}:g.txt") == "new"


def test_a_resolution_that_the_user_recorded_is_used(place: Place, landing: LandingBranch) -> None:
    one = branch(place, "one", {"f.txt": "first\n"})
    two = branch(place, "two", {"f.txt": "two\n"})
    assert isinstance(landing.join(one, two, MESSAGE), Conflict)
    git(place.root, "switch", "-q", "--detach", one)
    git(place.root, "config", "rerere.enabled", "true")
    assert attempt_git(place.root, "merge", "two").returncode == 1
    commit(place.root, {"f.txt": "first and two\n"})
    git(place.root, "switch", "-q", "main")
    git(place.root, "config", "--unset", "rerere.enabled")
    found = joined(landing.join(one, two, MESSAGE))
    assert git(place.root, "show", f"{found.commit}:f.txt") == "first and two"
    assert git(place.root, "log", "-1", "--format=%P", found.commit).split() == [one, two]
    assert git(place.pool.ensure("landing").path, "status", "--porcelain") == ""


def test_a_conflict_has_both_sides_commits_and_the_lines(place: Place, landing: LandingBranch) -> None:
    one = branch(place, "one", {"f.txt": "first\n"}, {"f.txt": "first more\n"})
    two = branch(place, "two", {"f.txt": "two\n", "g.txt": "g"})
    found = landing.join(one, two, MESSAGE)
    assert isinstance(found, Conflict)
    assert found.paths == ("f.txt",)
    facts = found.facts.splitlines()
    assert facts[:2] == ["f.txt:", "  what landed meanwhile:"]
    assert [line.split(" ", 5)[-1] for line in facts if "one " in line and "Tess" in line] == [
        "one 1 (Tess Ter)",
        "one 0 (Tess Ter)",
    ]
    assert "  | first more" in facts
    assert "  | two" in facts
    assert landing.join(one, two, MESSAGE, facts=False) == Conflict(found.paths, found.summary, tree=found.tree)


def test_squash_is_one_commit_and_rebase_keeps_authors_dates_and_messages(place: Place, landing: LandingBranch) -> None:
    tip = branch(place, "tip", {"t": "1"})
    source = branch(place, "work", {"a": "1"}, {"b": "2"})
    squashed = joined(landing.join(tip, source, MESSAGE, "squash"))
    assert git(place.root, "log", "-1", "--format=%P|%s", squashed.commit) == f"{tip}|Title"
    rebased = joined(landing.join(tip, source, MESSAGE, "rebase"))
    assert rebased.tree == squashed.tree
    wanted = git(place.root, "log", "-2", "--format=%an|%ad|%s", source)
    assert git(place.root, "log", "-2", "--format=%an|%ad|%s", rebased.commit) == wanted
    trailers = git(place.root, "log", "-2", "--format=%(trailers:only)", rebased.commit)
    assert trailers.split("\n\n") == ["Item: one\nAttempt: 1"] * 2
    assert git(place.root, "rev-parse", f"{rebased.commit}~2") == tip


def test_a_branch_with_merges_of_its_own_is_squashed_instead_of_rebased(place: Place, landing: LandingBranch) -> None:
    tip = branch(place, "tip", {"t": "1"})
    branch(place, "side", {"s": "1"})
    branch(place, "work", {"a": "1"})
    git(place.worktree.path, "merge", "-q", "--no-edit", "side")
    source = git(place.worktree.path, "rev-parse", "HEAD")
    found = joined(landing.join(tip, source, MESSAGE, "rebase"))
    assert git(place.root, "log", "-1", "--format=%P|%s", found.commit) == f"{tip}|Title"
    assert {"t", "s", "a"} <= place.names(found.commit)


def test_nothing_of_it_moves_a_branch_or_a_file(place: Place, landing: LandingBranch) -> None:
    one, two = branch(place, "one", {"f.txt": "first\n"}), branch(place, "two", {"f.txt": "two\n"})
    before = git(place.root, "for-each-ref"), git(place.root, "status", "--porcelain")
    for style in ("merge", "squash", "rebase"):
        landing.join(one, two, MESSAGE, style)
    assert (git(place.root, "for-each-ref"), git(place.root, "status", "--porcelain")) == before
