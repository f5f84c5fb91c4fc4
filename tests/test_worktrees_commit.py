"""What a program leaves becomes its attempt's branch, however it behaved; branches of the user never move."""

from __future__ import annotations

import shutil

import pytest

from parallel_loop.worktrees.commit import Rest, commit_rest
from parallel_loop.worktrees.errors import WorktreeGone
from parallel_loop.worktrees.recycle import recycle
from parallel_loop.worktrees.salvage import has_work
from support.repository import attempt_git, commit, git, make_empty_repository, write
from support.worktrees import IDENTITY, Place, make_place

BRANCH = "parallel-loop/item/fix/1"


@pytest.fixture
def place(tmp_path):
    made = make_place(tmp_path / "repo")
    recycle(made.worktree, made.start, BRANCH)
    return made


def finish(place: Place) -> Rest:
    rest = commit_rest(place.worktree, BRANCH, "the rest", IDENTITY, start=place.start)
    assert git(place.root, "rev-parse", BRANCH) == rest.commit
    assert not has_work(place.worktree), "nothing is left for a salvage"
    return rest


def test_nothing_done_is_no_commit(place):
    assert finish(place) == Rest(place.start, 0, added=False, unfinished=None, left_behind=None)


def test_the_programs_own_commits_are_counted(place):
    commit(place.worktree.path, {"f.txt": "1\n"})
    made = commit(place.worktree.path, {"f.txt": "2\n"})
    assert finish(place) == Rest(made, 2, added=False, unfinished=None, left_behind=None)


def test_what_is_left_is_committed_for_the_agent_but_not_what_is_ignored(place):
    commit(place.worktree.path, {"f.txt": "1\n"})
    write(place.worktree.path, {"f.txt": "2\n", "new\nname": "x", "a.o": "object"})
    (place.worktree.path / "g.txt").unlink()
    rest = finish(place)
    assert (rest.commits, rest.added) == (2, True)
    assert place.show(rest.commit, "f.txt") == "2"
    assert "new\nname" in place.names(rest.commit)
    assert not {"g.txt", "a.o"} & place.names(rest.commit)
    assert git(place.root, "log", "-1", "--format=%an %s", BRANCH) == "agent-1 the rest"
    assert git(place.worktree.path, "status").splitlines()[0] == f"On branch {BRANCH}"


def test_a_message_of_a_megabyte_with_nul_is_taken(place):
    write(place.worktree.path, {"new": "x"})
    rest = commit_rest(place.worktree, BRANCH, "s\0\n\n" + "x" * 1_000_000, IDENTITY, start=place.start)
    assert rest.commits == 1


def test_doing_it_again_adds_nothing(place):
    write(place.worktree.path, {"new": "x"})
    assert finish(place).commit == finish(place).commit


def test_a_killed_commit_leaves_locks_that_do_not_matter(place):
    write(place.worktree.path, {"new": "x"})
    (place.worktree.git_dir / "index.lock").touch()
    (place.worktree.git_dir / "HEAD.lock").touch()
    assert finish(place).added


@pytest.mark.parametrize("how", ["detached", "new branch", "renamed branch", "deleted branch", "orphan"])
def test_work_done_off_the_attempts_branch_is_brought_onto_it(place, how):
    wt = place.worktree.path
    if how == "detached":
        git(wt, "checkout", "-q", "--detach")
    elif how == "new branch":
        git(wt, "switch", "-q", "-c", "feature")
    elif how == "renamed branch":
        git(wt, "branch", "-m", "feature")
    elif how == "deleted branch":
        git(wt, "checkout", "-q", "--detach")
        git(wt, "branch", "-q", "-D", BRANCH)
    else:
        git(wt, "checkout", "-q", "--orphan", "fresh")
    if how != "orphan":
        commit(wt, {"f.txt": "1\n"})
    write(wt, {"g.txt": "uncommitted\n"})
    rest = finish(place)
    assert place.show(rest.commit, "g.txt") == "uncommitted"
    assert rest.commits == (1 if how == "orphan" else 2)
    assert rest.left_behind is None
    if how in {"new branch", "renamed branch"}:
        assert git(place.root, "rev-parse", "feature") == git(place.root, "rev-parse", f"{BRANCH}^")


def test_a_branch_of_the_user_never_moves(place):
    git(place.root, "switch", "-q", "-c", "elsewhere")
    git(place.worktree.path, "switch", "-q", "main")
    write(place.worktree.path, {"f.txt": "work\n"})
    rest = finish(place)
    assert git(place.root, "rev-parse", "main") == place.start
    assert place.show(rest.commit, "f.txt") == "work"
    theirs = commit(place.worktree.path, {"f.txt": "and more\n"})
    assert theirs == finish(place).commit


def test_a_program_that_went_back_to_an_older_commit_keeps_what_it_committed(place):
    made = commit(place.worktree.path, {"f.txt": "1\n"})
    git(place.worktree.path, "checkout", "-q", "--detach", place.start)
    assert finish(place) == Rest(made, 1, added=False, unfinished=None, left_behind=None)


def test_an_amended_commit_replaces_the_first_which_is_kept(place):
    first = commit(place.worktree.path, {"f.txt": "1\n"})
    git(place.worktree.path, "checkout", "-q", "--detach")
    git(place.worktree.path, "commit", "-q", "--amend", "-m", "better")
    rest = finish(place)
    assert git(place.root, "log", "-1", "--format=%s", BRANCH) == "better"
    assert rest.left_behind == first == git(place.root, "rev-parse", rest.kept[0].ref)
    assert rest.kept[0].ref.startswith("refs/parallel-loop/salvage/")


