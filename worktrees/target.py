"""The user's branch follows the landing branch, wherever it is checked out.

Guarantees: the branch only moves forward, and where it is checked out the files move with it; a file that the user has
changed, that git does not track or that it ignores is never touched: then nothing changes and `Blocked` says what is in
the way and the one command that frees it. A step that git cannot make to its end is undone.

Assumes: the user may do anything at any moment; git's own lock decides who is first. `read-tree -n -m -u`, git's dry
run, is not used: it takes a file for changed whose time alone changed, overwrites ignored files, and runs no filter.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import GitError
from .following import begin, finish_interrupted
from .git import Git
from .index import unusual_entries
from .landing import LANDING_BRANCH
from .obstacles import Blocked, blocked_by_files, blocked_by_filters, blocked_by_room
from .preview import Change, changes
from .repository import Checkout, Repository, head_branch, resolve
from .unseen import move_unseen

__all__ = ["Blocked", "Diverged", "Followed", "follow"]

_HOW_TO_END = {
    "rebase": "rebase --continue",
    "am": "am --continue",
    "merge": "merge --continue",
    "cherry-pick": "cherry-pick --continue",
    "revert": "revert --continue",
    "bisect": "bisect reset",
}
_OVERWRITTEN = "would be overwritten by merge"
_LOCKED = re.compile(r"Unable to create '(.*index\.lock)'")
# What git says when it has not touched anything; an edit that is made at the same moment leads to it.
_REFUSED = re.compile(rf"{_OVERWRITTEN}|would lose untracked files|{_LOCKED.pattern}|[Nn]ot possible to fast-forward")


@dataclass(frozen=True)
class Followed:
    """The target is at the landed commit."""

    commit: str


@dataclass(frozen=True)
class Diverged:
    """The target has commits of its own, which must be merged into the landing branch first."""

    target_tip: str


def follow(repository: Repository, target: str, landed: str) -> Followed | Blocked | Diverged:
    """Move branch `target` forward to commit `landed`, with the checkout that shows it.

    Finishes a step that a kill interrupted first. Raises GitError when git fails for a reason not foreseen here.
    """
    finish_interrupted(repository)
    tip = repository.branch_tip(target)
    if tip is None:
        again = f"git -C {shlex.quote(str(repository.root))} branch {shlex.quote(target)} {LANDING_BRANCH}"
        return Blocked(f"there is no branch {target}", again)
    if tip == landed:
        return Followed(landed)
    if repository.git.run("merge-base", "--is-ancestor", tip, landed, ok=(0, 1)).returncode != 0:
        return Diverged(tip)
    checkouts = repository.checkouts_of(target)
    if checkouts:
        return _blocked_by(checkouts, target) or _fast_forward(repository, checkouts[0], target, tip, landed)
    # The user may be first, with a commit or by checking it out: then it is looked at again.
    return Followed(landed) if move_unseen(repository, target, tip, landed) else follow(repository, target, landed)


def _blocked_by(checkouts: list[Checkout], target: str) -> Blocked | None:
    """Why the place where `target` is checked out does not allow it to move, whatever is to be landed."""
    checkout = checkouts[0]
    at = shlex.quote(str(checkouts[-1].path))
    if len(checkouts) > 1:
        why = f"{target} is checked out in {len(checkouts)} places, {checkout.path} and {checkouts[-1].path} among them"
        return Blocked(why, f"git -C {at} switch --detach")
    if not checkout.path.is_dir():
        why = f"{target} is checked out in {checkout.path}, which is not there now"
        return Blocked(why, f"git -C {shlex.quote(str(checkout.git_dir))} worktree remove --force --force {at}")
    if checkout.operation is not None:
        why = f"a {checkout.operation} is in progress in {checkout.path}, where {target} is checked out"
        return Blocked(why, f"git -C {at} {_HOW_TO_END[checkout.operation]}")
    return None


def _fast_forward(
    repository: Repository, checkout: Checkout, target: str, tip: str, landed: str
) -> Followed | Blocked | Diverged:
    step = changes(checkout.git(), tip, landed)
    blocked = (
        blocked_by_files(checkout, step)
        or blocked_by_room(checkout, step)
        or blocked_by_filters(checkout, step, landed)
    )
    if blocked is not None:
        return blocked
    if head_branch(checkout.git()) != target:
        return _left(checkout, target)
    journal = begin(checkout, target, tip, landed)
    try:
        merged = Git(checkout.path, git_dir=checkout.git_dir, lease=journal.lease).run(
            "merge",
            "--ff-only",
            "--no-overwrite-ignore",
            "--no-autostash",  # configuration can ask for each of these; none of them is just a fast-forward
            "--no-squash",
            "--no-verify-signatures",
            "--no-stat",
            landed,
            ok=(0, 1, 128),
        )
    except GitError:  # it was ended, by a time-out or by a signal, and may have done anything
        finish_interrupted(repository, begun=True)
        raise
    if merged.returncode == 0:
        journal.end()
        if repository.branch_tip(target) == tip:  # what was checked out when git looked was something else
            _give_back(checkout, landed, moved="Fast-forward" in merged.text)
            return _left(checkout, target)
        return Followed(landed)
    if _REFUSED.search(merged.stderr) is not None:
        journal.end()
    else:  # in the middle perhaps: the disk is full, a folder cannot be written to
        finish_interrupted(repository, begun=True)
    return _refused(checkout, step, merged.stderr)


def _left(checkout: Checkout, target: str) -> Blocked:
    command = f"git -C {shlex.quote(str(checkout.path))} switch {shlex.quote(target)}"
    return Blocked(f"{checkout.path} left {target} at the same moment", command)


def _give_back(checkout: Checkout, landed: str, *, moved: bool) -> None:
    """Undo a fast-forward of another branch, or of a HEAD on none, to which the user had switched meanwhile."""
    git = checkout.git()
    if moved and resolve(git, "HEAD") == landed:
        git.run("reset", "--keep", "--quiet", "ORIG_HEAD", ok=(0, 1, 128))  # edits stay, or nothing is done


def _refused(checkout: Checkout, step: Mapping[str, Change], stderr: str) -> Blocked:
    """What git said, and what can be done about it: `status` does not show what it was told not to look at."""
    at, said = shlex.quote(str(checkout.path)), " ".join(stderr.split())
    if _OVERWRITTEN in stderr:
        unusual = unusual_entries(checkout.git())
        here = {name for name in step if os.path.lexists(checkout.path / name)}
        commands, hidden = [], set()
        for option, flagged in (("assume-unchanged", unusual.unchecked), ("skip-worktree", unusual.skipped)):
            found = sorted(here.intersection(flagged))
            hidden.update(found)
            commands += [f"git -C {at} update-index --no-{option} -- {shlex.join(found)}"] if found else []
        if hidden:
            commands.append(f"git -C {at} stash push -- {shlex.join(sorted(hidden))}")
            return Blocked(f"git refuses in {checkout.path}: {said}", " && ".join(commands))
    lock = _LOCKED.search(stderr)
    if lock is not None:
        return Blocked(f"git refuses in {checkout.path}: {said}", f"rm {shlex.quote(lock[1])}  # if no git runs there")
    return Blocked(f"git refuses in {checkout.path}: {said}", f"git -C {at} merge --ff-only {LANDING_BRANCH}")
