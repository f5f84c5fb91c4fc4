"""The user's branch follows what landed; what the user has in the checkout is never touched."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from parallel_loop.worktrees import target as module
from parallel_loop.worktrees import unseen
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.following import begin
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Diverged, Followed, follow
from support.repository import attempt_git, commit, environment, git, make_repository, write

AWKWARD = "sp ace 'q\" new\nline ü"
OLD: dict[str, str | bytes] = {
    "f": "old\n",
    "gone": "old\n",
    "keep": "old\n",
    "d/x": "old\n",
    ".gitignore": ".env\nignored/\n",
}


class Setting:
    """A repository whose main is checked out, and a commit `landed` ahead of it."""

    def __init__(self, root: Path) -> None:
        self.root = make_repository(root, OLD)
        git(self.root, "switch", "-q", "-c", "work")
        git(self.root, "rm", "-q", "gone")
        files = {
            "f": "new\n",
            "added": "new\n",
            "d/y": "new\n",
            AWKWARD: "new\n",
            ".env": "new\n",
            "ignored/z": "new\n",
        }
        write(self.root, files)
        git(self.root, "add", "-A", "--force")
        self.landed = commit(self.root, {})
        git(self.root, "branch", "parallel-loop/landed")
        git(self.root, "switch", "-q", "main")
        self.repository = Repository.open(self.root)
        self.old = self.tip()

    def tip(self) -> str:
        return git(self.root, "rev-parse", "main")

    def follow(self) -> Followed | Blocked | Diverged:
        return follow(self.repository, "main", self.landed)


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path / "my repo")


def state(root: Path) -> dict[str, object]:
    """All files of a checkout, and what git makes of them."""
    files = {str(f): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file() and ".git" not in f.parts}
    return {"files": files, "status": git(root, "status", "--porcelain"), "stash": git(root, "stash", "list")}


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


def test_a_branch_that_moves_at_the_same_moment_is_looked_at_again(setting, monkeypatch):
    git(setting.root, "switch", "-q", "-c", "else")
    real = Repository.checkouts_of
    theirs = git(setting.root, "commit-tree", "main^{tree}", "-p", "main", "-m", "theirs")

    def moved_meanwhile(self, branch):
        found = real(self, branch)
        git(setting.root, "update-ref", "refs/heads/main", theirs)
        return found

    monkeypatch.setattr(Repository, "checkouts_of", moved_meanwhile)
    assert setting.follow() == Diverged(theirs)


@pytest.mark.parametrize("when", ["before the branch moves", "after it", "while it does"])
def test_a_user_who_switches_to_the_target_at_the_same_moment_sees_nothing_undone(setting, monkeypatch, when):
    git(setting.root, "switch", "-q", "-c", "else")
    write(setting.root, {"keep": "edited\n"})
    real, lock = unseen._move, setting.root / ".git" / "index.lock"

    def move(*arguments):
        if unseen._move is not real and when == "before the branch moves":
            monkeypatch.setattr(unseen, "_move", real)
            git(setting.root, "switch", "-q", "main")
        elif unseen._move is not real and when == "while it does":  # it has read where main is, and writes files
            monkeypatch.setattr(unseen, "_move", real)
            monkeypatch.setattr(unseen.time, "sleep", end_of_switch)
            lock.touch()
        real(*arguments)
        if when == "after it":
            git(setting.root, "switch", "-q", "main")

    def end_of_switch(_seconds):
        lock.unlink()
        git(setting.root, "symbolic-ref", "HEAD", "refs/heads/main")

    monkeypatch.setattr(unseen, "_move", move)
    assert setting.follow() == Followed(setting.landed)
    assert setting.tip() == setting.landed
    assert git(setting.root, "status", "--porcelain") == "M keep"
    assert (setting.root / "f").read_text() == "new\n"


def test_a_ref_that_cannot_be_moved_is_gits_error(setting):
    git(setting.root, "switch", "-q", "-c", "else")
    (setting.root / ".git" / "refs" / "heads" / "main.lock").touch()
    with pytest.raises(GitError, match=r"main\.lock"):
        setting.follow()


def test_a_user_who_switches_away_at_the_same_moment_is_left_alone(setting, monkeypatch):
    real = module.blocked_by_files

    def switched_meanwhile(*arguments):
        git(setting.root, "switch", "-q", "-c", "else")
        return real(*arguments)

    monkeypatch.setattr(module, "blocked_by_files", switched_meanwhile)
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert git(setting.root, "rev-parse", "else") == setting.old == setting.tip()


@pytest.mark.parametrize("to", ["-c else", "--detach", "parallel-loop/landed"])
def test_what_a_user_switches_to_as_git_starts_is_not_moved_in_place_of_the_target(setting, monkeypatch, to):
    real = module.begin
    write(setting.root, {"keep": "mine\n"})

    def switched_meanwhile(*arguments):
        git(setting.root, "switch", "-q", *to.split())
        return real(*arguments)

    monkeypatch.setattr(module, "begin", switched_meanwhile)
    assert isinstance(setting.follow(), Blocked)
    expected = setting.landed if to == "parallel-loop/landed" else setting.old
    assert git(setting.root, "rev-parse", "HEAD") == expected
    assert git(setting.root, "rev-parse", "parallel-loop/landed") == setting.landed
    assert git(setting.root, "status", "--porcelain") == "M keep"
    assert setting.tip() == setting.old
    assert setting.follow() == Followed(setting.landed)
    assert git(setting.root, "rev-parse", "HEAD") == expected


def begun(setting: Setting) -> None:
    """The journal as it is when git has just been started."""
    begin(setting.repository.checkouts_of("main")[0], "main", setting.old, setting.landed)


def half_done(setting: Setting) -> None:
    """Some files are new, one is half written, the index is old and locked: git was killed in the middle."""
    begun(setting)
    write(setting.root, {"f": "new\n", "added": "ne", "d/y": "new\n"})
    (setting.root / "gone").unlink()
    (setting.root / ".git" / "index.lock").touch()


def test_a_step_that_was_killed_in_the_middle_is_finished_and_edits_are_kept(setting):
    write(setting.root, {"keep": "edited\n", "mine": "mine\n"})
    half_done(setting)
    assert setting.follow() == Followed(setting.landed)
    assert git(setting.root, "status", "--porcelain").split("\n") == ["M keep", "?? mine"]
    assert (setting.root / "added").read_text() == "new\n"
    assert not list((setting.root / ".git").glob("parallel-loop.follow"))
    saved = f"refs/parallel-loop/salvage/follow/{setting.landed}"
    assert git(setting.root, "show", f"{saved}:added") == "ne"


def test_an_edit_made_after_the_kill_stays_where_it_is(setting):
    half_done(setting)
    write(setting.root, {"f": "edited in the morning\n"})
    found = setting.follow()
    assert isinstance(found, Blocked)
    assert "has 'f' changed" in found.why
    assert git(setting.root, "status", "--porcelain") == "M f"
    assert (setting.root / "f").read_text() == "edited in the morning\n"


def test_a_step_killed_before_the_branch_moved_is_finished(setting):
    begun(setting)
    git(setting.root, "read-tree", "-m", "-u", setting.old, setting.landed)
    assert setting.follow() == Followed(setting.landed)
    assert git(setting.root, "status", "--porcelain") == ""
    assert git(setting.root, "for-each-ref", "refs/parallel-loop") == "", (
        "all was as in the new commit: nothing to save"
    )


@pytest.mark.parametrize(
    "when", ["before it began", "after it ended", "half written", "user elsewhere", "edit instead"]
)
def test_a_journal_that_no_longer_matters_changes_nothing(setting, when):
    begun(setting)
    if when == "after it ended":
        git(setting.root, "merge", "-q", "--ff-only", setting.landed)
    elif when == "half written":
        journal = setting.root / ".git" / "parallel-loop.follow"
        journal.write_bytes(journal.read_bytes()[:-30])
    elif when == "user elsewhere":
        git(setting.root, "switch", "-q", "-c", "else")
        write(setting.root, {"f": "mine\n"})
    elif when == "edit instead":
        write(setting.root, {"f": "mine\n"})
    before = state(setting.root)
    found = setting.follow()
    assert isinstance(found, Blocked) if when == "edit instead" else found == Followed(setting.landed)
    if when in {"after it ended", "user elsewhere", "edit instead"}:
        assert state(setting.root) == before


@pytest.mark.parametrize("attempt", range(4))
def test_a_real_kill_in_the_middle_loses_nothing(tmp_path, attempt):
    """git is killed at the moment a smudge filter runs, after some files have been written."""
    root = make_repository(tmp_path / "repo", {"mine": "old\n", **{f"file{n}": "old\n" for n in range(4)}})
    git(root, "switch", "-q", "-c", "work")
    landed = commit(root, {".gitattributes": "file* filter=kill\n", **{f"file{n}": "new\n" for n in range(4)}})
    git(root, "switch", "-q", "main")
    write(root, {"mine": "edited\n"})
    count = tmp_path / "count"
    script = f'echo >>"{count}"; if [ $(wc -l <"{count}") -eq {attempt + 1} ]; then kill -9 $PPID; fi; cat'
    git(root, "config", "filter.kill.smudge", script)
    repository = Repository.open(root)
    begin(repository.checkouts_of("main")[0], "main", git(root, "rev-parse", "main"), landed)
    with pytest.raises(GitError):
        Git(root, git_dir=root / ".git").run("merge", "--ff-only", landed)
    assert (root / ".git" / "index.lock").exists()
    git(root, "config", "filter.kill.smudge", "cat")
    assert follow(repository, "main", landed) == Followed(landed)
    assert git(root, "status", "--porcelain") == "M mine"
    assert (root / "mine").read_text() == "edited\n"
