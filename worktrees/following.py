"""The journal of a fast-forward in the user's checkout, and what finishes one that a kill cut short.

git writes the files, then the index, then the branch. A kill in between leaves files of both commits under an index of
the old one: a plain retry then refuses ("local changes would be overwritten"), and the user sees changes that are not
theirs. The journal, written when every path of the step was known to be unchanged, proves which files these are.

Guarantees: afterwards the checkout is wholly at the old commit, or wholly at the new one; what differed from both
(a half-written file, or an edit made since the kill) is in a commit under `refs/parallel-loop/salvage/follow/`.

Assumes: a kill, not a power loss: nothing here is forced to the disk.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .environment import Identity
from .files import remove
from .git import Git
from .index import terminated
from .locks import hold
from .repository import Checkout, Repository, head_branch
from .salvage import commit_tree, keep

_FILE = "parallel-loop.follow"
_IDENTITY = Identity("parallel-loop", "parallel-loop@localhost")


@dataclass(frozen=True)
class Journal:
    """One step of a branch from commit `old` to `new` in the checkout at `path`."""

    file: Path
    path: Path
    git_dir: Path
    branch: str
    old: str
    new: str

    @property
    def lease(self) -> Path:
        """The lock that git holds while it makes the step."""
        return _lease(self.file)

    def end(self) -> None:
        """Forget the step: it was made, or refused."""
        self.file.unlink(missing_ok=True)


def begin(checkout: Checkout, branch: str, old: str, new: str) -> Journal:
    """Write down the step that is about to be made."""
    journal = Journal(_place(checkout.git_dir), checkout.path, checkout.git_dir, branch, old, new)
    draft = _draft(journal.file)
    draft.write_bytes(terminated([str(journal.path), str(journal.git_dir), branch, old, new]))
    draft.rename(journal.file)
    return journal


def is_interrupted(repository: Repository) -> bool:
    """Whether a step was begun that has not ended; while a lander lives, it may be at it."""
    return _place(repository.git_dir).exists()


def discard_draft(repository: Repository) -> None:
    """Remove what somebody was killed while writing; no lander may live."""
    _draft(_place(repository.git_dir)).unlink(missing_ok=True)


def lease_of_steps(repository: Repository) -> Path:
    """The lock that git holds while it makes a step in a checkout of the repository."""
    return _lease(_place(repository.git_dir))


def finish_interrupted(repository: Repository) -> None:
    """Undo or complete the step that a killed process left, if there is one."""
    journal = _read(_place(repository.git_dir))
    if journal is None:
        return
    with hold(journal.lease, timeout_seconds=60):  # git outlives us for a moment
        at_old = repository.branch_tip(journal.branch) == journal.old
        if journal.path.is_dir() and journal.git_dir.is_dir() and at_old:
            git = Git(journal.path, git_dir=journal.git_dir, identity=_IDENTITY)
            if head_branch(git) == journal.branch:  # otherwise the user took it in hand
                _finish(git, journal)
    journal.end()


def _finish(git: Git, journal: Journal) -> None:
    paths = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", journal.old, journal.new).fields
    before = set(git.run("ls-tree", "-r", "-z", "--name-only", journal.old).fields) & set(paths)
    env = {"GIT_INDEX_FILE": str(journal.git_dir / "parallel-loop.index.follow")}
    git.run("read-tree", journal.old, env=env)
    git.run("update-index", "-q", "--refresh", env=env, ok=(0, 1))
    differing = set(git.run("diff-files", "-z", "--name-only", env=env).fields) & set(paths)
    differing |= {name for name in paths if name not in before and os.path.lexists(journal.path / name)}
    lock = journal.git_dir / "index.lock"
    staged = set(git.run("diff-index", "--cached", "-z", "--name-only", journal.old).fields) & set(paths)
    # git writes files under its lock of the index. Without the lock and with the old index, it never got that far, and
    # what differs is an edit of the user; with the lease free, a lock beside half of a step is a dead one.
    if differing and (lock.exists() or staged):
        lock.unlink(missing_ok=True)
        _save(git, journal, sorted(differing), env)
        _back_to_old(git, journal, before, paths)
    remove(journal.git_dir / "parallel-loop.index.follow")


def _save(git: Git, journal: Journal, names: list[str], env: dict[str, str]) -> None:
    """Commit the files as they are now, unless they are just what the new commit has."""
    git.run("update-index", "--add", "--remove", "--replace", "-z", "--stdin", stdin=terminated(names), env=env)
    tree = git.run("write-tree", env=env).text
    theirs = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", tree, journal.new).fields
    if set(theirs) & set(names):
        commit = commit_tree(git, tree, [journal.old], "What a fast-forward that was killed left in the checkout")
        keep(git, f"refs/parallel-loop/salvage/follow/{journal.new}", commit, "a fast-forward was killed")


def _back_to_old(git: Git, journal: Journal, before: set[str], paths: list[str]) -> None:
    for name in paths:
        if name not in before and os.path.lexists(journal.path / name) and not (journal.path / name).is_dir():
            (journal.path / name).unlink()
    added = [name for name in paths if name not in before]
    if added:  # the index may be the new one already
        git.run("update-index", "--force-remove", "-z", "--stdin", stdin=terminated(added))
    if before:
        pathspecs = [f":(top,literal){name}" for name in sorted(before)]
        argv = ("checkout", "--force", "--quiet", "--pathspec-from-file=-", "--pathspec-file-nul", journal.old)
        git.run(*argv, stdin=terminated(pathspecs))


def _place(git_dir: Path) -> Path:
    """The journal's file, in the git directory that all worktrees share."""
    shared = git_dir.parent.parent if git_dir.parent.name == "worktrees" else git_dir
    return shared / _FILE


def _draft(file: Path) -> Path:
    return file.with_name(f"{_FILE}.draft")


def _lease(file: Path) -> Path:
    return file.with_name(f"{_FILE}.lease")


def _read(file: Path) -> Journal | None:
    try:
        path, git_dir, branch, old, new, rest = file.read_bytes().split(b"\0")
    except (FileNotFoundError, ValueError):
        return None
    assert rest == b""
    return Journal(
        file, Path(os.fsdecode(path)), Path(os.fsdecode(git_dir)), os.fsdecode(branch), old.decode(), new.decode()
    )
