"""A used worktree made as good as new, for an eighth of the cost of a new one.

Guarantees: afterwards HEAD is the wanted commit, on the wanted branch, and `git status` is empty, ignored files
included; whatever a program can leave behind in its own worktree is gone: unfinished operations, index flags, sparse
checkouts, its own configuration, nested repositories, read-only directories, symbolic links in place of directories.
A checkout that `reset --hard` and `clean` cannot repair is emptied and filled again. Nothing outside is touched.

Assumes: what was worth keeping has been salvaged. What all worktrees share (configuration, hooks, stash, tags,
replace refs) is not looked at here.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from .branches import move_branch
from .errors import GitError
from .files import make_accessible, nested_git_entries, remove
from .index import clear_flags, is_sound, unusual_entries
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
    _prepare_index(worktree)
    try:
        _reset(worktree, commit, keep)
        if not _leftovers(worktree, commit, keep):
            return
    except GitError:
        make_accessible(worktree.path)
    _empty(worktree, keep)
    _reset(worktree, commit, keep)
    leftovers = _leftovers(worktree, commit, keep)
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


def _prepare_index(worktree: Worktree) -> None:
    index = worktree.git_dir / "index"
    if not is_sound(index):
        remove(index)  # git fills it again from the commit
        return
    git = worktree.git()
    unusual = unusual_entries(git)
    if unusual.unchecked or unusual.skipped:
        clear_flags(git, unusual, absent=True)


def _reset(worktree: Worktree, commit: str, keep: Sequence[str]) -> None:
    git = worktree.git()
    clean = ("clean", "-ffdxq", *(f"--exclude={pattern}" for pattern in keep))
    git.run("checkout", "--quiet", "--force", "--detach", commit)
    git.run(*clean)
    if keep:
        _drop_links(worktree, keep)
    nested = list(nested_git_entries(worktree.path, [pattern.rstrip("/") for pattern in keep]))
    if nested:  # in a folder with tracked files: git does not list it, clean does not see it
        submodules = {worktree.path / name / ".git" for name in unusual_entries(git).links}
        for entry in set(nested) - submodules:
            remove(entry)
        git.run(*clean)


def _drop_links(worktree: Worktree, keep: Sequence[str]) -> None:
    """Remove what would be kept but is a symbolic link, not tracked: it leads the next program to another place."""
    others = worktree.git().run(
        "ls-files", "--others", "--directory", "-z", *(f":(glob)**/{one.rstrip('/')}" for one in keep)
    )
    for name in others.fields:
        if (worktree.path / name.rstrip("/")).is_symlink():
            remove(worktree.path / name.rstrip("/"))


def _leftovers(worktree: Worktree, commit: str, keep: Sequence[str]) -> list[str]:
    """What `git status` has to say about a worktree that should be clean at `commit`."""
    status = worktree.git().run(
        "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--ignored", "--ignore-submodules=none"
    )
    head = f"# branch.oid {commit}"
    if head not in status.fields:
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
