"""A used worktree made as good as new, for an eighth of the cost of a new one.

Guarantees: afterwards HEAD is the wanted commit, on the wanted branch, and `git status` is empty, ignored files
included; whatever a program can leave behind in its own worktree is gone: unfinished operations, index flags, sparse
checkouts, its own configuration, nested repositories, read-only directories, symbolic links in place of directories.
A checkout that `reset --hard` and `clean` cannot repair is emptied and filled again. Nothing outside is touched.

Assumes: what was worth keeping has been salvaged. What all worktrees share (configuration, hooks, stash, tags,
replace refs) is not looked at here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from .branches import move_branch
from .errors import GitError
from .files import make_accessible, nested_git_entries, remove
from .index import Contents, clear_flags, contents, is_sound
from .operations import STATE_FILES
from .repository import resolve
from .worktree import Worktree

_MOST_LOG_BYTES = 100_000  # some hundred items; git trims logs in a `gc`, which nobody may ever run here
_OWN_FILES = ("config.worktree", "info/sparse-checkout", "logs/ORIG_HEAD")  # the last grows with each reset


class BranchExists(Exception):
    """The name for an attempt's branch is taken by other work."""

    def __init__(self, branch: str, commit: str) -> None:
        super().__init__(f"branch {branch} already exists at {commit[:12]}; it was left as it is, so take another name")
        self.branch = branch
        self.commit = commit


class RecycleFailed(Exception):
    """A worktree could not be made clean."""

    def __init__(self, path: Path, leftovers: Sequence[str]) -> None:
        shown = "".join(f"\n    {entry}" for entry in leftovers[:5])
        super().__init__(f"the worktree {path} cannot be made clean; git still reports:{shown}")
        self.path = path
        self.leftovers = tuple(leftovers)


def recycle(worktree: Worktree, start: str, branch: str, *, heir: str | None = None, keep: Sequence[str] = ()) -> None:
    """Make the worktree clean at commit `start`, on the new branch `branch`, unless branch `heir` exists already.

    `keep` are patterns for names of files and folders that survive (build caches). Raises BranchExists (the worktree is
    then clean and detached at `start`), RecycleFailed, WorktreeGone, GitError.
    """
    reset_to(worktree, start, keep=keep)
    # Nobody else makes this branch. A late worker can hold the lock while it looks for its heir: it looked before us.
    (worktree.common_dir / "refs" / "heads" / f"{branch}.lock").unlink(missing_ok=True)
    git = worktree.git()
    try:
        move_branch(git, branch, start, None, heir=heir, message="begin")
    except GitError:
        tip = resolve(git, f"refs/heads/{branch}")
        if tip is None:
            raise
        if tip != start:
            raise BranchExists(branch, tip) from None
    # Made now, or by us before a kill. `switch` would look at all files, which are those of its commit already.
    git.run("symbolic-ref", "-m", "parallel-loop: begin", "HEAD", f"refs/heads/{branch}")


def reset_to(worktree: Worktree, commit: str, *, keep: Sequence[str] = ()) -> None:
    """Make the worktree clean at `commit`, on no branch; see `recycle`."""
    worktree.make_usable()
    forget_operations(worktree)
    for name in _OWN_FILES:
        remove(worktree.git_dir / name)
    _trim_log(worktree.git_dir / "logs" / "HEAD")
    if not is_sound(worktree.git_dir / "index"):
        remove(worktree.git_dir / "index")  # git fills it again from the commit
    try:
        if not _leftovers(worktree, commit, keep, _reset(worktree, commit, keep)):
            return
    except GitError:
        make_accessible(worktree.path)
    _empty(worktree, keep)
    leftovers = _leftovers(worktree, commit, keep, _reset(worktree, commit, keep))
    # Files that git calls modified right after it wrote them (line endings, a missing filter) are the repository's way.
    if any(not entry.startswith("1 .M") for entry in leftovers):
        raise RecycleFailed(worktree.path, leftovers)


