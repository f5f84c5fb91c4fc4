"""A fast-forward of the user's checkout that git cannot make to its end, or is kept from: undone, with every edit."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.worktrees import following, preview
from parallel_loop.worktrees import git as git_module
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.following import begin
from parallel_loop.worktrees.locks import LockTimeout, hold
from parallel_loop.worktrees.preview import lease_of_repairs
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Diverged, Followed, follow
from support.repository import attempt_git, commit, git, make_repository, write

OLD: dict[str, str | bytes] = {"f": "one\n", "gone": "old\n", "keep": "old\n", "d/x": "old\n"}
NEW: dict[str, str | bytes] = {"f": "one\ntwo\n", "added/deep/y": "new\n", "d/x": "new\n"}


class Step:
    """A repository with `old` on main, checked out, and a commit that has `new` beside it and lacks `gone`."""

    def __init__(
        self, root: Path, old: dict[str, str | bytes] | None = None, new: dict[str, str | bytes] | None = None
    ) -> None:
        self.root = make_repository(root, OLD | (old or {}))
        git(root, "switch", "-q", "-c", "work")
        git(root, "rm", "-q", "gone")
        self.landed = commit(root, NEW | (new or {}))
        git(root, "switch", "-q", "main")
        self.old = git(root, "rev-parse", "main")
        self.lock = root / ".git" / "index.lock"

    def begin(self) -> None:
        """As it is when git has just been started."""
        repository = Repository.open(self.root)
        begin(repository.checkouts_of("main")[0], "main", self.old, self.landed)

    def follow(self) -> Followed | Blocked | Diverged:
        return follow(Repository.open(self.root), "main", self.landed)

    def status(self) -> list[str]:
        return git(self.root, "status", "--porcelain", "--untracked-files=all").split("\n")

    def is_undone(self) -> bool:
        assert not self.lock.exists()
        assert not list((self.root / ".git").glob("parallel-loop.follow*[!e]"))
        return git(self.root, "rev-parse", "main") == self.old


@pytest.fixture
def step(tmp_path: Path) -> Step:
    return Step(tmp_path / "repo")


@pytest.mark.parametrize(("how", "number"), [("ended", 2), ("fails", 1), ("fails", 2)])
def test_a_git_that_stops_in_the_middle_leaves_nothing_half_done(tmp_path: Path, how: str, number: int) -> None:
    """A filter ends git with SIGTERM, at which it removes its lock, or fails after it has written some files."""
    step = Step(tmp_path / "repo", new={".gitattributes": "d/* filter=odd\nf filter=odd\n"})
    count = tmp_path / "count"
    act = "kill -15 $PPID; sleep 0.2" if how == "ended" else "exit 1"
    # The dry run writes both files first.
    script = f'echo >>"{count}"; if [ $(wc -l <"{count}") -eq {2 + number} ]; then {act}; fi; cat'
    git(step.root, "config", "filter.odd.smudge", script)
    git(step.root, "config", "filter.odd.required", "true")
    git(step.root, "config", "filter.odd.clean", "cat")
    write(step.root, {"keep": "edited\n", "added/mine": "mine\n"})
    if how == "ended":
        with pytest.raises(GitError):
            step.follow()
    else:
        found = step.follow()
        assert isinstance(found, Blocked)
        assert "filter" in found.why
    assert step.is_undone()
    assert step.status() == ["M keep", "?? added/mine"]
    assert not (step.root / "added" / "deep").exists()
    assert step.follow() == Followed(step.landed)
    assert step.status() == ["M keep", "?? added/mine"]


def test_a_lock_of_a_git_that_was_killed_before_it_wrote_anything_goes(step: Step) -> None:
    step.begin()
    step.lock.touch()
    assert step.follow() == Followed(step.landed)
    assert step.status() == [""]


def test_the_lock_of_a_git_that_lives_is_waited_for(step: Step) -> None:
    step.begin()
    with step.lock.open("w"), pytest.raises(GitError, match=r"index\.lock"):
        step.follow()
    assert step.lock.exists()
    step.lock.write_text("a commit with an editor open has the lock written and closed")
    with pytest.raises(GitError, match=r"index\.lock"):
        step.follow()
    step.lock.unlink()
    assert step.follow() == Followed(step.landed)


@pytest.mark.parametrize("left", ["index.lock", "refs/heads/main.lock", "HEAD.lock", "ORIG_HEAD.lock"])
def test_a_step_of_which_only_the_branch_is_missing_is_finished(
    step: Step, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_LOCKED_SECONDS", 0.01)
    step.begin()
    before = (step.root / ".git" / "index").read_bytes()
    git(step.root, "read-tree", "-m", "-u", step.old, step.landed)
    lock = step.root / ".git" / left
    if left == "index.lock":  # written, and not yet renamed
        (step.root / ".git" / "index").rename(lock)
        (step.root / ".git" / "index").write_bytes(before)
    else:
        lock.touch()
    write(step.root, {"d/x": "edited since\n"} if left != "index.lock" else {})
    found = step.follow()
    assert found == Followed(step.landed)
    assert not lock.exists()
    assert step.status() == (["M d/x"] if left != "index.lock" else [""])


def half_done(step: Step) -> None:
    """git was killed after it had removed `gone` and the old `d/x`, and written `f`."""
    step.begin()
    step.lock.touch()
    (step.root / "gone").unlink()
    (step.root / "d" / "x").unlink()
    write(step.root, {"f": "one\ntwo\n"})


def test_what_the_user_committed_since_is_kept_and_the_rest_undone(step: Step) -> None:
    half_done(step)
    step.lock.unlink()  # as git advises
    write(step.root, {"keep": "theirs\n"})
    git(step.root, "commit", "--quiet", "-m", "theirs", "keep")
    theirs = git(step.root, "rev-parse", "main")
    assert step.follow() == Diverged(theirs)
    assert step.status() == [""]
    assert (step.root / "keep").read_text() == "theirs\n"


def test_what_the_user_made_since_where_git_had_removed_a_file_stays(step: Step) -> None:
    half_done(step)
    write(step.root, {"gone/mine": "mine\n", "added": "mine\n"})
    assert isinstance(step.follow(), Blocked)
    assert step.is_undone()
    assert (step.root / "gone" / "mine").read_text() == (step.root / "added").read_text() == "mine\n"
    assert (step.root / "f").read_text() == "one\n"


def test_what_the_user_staged_since_is_brought_back_only_as_far_as_it_is_gits(step: Step) -> None:
    half_done(step)
    step.lock.unlink()
    write(step.root, {"keep": "mine\n"})
    git(step.root, "add", "--all")
    found = step.follow()
    assert found == Followed(step.landed)
    assert step.status() == ["M  keep"] or step.status() == ["M keep"]
    assert git(step.root, "show", ":keep") == "mine"


def test_a_file_that_the_user_removed_before_git_began_stays_removed(step: Step) -> None:
    step.begin()
    (step.root / "d" / "x").unlink()
    assert isinstance(step.follow(), Blocked)
    assert step.status() == ["D d/x"]


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_behind_a_link_that_becomes_a_folder_is_never_touched(tmp_path: Path, inside: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_text("precious\n")
    root = make_repository(tmp_path / "repo", OLD | ({"real/a": "precious\n"} if inside else {}))
    (root / "link").symlink_to("real" if inside else outside)
    commit(root, {})
    git(root, "switch", "-q", "-c", "work")
    (root / "link").unlink()
    step = object.__new__(Step)
    step.root, step.landed = root, commit(root, {"link/a": "new\n", "f": "new\n"})
    git(root, "switch", "-q", "main")
    step.old, step.lock = git(root, "rev-parse", "main"), root / ".git" / "index.lock"
    step.begin()
    step.lock.touch()
    write(root, {"f": "new\n"})
    assert step.follow() == Followed(step.landed)
    assert ((root / "real" if inside else outside) / "a").read_text() == "precious\n"
    assert step.status() == [""]


@pytest.mark.parametrize("name", ["link to folder", "folder to link", "file to folder", "folder to file"])
@pytest.mark.parametrize("written", [False, True])
def test_a_step_between_kinds_of_files_is_undone_from_both_sides(tmp_path: Path, name: str, written: bool) -> None:
    kinds: dict[str, dict[str, str]] = {
        "link": {"p": "-> d"},
        "folder": {"p/x": "1\n", "p/y": "2\n"},
        "file": {"p": "f\n"},
    }
    before, after = name.split(" to ")

    def make(root: Path, kind: str) -> None:
        attempt_git(root, "rm", "-rqf", "p")
        for path, content in kinds[kind].items():
            if content.startswith("-> "):
                (root / path).symlink_to(content[3:])
            else:
                write(root, {path: content})

    root = make_repository(tmp_path / "repo", OLD)
    make(root, before)
    commit(root, {})
    git(root, "switch", "-q", "-c", "work")
    make(root, after)
    step = object.__new__(Step)
    step.root, step.landed = root, commit(root, {"f": "new\n"})
    git(root, "switch", "-q", "main")
    step.old, step.lock = git(root, "rev-parse", "main"), root / ".git" / "index.lock"
    step.begin()
    index = (root / ".git" / "index").read_bytes()
    if written:
        make(root, after)
    else:
        attempt_git(root, "rm", "-rqf", "p")
    (root / ".git" / "index").write_bytes(index)
    step.lock.touch()
    write(root, {"keep": "mine\n"})
    following.finish_interrupted(Repository.open(root))
    assert step.is_undone()
    assert step.status() == ["M keep"]
    assert step.follow() == Followed(step.landed)
    assert step.status() == ["M keep"]
    assert (root / "d" / "x").read_text() == "old\n"


def test_attributes_that_land_in_the_same_step_make_no_file_the_users(tmp_path: Path) -> None:
    """By the new attributes every old file looks changed; by the old ones, so does every new one."""
    step = Step(
        tmp_path / "repo",
        new={".gitattributes": "* filter=rot\n.gitattributes -filter\n*.md eol=crlf\n", "z.md": "a\nb\n"},
    )
    root = step.root
    for way in ("smudge", "clean"):
        git(root, "config", f"filter.rot.{way}", "tr a-z n-za-m")
    git(root, "switch", "-q", "work")
    git(root, "rm", "-rq", "--cached", ".")
    step.landed = commit(root, {})
    git(root, "switch", "-q", "--force", "main")
    step.begin()
    step.lock.touch()
    write(root, {"keep": "mine\n"})
    preview = tmp_path / "preview"
    git(root, "worktree", "add", "--quiet", "--detach", str(preview), step.landed)
    for name in (".gitattributes", "f", "z.md"):
        (root / name).write_bytes((preview / name).read_bytes())
    (root / "gone").unlink()
    following.finish_interrupted(Repository.open(root))
    assert step.is_undone()
    assert step.status() == ["M keep"]
    found = step.follow()
    assert isinstance(found, Blocked), "it lands with the filter applied, to keep as well"
    git(root, "checkout", "--quiet", "keep")
    assert step.follow() == Followed(step.landed)
    assert step.status() == [""]
    assert (root / "z.md").read_bytes() == (preview / "z.md").read_bytes()


def test_the_git_of_a_repair_that_was_killed_is_waited_for(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    half_done(step)
    lease = lease_of_repairs(step.root / ".git")
    monkeypatch.setattr(preview, "_PATIENCE_SECONDS", 0.1)
    with hold(lease, shared=True), pytest.raises(LockTimeout):
        step.follow()
    assert step.lock.exists()
    assert step.follow() == Followed(step.landed)


def test_every_git_of_a_repair_can_be_waited_for(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    half_done(step)
    real, unleased = git_module._execute, list[str]()

    def execute(argv, env, stdin, watchdog, inherit):
        if not inherit and {"checkout", "checkout-index", "read-tree", "update-index", "reset"}.intersection(argv):
            unleased.append(" ".join(argv))
        return real(argv, env, stdin, watchdog, inherit)

    monkeypatch.setattr(git_module, "_execute", execute)
    following.finish_interrupted(Repository.open(step.root))
    assert step.is_undone()
    assert unleased == []