def test_edits_on_an_unrelated_commit_do_not_replace_the_work(place):
    wt = place.worktree.path
    made = commit(wt, {"f.txt": "1\n"})
    git(wt, "checkout", "-q", "--orphan", "other")
    commit(wt, {"f.txt": "from nowhere\n"})
    write(wt, {"g.txt": "uncommitted\n"})
    rest = finish(place)
    assert rest.commit == made
    assert place.show(rest.left_behind, "g.txt") == "uncommitted"


def diverge(place):
    """`side` and the attempt's branch change the same line."""
    wt = place.worktree.path
    git(wt, "switch", "-q", "-c", "side")
    commit(wt, {"f.txt": "side\n"})
    git(wt, "switch", "-q", BRANCH)
    return commit(wt, {"f.txt": "mine\n"})


def test_a_merge_left_with_conflicts_is_not_made_to_look_like_a_merge(place):
    diverge(place)
    assert attempt_git(place.worktree.path, "merge", "side").returncode != 0
    rest = finish(place)
    assert (rest.unfinished, rest.added) == ("merge", True)
    assert "<<<<<<<" in place.show(rest.commit, "f.txt")
    assert len(git(place.root, "rev-parse", f"{BRANCH}^@").split()) == 1


def test_a_merge_that_was_resolved_but_not_committed_becomes_one(place):
    diverge(place)
    attempt_git(place.worktree.path, "merge", "side")
    write(place.worktree.path, {"f.txt": "both\n"})
    git(place.worktree.path, "add", "-A")
    rest = finish(place)
    assert place.show(rest.commit, "f.txt") == "both"
    assert len(git(place.root, "rev-parse", f"{BRANCH}^@").split()) == 2


def test_a_merge_resolved_to_our_own_side_still_becomes_one(place):
    diverge(place)
    git(place.worktree.path, "merge", "-q", "--no-commit", "-s", "ours", "side")
    assert len(git(place.root, "rev-parse", f"{finish(place).commit}^@").split()) == 2


def test_a_rebase_that_stopped_loses_no_commit(place):
    diverge(place)
    made = commit(place.worktree.path, {"g.txt": "second\n"})
    assert attempt_git(place.worktree.path, "rebase", "side").returncode != 0
    write(place.worktree.path, {"new": "while stopped"})
    rest = finish(place)
    assert (rest.commit, rest.unfinished) == (made, "rebase")
    assert place.show(rest.left_behind, "new") == "while stopped"


def test_a_project_scaffolded_with_a_repository_of_its_own_is_committed_as_files(place):
    commit(make_empty_repository(place.worktree.path / "app"), {"main.py": "x", "lib/y.py": "y"})
    make_empty_repository(place.worktree.path / "empty")
    write(place.worktree.path, {"empty/z": "z"})
    rest = commit_rest(place.worktree, BRANCH, "the rest", IDENTITY, start=place.start)
    assert {"app/main.py", "app/lib/y.py", "empty/z"} <= place.names(rest.commit)


def test_files_marked_unchanged_are_left_to_the_salvage(place):
    git(place.worktree.path, "update-index", "--assume-unchanged", "f.txt")
    write(place.worktree.path, {"f.txt": "local settings\n"})
    rest = commit_rest(place.worktree, BRANCH, "the rest", IDENTITY, start=place.start)
    assert rest.commits == 0
    assert has_work(place.worktree)


def test_a_broken_index_does_not_lose_work(place):
    write(place.worktree.path, {"new": "x"})
    (place.worktree.git_dir / "index").write_bytes(b"")
    assert "new" in place.names(finish(place).commit)


def test_a_worktree_that_is_gone_is_said(place):
    shutil.rmtree(place.worktree.path)
    with pytest.raises(WorktreeGone, match="is gone"):
        finish(place)


def test_the_side_of_a_merge_that_was_not_ended_is_kept(place):
    """With conflicts it is no merge, and no parent of the commit: nothing else may have it."""
    wt = place.worktree.path
    git(wt, "checkout", "-q", "--detach")
    theirs = commit(wt, {"f.txt": "theirs\n", "only theirs": "x\n"})
    git(wt, "switch", "-q", BRANCH)
    commit(wt, {"f.txt": "ours\n"})
    assert attempt_git(wt, "merge", theirs).returncode == 1
    rest = finish(place)
    assert [kept.commit for kept in rest.kept] == [theirs]
    assert git(place.root, "rev-parse", "refs/parallel-loop/salvage/fix/1") == theirs


def test_what_a_rebase_stashed_is_kept(place):
    wt = place.worktree.path
    git(wt, "checkout", "-q", "--detach")
    onto = commit(wt, {"f.txt": "theirs\n"})
    git(wt, "switch", "-q", BRANCH)
    commit(wt, {"f.txt": "ours\n"})
    write(wt, {"g.txt": "stashed\n"})
    assert attempt_git(wt, "rebase", "-q", "--autostash", onto).returncode == 1
    rest = finish(place)
    assert "stashed" in [place.show(kept.commit, "g.txt") for kept in rest.kept]


def test_a_version_that_only_the_index_has_is_kept(place):
    wt = place.worktree.path
    write(wt, {"f.txt": "staged\n", "g.txt": "both\n"})
    git(wt, "add", "f.txt", "g.txt")
    write(wt, {"f.txt": "in the file\n"})
    rest = finish(place)
    assert place.show(rest.commit, "f.txt") == "in the file"
    (kept,) = rest.kept
    assert place.show(kept.commit, "f.txt") == "staged"


@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_staged_in_part_is_no_version_of_its_own(place, deleted):
    wt = place.worktree.path
    write(wt, {"f.txt": "staged\n", "g.txt": "not\n"})
    git(wt, "add", "f.txt")
    if deleted:
        git(wt, "rm", "-q", "--cached", "UNION.md")
    assert finish(place).kept == ()