def detach(worktree: Worktree) -> None:
    """Take the worktree off its branch, which is then free for others; files, index and commit stay as they are."""
    head = worktree.head()
    if head is not None:
        worktree.git().run("update-ref", "--no-deref", "-m", "parallel-loop: detach", "HEAD", head)


def forget_operations(worktree: Worktree) -> None:
    """Remove all traces of a merge, rebase, cherry-pick, revert, am or bisect that was begun and not ended.

    Not by `--abort`: that moves branches, and fails on half of what a kill leaves.
    """
    for name in STATE_FILES:
        remove(worktree.git_dir / name)


def _trim_log(log: Path) -> None:
    """Halve the log of where HEAD was when it has grown long, by its older lines."""
    try:
        if log.stat().st_size <= _MOST_LOG_BYTES:
            return
        kept = log.read_bytes()[-_MOST_LOG_BYTES // 2 :]
    except OSError:
        return
    draft = log.with_name("parallel-loop.HEAD")
    draft.write_bytes(kept.partition(b"\n")[2])
    draft.rename(log)


def _reset(worktree: Worktree, commit: str, keep: Sequence[str]) -> Contents:
    """Have git make the worktree clean, and return what is in it then."""
    git = worktree.git()
    checkout = ("checkout", "--quiet", "--force", "--detach", commit)
    clean = ("clean", "-ffdxq", *(f"--exclude={pattern}" for pattern in keep))
    git.run(*checkout)
    git.run(*clean)
    if keep:
        _drop_links(worktree, keep)
    found = contents(git, keep)
    flagged = bool(found.unusual.unchecked or found.unusual.skipped)
    nested = _nested(worktree, found, keep)
    if not flagged and not nested:
        return found
    if flagged:  # git did not look at those files
        clear_flags(git, found.unusual, absent=True)
        git.run(*checkout)
    for entry in nested:
        remove(entry)
    git.run(*clean)
    return contents(git, keep)


def _nested(worktree: Worktree, found: Contents, keep: Sequence[str]) -> list[Path]:
    """The `.git` of repositories in folders with tracked files: git does not list them, and clean does not see them."""
    folders = [worktree.path / name for name in found.folders if not _is_kept(name, keep)]
    nested = [folder / ".git" for folder in folders if os.path.lexists(folder / ".git")]
    for name in found.unusual.links:  # the own `.git` of a submodule belongs there
        nested += nested_git_entries(worktree.path / name, [pattern.rstrip("/") for pattern in keep])
    return nested


def _drop_links(worktree: Worktree, keep: Sequence[str]) -> None:
    """Remove what would be kept but is a symbolic link, not tracked: it leads the next program to another place."""
    others = worktree.git().run(
        "ls-files", "--others", "--directory", "-z", *(f":(glob)**/{one.rstrip('/')}" for one in keep)
    )
    for name in others.fields:
        if (worktree.path / name.rstrip("/")).is_symlink():
            remove(worktree.path / name.rstrip("/"))


def _leftovers(worktree: Worktree, commit: str, keep: Sequence[str], found: Contents) -> list[str]:
    """What is not as it should be in a worktree that was reset to `commit` and has `found` in it, as `status` says it.

    At each tracked file checkout itself has looked, as `status` would, but not into submodules.
    """
    if not found.unusual.links:
        return [f"? {name}" for name in found.untracked]
    status = worktree.git().run(
        "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignored", "--ignore-submodules=none"
    )
    if f"# branch.oid {commit}" not in status.fields:
        return [f"HEAD is not {commit}"]
    entries = [field for field in status.fields if not field.startswith("# ")]
    return [entry for entry in entries if not (entry[0] in "?!" and _is_kept(entry[2:], keep))]


def _is_kept(name: str, keep: Sequence[str]) -> bool:
    return any(fnmatch(part, pattern.strip("/")) for part in name.split("/") for pattern in keep)


def _empty(worktree: Worktree, keep: Sequence[str]) -> None:
    for child in worktree.path.iterdir():
        if child.name != ".git" and not _is_kept(child.name, keep):
            remove(child)
    remove(worktree.git_dir / "index")
