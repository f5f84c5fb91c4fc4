"""A step of the target that was killed in the middle: the next one finishes it, and no edit is lost."""

from __future__ import annotations

import pytest

from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.following import begin
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Followed, follow
from support.repository import commit, git, make_repository, write
from support.targets import Setting, state


@pytest.fixture
def setting(tmp_path) -> Setting:
    return Setting(tmp_path / "my repo")


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
