"""What is found out about the user's repository."""

from __future__ import annotations

import pytest

from parallel_loop.worktrees.repository import BareRepository, EmptyRepository, NotARepository, Repository
from support.repository import attempt_git, commit, git, make_empty_repository, make_repository

AWKWARD = "sp ace 'q\" new\nline ü"


@pytest.fixture
def root(tmp_path):
    return make_repository(tmp_path / AWKWARD, {"a/b/c.txt": "x", "f": "1\n"})


def test_it_is_found_from_any_folder_of_it(root):
    for start in (root, root / "a" / "b", root / ".git", root / ".git" / "refs"):
        repository = Repository.open(start)
        assert (repository.root, repository.git_dir) == (root, root / ".git")


def test_from_a_linked_worktree_the_main_one_is_found(root, tmp_path):
    git(root, "worktree", "add", "-q", "-b", "side", str(tmp_path / AWKWARD / "li nked"))
    repository = Repository.open(tmp_path / AWKWARD / "li nked" / "a")
    assert (repository.root, repository.git_dir) == (root, root / ".git")


def test_no_repository_is_said_with_path_and_remedy(tmp_path):
    for start in (tmp_path, tmp_path / "missing"):
        with pytest.raises(NotARepository, match="git init") as caught:
            Repository.open(start)
        assert str(start) in str(caught.value)


def test_a_bare_repository_is_said_also_from_its_worktree(root, tmp_path):
    bare = tmp_path / "bare.git"
    git(root, "clone", "-q", "--bare", str(root), str(bare))
    git(bare, "worktree", "add", "-q", str(tmp_path / "linked"), "main")
    for start in (bare, tmp_path / "linked"):
        with pytest.raises(BareRepository, match="is bare"):
            Repository.open(start)


def test_a_separate_git_directory_is_understood_from_its_work_tree_only(tmp_path):
    git(tmp_path, "init", "-q", "--separate-git-dir", str(tmp_path / "store"), str(tmp_path / "tree"))
    commit(make_empty_repository(tmp_path / "tree"), {})
    assert Repository.open(tmp_path / "tree").root == tmp_path / "tree"
    git(tmp_path / "tree", "worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    with pytest.raises(NotARepository, match="start in it"):
        Repository.open(tmp_path / "linked")


def test_a_repository_without_commit_is_said(tmp_path):
    repository = Repository.open(make_empty_repository(tmp_path / "repo"))
    assert repository.branch_checked_out() == "main"
    with pytest.raises(EmptyRepository, match="git commit"):
        repository.require_commit()


def test_branches_and_commits(root):
    repository = Repository.open(root)
    first = git(root, "rev-parse", "HEAD")
    assert repository.require_commit() == first
    assert repository.branch_checked_out() == "main"
    assert repository.branch_tip("main") == first
    assert repository.branch_tip("none") is None
    assert repository.resolve("--all") is None
    git(root, "tag", "-a", "-m", "tag", "v1")
    assert repository.resolve("v1") == first
    git(root, "checkout", "-q", "--detach")
    assert repository.branch_checked_out() is None


def test_checkouts_of_a_branch_include_where_it_is_rebased_or_bisected(root, tmp_path):
    repository = Repository.open(root)
    linked = tmp_path / "linked\nhere"
    git(root, "worktree", "add", "-q", "-b", "side", str(linked))
    commit(linked, {"f": "side\n"})
    commit(root, {"f": "main\n"})
    assert [(one.path, one.operation) for one in repository.checkouts_of("main")] == [(root, None)]
    assert [(one.path, one.operation) for one in repository.checkouts_of("side")] == [(linked, None)]
    assert attempt_git(linked, "rebase", "main").returncode != 0
    assert [(one.path, one.operation) for one in repository.checkouts_of("side")] == [(linked, "rebase")]
    git(linked, "rebase", "--abort")
    git(root, "bisect", "start")
    git(root, "checkout", "-q", "--detach")
    assert [(one.path, one.operation) for one in repository.checkouts_of("main")] == [(root, "bisect")]
    assert repository.checkouts_of("main")[0].git().text("rev-parse", "--show-toplevel") == str(root)
    assert repository.checkouts_of("none") == []


def test_branch_names_that_would_be_read_as_something_else_are_refused(root):
    repository = Repository.open(root)
    good = ["main", "feature/x", "emoji-\N{ROCKET}", "a" * 240]
    bad = ["", "-D", "@", "HEAD", "refs/heads/x", "@{-1}", "a..b", "a b", "../x", "x.lock", "a" * 300, "a\0b", "a\nb"]
    assert [name for name in good + bad if repository.is_valid_branch(name)] == good
