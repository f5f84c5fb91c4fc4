"""Committing what would otherwise be thrown away.

Guarantees: after `salvage` returned, everything in the worktree that no commit held, what was only staged, and commits
that no branch holds, are reachable from a ref of ours. The worktree is not changed; nothing is saved twice when a
salvage that was killed is run again; a ref that exists is never moved.

Assumes: see `snapshot`. Ignored files are taken only when asked for: they are build products far more often than work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .environment import Identity
from .git import Git, GitError
from .operations import commits_in_progress, read_line
from .repository import resolve
from .snapshot import Snapshot, look, take
from .worktree import Worktree

SALVAGE = "refs/parallel-loop/salvage"
_ATTEMPTS = "parallel-loop/item/"
_MOST_LOCKED = 10
KEEPERS = ("refs/heads", "refs/tags", "refs/remotes", "refs/parallel-loop")


@dataclass(frozen=True)
class Kept:
    """What holds saved work: a ref, its commit, and whether the ref was made just now."""

    ref: str
    commit: str
    is_new: bool


def salvage_ref(branch: str) -> str | None:
    """The ref under which work of the attempt that has `branch` is saved; None when that is no attempt's branch."""
    owner = branch.removeprefix(_ATTEMPTS)
    return f"{SALVAGE}/{owner}" if owner != branch else None


def has_work(worktree: Worktree, *, keep_branches: Sequence[str] = KEEPERS, only_look: bool = False) -> bool:
    """Whether a salvage would save anything. With `only_look`, nothing is changed, not even a lock of a dead git."""
    if not only_look:
        worktree.make_usable()
    return look(worktree).changed or bool(loose_commits(worktree, keep_branches))


def salvage(
    worktree: Worktree,
    ref: str,
    message: str,
    identity: Identity,
    *,
    keep_branches: Sequence[str] = KEEPERS,
    ignored: bool = False,
) -> Kept | None:
    """Save the worktree's uncommitted work and loose commits under `ref`; None when there is nothing to save.

    If `ref` is taken by something else, `<ref>-2`, `<ref>-3` and so on are tried. `keep_branches` are the refs whose
    commits count as safe. Files that could not be read are named in the commit's message. Raises GitError.
    """
    worktree.make_usable()
    loose = loose_commits(worktree, keep_branches)
    state = look(worktree, ignored=ignored)
    if not state.changed and not loose:
        return None
    git = worktree.git(identity)
    asked = git.run("rev-parse", "HEAD^{commit}", "HEAD^{tree}", ok=(0, 128))
    head, tree = asked.text.split() if asked.returncode == 0 else (None, None)  # an orphan branch
    if head and not state.changed and loose == [head]:
        return keep(git, ref, head)
    snapshot = take(worktree, state, ignored=ignored)
    commit = _commit(worktree, git, (head, tree), snapshot, message, required=bool(loose))
    snapshot.index.unlink()
    return keep(git, ref, commit) if commit else None


def keep(git: Git, ref: str, commit: str, why: str = "an attempt left it in its worktree") -> Kept:
    """Make `ref`, or the first free of `<ref>-2`, `<ref>-3`, … hold `commit`, or one of the same content and parents.

    A name that a killed git left locked is not free. The ref's log says when this was, as the commit may be old, and
    `why`.
    """
    number = 1
    while True:
        name = ref if number == 1 else f"{ref}-{number}"
        logged = ("--create-reflog", "-m", f"parallel-loop: {why}")
        try:
            git.run("update-ref", *logged, name, commit, "0" * len(commit))
        except GitError as error:
            taken = resolve(git, name)
            if taken is not None and content(git, taken) == content(git, commit):
                return Kept(name, taken, is_new=False)
            if taken is None and (number >= _MOST_LOCKED or f"{name}.lock': File exists" not in error.stderr):
                raise
        else:
            return Kept(name, commit, is_new=True)
        number += 1


def commit_tree(
    git: Git,
    tree: str,
    parents: Sequence[str],
    message: str,
    *,
    at_seconds: int | None = None,
    author: Mapping[str, str] | None = None,
) -> str:
    """A commit of `tree`, dated now or `at_seconds` since 1970; the message may have any length.

    `author`: variables that name another author than git's identity.
    """
    named = [argument for parent in dict.fromkeys(parents) for argument in ("-p", parent)]
    text = message.replace("\0", "").encode("utf-8", "surrogateescape")
    date = f"@{at_seconds} +0000"
    dated = {} if at_seconds is None else {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
    return git.run("commit-tree", tree, *named, stdin=text, env=dated | dict(author or {})).text


def _commit(
    worktree: Worktree,
    git: Git,
    base: tuple[str | None, str | None],
    snapshot: Snapshot,
    message: str,
    *,
    required: bool,
) -> str | None:
    head, committed = base
    parents = [head] if head else []
    if snapshot.staged not in {None, committed, snapshot.tree}:
        assert snapshot.staged is not None
        # Dated by the index, so that a salvage that is run again makes the same commit.
        at = int((worktree.git_dir / "index").stat().st_mtime)
        note = f"{message}\n\nWhat was staged."
        parents.append(commit_tree(git, snapshot.staged, parents, note, at_seconds=at))
    elif snapshot.tree == committed and not required:
        return None  # a broken index, or a file that was only touched
    if snapshot.skipped:
        message += "\n\nNot saved, because unreadable:\n" + "\n".join(f"  {name}" for name in snapshot.skipped)
    parents += [commit for commit in commits_in_progress(worktree.git_dir) if resolve(git, commit)]
    return commit_tree(git, snapshot.tree, parents, message)


def content(git: Git, commit: str) -> str:
    """A commit's tree and parents, one a line: what is the same when the same work is committed twice."""
    return git.text("rev-parse", f"{commit}^{{tree}}", f"{commit}^@")


def loose_commits(worktree: Worktree, keepers: Sequence[str] = KEEPERS) -> list[str]:
    """HEAD and the commits of an unfinished operation, as far as no ref of `keepers` holds them."""
    git = worktree.git()
    candidates = commits_in_progress(worktree.git_dir)
    if not read_line(worktree.git_dir / "HEAD").startswith("ref: refs/heads/"):
        candidates = [worktree.head() or "", *candidates]
    return [commit for commit in dict.fromkeys(candidates) if commit and not _is_kept(git, commit, keepers)]


def _is_kept(git: Git, commit: str, keepers: Sequence[str]) -> bool:
    # Exit code 129: there is no such commit, so there is nothing to keep.
    holders = git.run("for-each-ref", "--count=1", f"--contains={commit}", *keepers, ok=(0, 129))
    return holders.returncode != 0 or bool(holders.text)
