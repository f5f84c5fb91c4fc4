"""The user's branch follows what landed; what the user has in the checkout is never touched."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from parallel_loop.worktrees import target as module
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.target import Blocked, Diverged, Followed, follow
from support.repository import attempt_git, commit, environment, git, write
from support.targets import AWKWARD, Setting, state


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path / "my repo")


def test_a_clean_checkout_moves_with_its_branch(setting):
    assert setting.follow() == Followed(setting.landed)
    assert setting.tip() == setting.landed
    assert git(setting.root, "status", "--porcelain") == ""
    assert (setting.root / AWKWARD).read_text() == "new\n"
    assert not (setting.root / "gone").exists()
    assert setting.follow() == Followed(setting.landed)


def test_a_branch_that_is_checked_out_nowhere_is_just_moved(setting):
    git(setting.root, "switch", "-q", "-c", "else")
    assert setting.follow() == Followed(setting.landed)
    assert setting.tip() == setting.landed
    assert (setting.root / "f").read_text() == "old\n"


def test_it_follows_in_a_linked_worktree(setting, tmp_path):
    git(setting.root, "switch", "-q", "-c", "else")
    linked = tmp_path / "linked\nhere"
    git(setting.root, "worktree", "add", "-q", str(linked), "main")
    assert setting.follow() == Followed(setting.landed)
    assert (linked / "f").read_text() == "new\n"
    assert git(linked, "status", "--porcelain") == ""


def test_edits_staged_and_untracked_files_beside_the_landed_ones_are_kept(setting):
    write(setting.root, {"keep": "edited\n", "mine": "mine\n", "d/mine": "mine\n", "ignored/mine": "mine\n"})
    git(setting.root, "add", "keep")
    write(setting.root, {"d/x": "edited\n"})
    assert setting.follow() == Followed(setting.landed)
    assert git(setting.root, "status", "--porcelain").split("\n") == ["M d/x", "M  keep", "?? d/mine", "?? mine"]
    assert (setting.root / "ignored" / "mine").exists()


def test_a_file_whose_time_alone_changed_is_not_in_the_way(setting):
    (setting.root / "f").touch()
    assert setting.follow() == Followed(setting.landed)


IN_THE_WAY: dict[str, dict[str, str | bytes]] = {
    "edited": {"f": "mine\n"},
    "untracked": {"added": "mine\n"},
    "untracked, odd name": {AWKWARD: "mine\n"},
    "ignored": {".env": "SECRET=1\n"},
    "ignored folder": {"ignored/z": "mine\n"},
    "a folder where a file lands": {"added/mine": "mine\n"},
    "edited and deleted": {"gone": "mine\n", "f": "mine\n"},
    "same as what lands": {"added": "new\n"},
}


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_the_user_has_is_never_touched_and_the_remedy_frees_the_way(setting, name):
    write(setting.root, IN_THE_WAY[name])
    before = state(setting.root)
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert repr(next(iter(IN_THE_WAY[name])).partition("/mine")[0])[1:-1] in found.why
    assert state(setting.root) == before
    assert setting.tip() == setting.old
    subprocess.run(shlex.split(found.remedy), env=environment(), check=True, capture_output=True)
    assert setting.follow() == Followed(setting.landed)
    stashed = git(setting.root, "ls-tree", "-r", "-z", "--name-only", "stash@{0}").split("\0")
    stashed += (
        git(setting.root, "ls-tree", "-r", "-z", "--name-only", "stash@{0}^3").split("\0") if name != "edited" else []
    )
    assert set(IN_THE_WAY[name]) <= set(stashed)


def test_a_file_where_a_folder_lands_is_in_the_way(setting):
    git(setting.root, "rm", "-rq", "--cached", "d")
    shutil.rmtree(setting.root / "d")
    write(setting.root, {"d": "mine\n"})
    assert isinstance(setting.follow(), Blocked)
    assert (setting.root / "d").read_text() == "mine\n"


def test_a_staged_edit_undone_in_the_file_is_in_the_way(setting):
    write(setting.root, {"f": "mine\n"})
    git(setting.root, "add", "f")
    write(setting.root, {"f": "old\n"})
    assert isinstance(setting.follow(), Blocked)
    assert git(setting.root, "status", "--porcelain") == "MM f"


@pytest.mark.parametrize("operation", ["rebase", "merge", "cherry-pick", "revert", "bisect"])
def test_an_operation_in_progress_is_waited_for(setting, operation):
    root = setting.root
    git(root, "switch", "-q", "-c", "side", "main")
    commit(root, {"keep": "side\n"})
    git(root, "switch", "-q", "main")
    if operation == "bisect":
        git(root, "bisect", "start")
        git(root, "checkout", "-q", "--detach")
    elif operation == "revert":
        write(root, {"keep": "x\n"})
        git(root, "commit", "-qam", "x")
        write(root, {"keep": "y\n"})
        git(root, "commit", "-qam", "y")
        assert attempt_git(root, "revert", "HEAD~1").returncode != 0
    else:
        write(root, {"keep": "main\n"})
        git(root, "commit", "-qam", "main")
        assert attempt_git(root, operation, "side").returncode != 0
    tip = setting.tip()
    git(root, "branch", "-f", "work", git(root, "commit-tree", f"{tip}^{{tree}}", "-p", tip, "-m", "landed"))
    before = state(root)
    found = follow(setting.repository, "main", git(root, "rev-parse", "work"))
    assert isinstance(found, Blocked)
    assert operation in found.why
    assert shlex.split(found.remedy)[:3] == ["git", "-C", str(root)]
    assert operation in found.remedy
    assert (state(root), setting.tip()) == (before, tip)


def test_commits_of_the_users_own_come_first(setting):
    theirs = commit(setting.root, {"mine": "mine\n"})
    assert setting.follow() == Diverged(theirs)
    assert setting.tip() == theirs


def test_a_target_that_is_missing_is_said_with_how_to_make_it(setting):
    found = follow(setting.repository, "none", setting.landed)
    assert isinstance(found, Blocked)
    subprocess.run(shlex.split(found.remedy), env=environment(), check=True)
    assert follow(setting.repository, "none", setting.landed) == Followed(setting.landed)


def test_a_target_checked_out_twice_or_out_of_sight_is_said(setting, tmp_path):
    linked = tmp_path / "linked"
    git(setting.root, "worktree", "add", "-q", "--force", str(linked), "main")
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert "2 places" in found.why
    git(setting.root, "switch", "-q", "-c", "else")
    shutil.rmtree(linked)
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert "not there now" in found.why
    subprocess.run(shlex.split(found.remedy), env=environment(), check=True)
    assert setting.follow() == Followed(setting.landed)


def test_hooks_and_configuration_of_the_user_do_not_take_part(setting):
    hook = setting.root / ".git" / "hooks" / "post-merge"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hooked\n")
    hook.chmod(0o755)
    for key, value in (("merge.autoStash", "true"), ("merge.verifySignatures", "true"), ("merge.ff", "false")):
        git(setting.root, "config", key, value)
    assert setting.follow() == Followed(setting.landed)
    assert not (setting.root / "hooked").exists()


def test_gits_own_refusal_is_passed_on(setting):
    (setting.root / ".git" / "index.lock").touch()
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert "index.lock" in found.why
    assert found.remedy.startswith("rm ")
    subprocess.run(["/bin/sh", "-c", found.remedy], check=True)
    assert setting.follow() == Followed(setting.landed)


def test_what_git_does_not_want_to_do_is_passed_on(setting, monkeypatch):
    monkeypatch.setattr(module, "blocked_by_files", lambda *_: None)
    write(setting.root, {"f": "mine\n"})
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert "would be overwritten" in found.why
    assert (setting.root / "f").read_text() == "mine\n"
    git(setting.root, "checkout", "-q", "f")
    subprocess.run(shlex.split(found.remedy), env=environment(), check=True, capture_output=True)
    assert setting.follow() == Followed(setting.landed)


def test_a_ref_that_cannot_be_moved_is_gits_error(setting):
    git(setting.root, "switch", "-q", "-c", "else")
    (setting.root / ".git" / "refs" / "heads" / "main.lock").touch()
    with pytest.raises(GitError, match=r"main\.lock"):
        setting.follow()
