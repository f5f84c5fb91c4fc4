"""The user's checkout in each state that git knows: it is fast-forwarded as git would, or waited for with a reason."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from parallel_loop.worktrees import obstacles
from parallel_loop.worktrees.following import begin, finish_interrupted
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Diverged, Followed, follow
from support.repository import attempt_git, commit, configure, environment, git, make_repository, write

Files = dict[str, str | bytes]


def land(root: Path, files: Files, *gone: str) -> str:
    """A commit with `files` and without `gone` on top of main, made in a worktree of its own."""
    place = root.parent / "elsewhere"
    if not place.exists():
        git(root, "worktree", "add", "--quiet", "--detach", str(place), "main")
    git(place, "-c", "submodule.recurse=false", "checkout", "--quiet", "--force", "--detach", "main")
    for name in gone:
        git(place, "rm", "-rqf", name)
    made = commit(place, files)
    git(root, "branch", "--force", "parallel-loop/landed", made)
    return made


def follows(root: Path, landed: str) -> Followed | Blocked | Diverged:
    return follow(Repository.open(root), "main", landed)


def status(root: Path) -> list[str]:
    return [line for line in git(root, "status", "--porcelain").split("\n") if line]


def why(found: object) -> str:
    assert isinstance(found, Blocked), found
    return found.why


def do(remedy: str) -> None:
    subprocess.run(["/bin/sh", "-c", remedy], env=environment(), check=True, capture_output=True)


def cut_short(root: Path, landed: str, files: Files) -> None:
    """A step of which git had written `files` when it was killed, is undone."""
    repository = Repository.open(root)
    begin(repository.checkouts_of("main")[0], "main", git(root, "rev-parse", "main"), landed)
    (root / ".git" / "index.lock").touch()
    write(root, files)
    finish_interrupted(repository)
    assert not (root / ".git" / "index.lock").exists()


# --- sparse checkouts -------------------------------------------------------------------------------------

SPARSE: Files = {"in/a": "old\n", "in/b": "old\n", "out/a": "old\n", "out/b": "old\n", "top": "old\n"}


@pytest.mark.parametrize("mode", ["cone", "cone, sparse index", "patterns"])
def test_a_sparse_checkout_stays_as_sparse_as_it_is(tmp_path: Path, mode: str) -> None:
    root = make_repository(tmp_path / "repo", SPARSE)
    landed = land(root, {"in/a": "new\n", "in/new": "new\n", "out/a": "new\n", "out/new": "new\n"}, "out/b")
    if mode == "patterns":
        git(root, "sparse-checkout", "set", "--no-cone", "/*", "!/out/")
    else:
        git(root, "sparse-checkout", "set", "--cone", *(["--sparse-index"] if "index" in mode else []), "in")
    write(root, {"in/b": "mine\n"})
    cut_short(root, landed, {"in/a": "ne", "in/new": "new\n"})
    assert (root / "in" / "a").read_text() == "old\n"
    assert status(root) == ["M in/b"]
    assert not (root / "out").exists()
    assert follows(root, landed) == Followed(landed)
    assert status(root) == ["M in/b"]
    assert (root / "in" / "new").exists()
    assert not (root / "out").exists()
    git(root, "sparse-checkout", "disable")
    assert (root / "out" / "a").read_text() == "new\n"
    assert status(root) == ["M in/b"]


def test_a_file_of_the_users_where_a_sparse_checkout_leaves_one_out_is_kept(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", SPARSE)
    landed = land(root, {"in/a": "new\n", "out/a": "new\n", "out/new": "new\n"})
    git(root, "sparse-checkout", "set", "--cone", "in")
    for name in ("out/a", "out/new"):
        write(root, {name: "mine\n"})
        found = follows(root, landed)
        assert name in why(found)
        assert (root / name).read_text() == "mine\n"
        assert git(root, "rev-parse", "main") != landed
        (root / name).unlink()
    assert follows(root, landed) == Followed(landed)


# --- filters ----------------------------------------------------------------------------------------------

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 12\n"
LFS: Files = {".gitattributes": "*.bin filter=lfs -text\n", "a.bin": POINTER.format("a" * 64), "f": "old\n"}


def test_pointer_files_without_git_lfs_are_files_like_others(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", LFS)
    landed = land(root, {"a.bin": POINTER.format("b" * 64), "b.bin": POINTER.format("c" * 64)})
    assert follows(root, landed) == Followed(landed)
    assert status(root) == []
    landed = land(root, {"a.bin": POINTER.format("d" * 64)})
    write(root, {"a.bin": "replaced by the user"})
    assert "a.bin" in why(follows(root, landed))


def lfs(root: Path, store: Path) -> None:
    """What git-lfs does: the content is in a store, the repository has its name."""
    store.mkdir(exist_ok=True)
    clean = f'f=$(mktemp {store}/tmp.XXXXXX); cat >$f; id=$(sha256sum <$f | cut -d" " -f1); mv $f {store}/$id; echo $id'
    for key, value in (("clean", clean), ("smudge", f"read id; cat {store}/$id"), ("required", "true")):
        git(root, "config", f"filter.lfs.{key}", value)


def test_large_files_are_fetched_and_an_edit_of_one_is_kept(tmp_path: Path) -> None:
    root = make_repository(tmp_path / "repo", {".gitattributes": LFS[".gitattributes"], "f": "old\n"})
    lfs(root, tmp_path / "store")
    commit(root, {"a.bin": "content", "b.bin": "content"})
    landed = land(root, {"a.bin": "new content", "c.bin": "more"})
    write(root, {"b.bin": "mine"})
    cut_short(root, landed, {"a.bin": "new co"})
    assert (root / "a.bin").read_text() == "content"
    assert follows(root, landed) == Followed(landed)
    assert [(root / name).read_text() for name in ("a.bin", "b.bin", "c.bin")] == ["new content", "mine", "more"]
    assert status(root) == ["M b.bin"]


@pytest.mark.parametrize("how", ["missing", "fails for one"])
def test_a_filter_that_must_work_and_does_not_is_noticed_before_anything_is_done(tmp_path: Path, how: str) -> None:
    root = make_repository(tmp_path / "repo", {".gitattributes": LFS[".gitattributes"], "f": "old\n", "z": "old\n"})
    store = tmp_path / "store"
    lfs(root, store)
    commit(root, {"m.bin": "content"})
    landed = land(root, {"f": "new\n", "m.bin": "new content", "z": "new\n"})
    works = git(root, "config", "filter.lfs.smudge")
    if how == "missing":
        git(root, "config", "filter.lfs.smudge", "git-lfs-that-is-missing smudge -- %f")
    else:
        id_ = git(root, "show", f"{landed}:m.bin")
        (store / id_).rename(store / "away")
    index = (root / ".git" / "index").read_bytes()
    found = follows(root, landed)
    assert "a filter" in why(found)
    assert "m.bin" in why(found)
    do(found.remedy)  # type: ignore[union-attr]
    assert [(root / name).read_text() for name in ("f", "m.bin", "z")] == ["old\n", "content", "old\n"]
    assert (root / ".git" / "index").read_bytes() == index
    left = sorted(path.name for path in (root / ".git").glob("parallel-loop.*"))
    assert left == ["parallel-loop.repair.lease"]
    git(root, "config", "filter.lfs.smudge", works)
    if how != "missing":
        (store / "away").rename(store / id_)
    assert follows(root, landed) == Followed(landed)
    assert status(root) == []


# --- submodules -------------------------------------------------------------------------------------------


@pytest.fixture
def with_submodule(tmp_path: Path) -> Path:
    library = make_repository(tmp_path / "library", {"lib": "1\n"})
    root = make_repository(tmp_path / "repo", {"f": "old\n"})
    git(root, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library), "sub")
    commit(root, {})
    configure(root / ".git" / "modules" / "sub")
    commit(library, {"lib": "2\n"})
    git(root / "sub", "fetch", "--quiet")
    return root


def moved(root: Path, to: str = "origin/main") -> str:
    """A commit that moves the submodule to another commit of its own."""
    landed = land(root, {"f": "new\n"})
    place = root.parent / "elsewhere"
    git(place, "update-index", "--cacheinfo", f"160000,{git(root / 'sub', 'rev-parse', to)},sub")
    git(place, "commit", "--quiet", "--amend", "-m", "moved")
    landed = git(place, "rev-parse", "HEAD")
    git(root, "branch", "--force", "parallel-loop/landed", landed)
    return landed


@pytest.mark.parametrize(
    ("state", "recurse"),
    [("clean", "false"), ("changed", "true"), ("untracked", "false"), ("commit of the user's own", "true")],
)
def test_a_submodule_is_the_users_whatever_commit_lands_for_it(with_submodule: Path, state: str, recurse: str) -> None:
    root, sub = with_submodule, with_submodule / "sub"
    git(root, "config", "submodule.recurse", recurse)
    landed = moved(root)
    if state == "changed":
        write(sub, {"lib": "mine\n"})
    elif state == "untracked":
        write(sub, {"mine": "mine\n"})
    elif state != "clean":
        commit(sub, {"lib": "mine\n"})
    before = git(sub, "rev-parse", "HEAD"), git(sub, "status", "--porcelain"), (sub / "lib").read_text()
    cut_short(root, landed, {"f": "new\n"})
    assert (root / "f").read_text() == "old\n"
    assert follows(root, landed) == Followed(landed)
    assert (git(sub, "rev-parse", "HEAD"), git(sub, "status", "--porcelain"), (sub / "lib").read_text()) == before
    assert status(root) == ["M sub"], "as after a `git pull`"
    commit(root.parent / "library", {"lib": "3\n"})
    git(sub, "fetch", "--quiet")
    landed = moved(root)
    assert follows(root, landed) == Followed(landed), "and again, with the submodule where it was"
    assert git(sub, "rev-parse", "HEAD") == before[0]


def test_a_submodule_that_the_user_has_staged_is_in_the_way(with_submodule: Path) -> None:
    root = with_submodule
    landed = moved(root)
    mine = commit(root / "sub", {"lib": "mine\n"})
    git(root, "add", "sub")
    assert "'sub'" in why(follows(root, landed))
    assert git(root, "ls-files", "-s", "sub").split()[1] == mine


@pytest.mark.parametrize(
    ("becomes", "changed"), [("gone", False), ("gone", True), ("a file", False), ("a file", True), ("files", False)]
)
def test_a_submodule_that_goes_keeps_its_files(with_submodule: Path, becomes: str, changed: bool) -> None:
    root = with_submodule
    files: dict[str, Files] = {"gone": {"f": "new\n"}, "a file": {"sub": "file\n"}, "files": {"sub/new": "new\n"}}
    landed = land(root, files[becomes], "sub", ".gitmodules")
    if changed:
        write(root / "sub", {"lib": "mine\n"})
    found = follows(root, landed)
    assert (root / "sub" / "lib").read_text() == ("mine\n" if changed else "1\n")
    if becomes == "gone" and not changed:
        assert found == Followed(landed)
        assert status(root) == ["?? sub/"]
        return
    assert "'sub'" in why(found)
    assert git(root, "rev-parse", "main") != landed
    assert status(root) == (["M sub"] if changed else [])
    if becomes != "gone":
        git(root / "sub", "checkout", "--quiet", "--force", "HEAD")
        do(found.remedy)  # type: ignore[union-attr]
        assert follows(root, landed) == Followed(landed)
        assert (root / "sub").is_dir() == (becomes == "files")


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


@pytest.mark.parametrize("setting", ["core.autocrlf", ".gitattributes"])
def test_ends_of_lines_are_the_users_and_no_change(tmp_path: Path, setting: str) -> None:
    attributes: Files = {".gitattributes": "*.txt text eol=crlf\n"} if setting == ".gitattributes" else {}
    root = make_repository(tmp_path / "repo", {"keep.txt": "1\n2\n", "a.txt": "1\n2\n", "b.txt": "1\n2\n"})
    commit(root, attributes)
    if setting == "core.autocrlf":
        git(root, "config", "core.autocrlf", "true")
    landed = land(root, {"a.txt": "1\n3\n", "b.txt": "1\n3\n"})
    for name in ("a.txt", "b.txt", "keep.txt"):
        (root / name).unlink()
    git(root, "checkout", "--quiet", ".")
    write(root, {"keep.txt": "1\r\nmine\r\n"})
    cut_short(root, landed, {"b.txt": "1\r\n3"})
    assert status(root) == ["M keep.txt"]
    assert follows(root, landed) == Followed(landed)
    assert status(root) == ["M keep.txt"]
    assert (root / "a.txt").read_bytes() == b"1\r\n3\r\n"
    assert (root / "keep.txt").read_bytes() == b"1\r\nmine\r\n"


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
