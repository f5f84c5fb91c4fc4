"""What a program did becomes the commit of its attempt's own branch, whatever state the program left behind.

Guarantees: everything that is not ignored is in a commit afterwards; only the attempt's branch is moved, by
compare-and-swap, never a branch of the user that the program happened to check out; commits that the result does not
contain are kept as salvage of that attempt.

Assumes: the program and all its children are dead.
"""

from __future__ import annotations

from dataclasses import dataclass

from .branches import move_branch
from .environment import Identity
from .files import remove
from .git import Git
from .operations import operation_in_progress, read_line
from .recycle import forget_operations
from .repository import resolve
from .salvage import Kept, commit_tree, content, keep, loose_commits, salvage_ref
from .snapshot import Snapshot, State, look, take
from .worktree import Worktree

# An operation that replays commits one by one: HEAD has some of them, the branch still has all.
_REPLAYS = {"rebase", "am"}


@dataclass(frozen=True)
class Rest:
    """What an attempt came to in git."""

    commit: str  # the attempt's branch points here
    commits: int  # how many commits that is since the start
    added: bool  # whether something was left uncommitted, and was committed for the program
    unfinished: str | None  # the operation the program began and did not end ("merge", "rebase", …)
    left_behind: str | None  # work of the program that is not in `commit`: the two had nothing to do with each other
    unreadable: tuple[str, ...] = ()  # files that could not be committed
    kept: tuple[Kept, ...] = ()  # what was saved because `commit` has not got it: `left_behind`, a side of a merge, …


def commit_rest(
    worktree: Worktree, branch: str, message: str, identity: Identity, *, start: str, heir: str | None = None
) -> Rest:
    """Commit what is uncommitted and bring the result onto `branch`, which began at commit `start`.

    The program may have changed branch, detached HEAD, deleted or renamed `branch`, or stopped in the middle of a
    merge. Raises WorktreeGone, GitError; with the latter, also when branch `heir` exists, nothing has changed.
    """
    worktree.make_usable()
    git = worktree.git(identity)
    unfinished = operation_in_progress(worktree.git_dir)
    known = resolve(git, f"refs/heads/{branch}")
    mine = known or start
    head = worktree.head()
    state = look(worktree, flags=False)
    snapshot = take(worktree, state, flags=False) if state.changed else None
    here = _commit(worktree, git, snapshot, state, mine, message)
    commit, left_behind = _choose(git, mine, here, start, unfinished)
    ref = salvage_ref(branch) or f"refs/parallel-loop/left-behind/{left_behind}"
    kept = [keep(git, ref, left_behind, "the program left it behind")] if left_behind is not None else []
    if commit != known:
        move_branch(git, branch, commit, known, heir=heir, message="work of the attempt")
    if unfinished is not None:  # the side that was merged in, or what a rebase stashed, may be nowhere else
        why = f"of a {unfinished} that was not ended"
        kept += [keep(git, ref, loose, why) for loose in loose_commits(worktree)]
    if snapshot is not None and _has_staged_alone(git, snapshot, head or mine):
        assert snapshot.staged is not None
        staged = commit_tree(git, snapshot.staged, [start], f"{message}\n\nWhat was staged.")
        kept.append(keep(git, ref, staged, "staged, and something else in the files"))
    _settle(worktree, git, snapshot, f"refs/heads/{branch}" if commit == here else here)
    count = int(git.text("rev-list", "--count", f"{start}..{commit}")) if commit != start else 0
    skipped = snapshot.skipped if snapshot else ()
    return Rest(commit, count, here != (head or mine), unfinished, left_behind, skipped, tuple(kept))


def _commit(worktree: Worktree, git: Git, snapshot: Snapshot | None, state: State, mine: str, message: str) -> str:
    """The uncommitted work as a commit on top of HEAD (or of the branch, `mine`); that commit when there is none."""
    parent = worktree.head() or mine
    merged = read_line(worktree.git_dir / "MERGE_HEAD", lines=None).split()
    if state.unusual.unmerged:
        merged = []  # with conflicts left it is no merge, and must not look like one
    changed = snapshot is not None and snapshot.tree != git.text("rev-parse", f"{parent}^{{tree}}")
    if not changed and not merged:
        return parent
    tree = snapshot.tree if snapshot else git.text("rev-parse", f"{parent}^{{tree}}")
    if mine != parent and content(git, mine) == "\n".join((tree, parent, *merged)):
        return mine  # a commit_rest that was killed made it already
    return commit_tree(git, tree, [parent, *merged], message)


def _has_staged_alone(git: Git, snapshot: Snapshot, parent: str) -> bool:
    """Whether the index has a version of a file that is neither in the parent nor in the work tree."""
    if snapshot.staged in {None, snapshot.tree, git.text("rev-parse", f"{parent}^{{tree}}")}:
        return False
    argv = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", "--diff-filter=d", parent, snapshot.staged or "")
    other = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", snapshot.tree, snapshot.staged or "")
    return not set(git.run(*argv).fields).isdisjoint(git.run(*other).fields)


def _choose(git: Git, mine: str, here: str, start: str, unfinished: str | None) -> tuple[str, str | None]:
    """Which is the attempt's result, the branch `mine` or what is checked out `here`, and which is left behind."""
    if _contains(git, here, mine):
        return here, None
    if _contains(git, mine, here):
        return mine, None
    if mine == start:  # `here` is all there is, though it does not build on the start
        return here, None
    if unfinished not in _REPLAYS and _contains(git, here, start):
        return here, mine  # the program's last word: it amended, or began again
    return mine, here


def _contains(git: Git, commit: str, ancestor: str) -> bool:
    if commit == ancestor:
        return True
    return git.run("merge-base", "--is-ancestor", ancestor, commit, ok=(0, 1)).returncode == 0


def _settle(worktree: Worktree, git: Git, snapshot: Snapshot | None, head: str) -> None:
    """Leave a worktree in which nothing is uncommitted: HEAD is `head` (a branch or a commit), the index fits it."""
    if snapshot is not None:
        snapshot.index.rename(worktree.git_dir / "index")
    forget_operations(worktree)
    remove(worktree.git_dir / "parallel-loop.index")
    if head.startswith("refs/"):
        git.run("symbolic-ref", "-m", "parallel-loop: work of the attempt", "HEAD", head)
    else:
        git.run("update-ref", "--no-deref", "-m", "parallel-loop: set aside", "HEAD", head)
