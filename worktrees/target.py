"""The user's branch follows the landing branch, wherever it is checked out.

Guarantees: the branch only moves forward, and where it is checked out the files move with it; a file that the user has
changed, that git does not track or that it ignores is never touched: then nothing changes and `Blocked` says what is in
the way and the one command that frees it.

Assumes: the user may do anything at any moment; git's own lock decides who is first. `read-tree -n -m -u`, git's dry
run, is not used: it takes a file for changed whose time alone changed, and overwrites ignored files.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from .errors import GitError
from .following import begin, finish_interrupted
from .git import Git
from .landing import LANDING_BRANCH
from .repository import Checkout, Repository, head_branch

_HOW_TO_END = {
    "rebase": "rebase --continue",
    "am": "am --continue",
    "merge": "merge --continue",
    "cherry-pick": "cherry-pick --continue",
    "revert": "revert --continue",
    "bisect": "bisect reset",
}
_SHOWN = 3


@dataclass(frozen=True)
class Followed:
    """The target is at the landed commit."""

    commit: str


@dataclass(frozen=True)
class Blocked:
    """The target cannot follow now; nothing was changed."""

    why: str
    remedy: str  # one command for the user's shell


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
        return _blocked_by(checkouts, target) or _fast_forward(checkouts[0], target, tip, landed)
    try:
        repository.git.run("update-ref", "-m", "parallel-loop: follow", f"refs/heads/{target}", landed, tip)
    except GitError:
        if repository.branch_tip(target) == tip:
            raise
        return follow(repository, target, landed)  # the user was first: look again
    return Followed(landed)


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


def _fast_forward(checkout: Checkout, target: str, tip: str, landed: str) -> Followed | Blocked:
    names = _in_the_way(checkout, tip, landed)
    at = shlex.quote(str(checkout.path))
    if names:
        shown = ", ".join(repr(name) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        why = f"{checkout.path} has {shown} changed or untracked, and what landed changes the same"
        return Blocked(why, f"git -C {at} stash push --all -- {shlex.join(names)}")
    if head_branch(checkout.git()) != target:
        return Blocked(f"{checkout.path} left {target} at the same moment", f"git -C {at} switch {shlex.quote(target)}")
    journal = begin(checkout, target, tip, landed)
    merged = Git(checkout.path, git_dir=checkout.git_dir, lease=journal.lease).run(
        "merge",
        "--ff-only",
        "--no-overwrite-ignore",
        "--no-autostash",  # configuration can ask for each of these; all of them touch more than a fast-forward
        "--no-verify-signatures",
        "--no-stat",
        "--quiet",
        landed,
        ok=(0, 1, 128),
    )
    journal.end()
    if merged.returncode != 0:
        said = " ".join(merged.stderr.split())
        return Blocked(f"git refuses in {checkout.path}: {said}", f"git -C {at} merge --ff-only {LANDING_BRANCH}")
    return Followed(landed)


def _in_the_way(checkout: Checkout, tip: str, landed: str) -> list[str]:
    """The user's changed, untracked and ignored files that the step from `tip` to `landed` would write over."""
    git = checkout.git()
    changed = set(git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", tip, landed).fields)
    folders = {str(parent) for name in changed for parent in PurePosixPath(name).parents}
    status = git.run("status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--no-renames")
    found = []
    for entry in status.fields:
        name = entry[3:]
        parents = {str(parent) for parent in PurePosixPath(name).parents}
        if name.endswith("/"):  # an ignored folder, or another repository: listed as a whole
            below = [one for one in changed if one.startswith(name)]
            found += [one for one in below if os.path.lexists(checkout.path / one)]
            name = name.rstrip("/")
            hit = name in changed or bool(parents & changed)
        else:
            hit = name in changed or name in folders or bool(parents & changed)
        if hit:
            found.append(name)
    return found
