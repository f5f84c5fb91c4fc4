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
from pathlib import PurePosixPath

from .errors import GitError
from .following import begin, finish_interrupted
from .git import Git
from .index import unusual_entries
from .landing import LANDING_BRANCH
from .preview import Change, Preview, changes, uses_filters
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
_OVERWRITTEN = "would be overwritten by merge"
# What git says when it has not touched anything; an edit that is made at the same moment leads to it.
_REFUSED = re.compile(
    rf"{_OVERWRITTEN}|would lose untracked files|Unable to create '.*index\.lock'|[Nn]ot possible to fast-forward"
)


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
        return _blocked_by(checkouts, target) or _fast_forward(repository, checkouts[0], target, tip, landed)
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


def _fast_forward(
    repository: Repository, checkout: Checkout, target: str, tip: str, landed: str
) -> Followed | Blocked | Diverged:
    step = changes(checkout.git(), tip, landed)
    names = _in_the_way(checkout, step)
    at = shlex.quote(str(checkout.path))
    if names:
        shown = ", ".join(repr(name) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
        why = f"{checkout.path} has {shown} changed or untracked, and what landed changes the same"
        return Blocked(why, f"git -C {at} stash push --all -- {shlex.join(names)}")
    blocked = _blocked_by_filters(checkout, step, landed)
    if blocked is not None:
        return blocked
    if head_branch(checkout.git()) != target:
        return Blocked(f"{checkout.path} left {target} at the same moment", f"git -C {at} switch {shlex.quote(target)}")
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
            "--quiet",
            landed,
            ok=(0, 1, 128),
        )
    except GitError:  # it was ended, by a time-out or by a signal, and may have done anything
        finish_interrupted(repository, begun=True)
        raise
    if merged.returncode == 0:
        journal.end()
        return Followed(landed)
    if _REFUSED.search(merged.stderr) is not None:
        journal.end()
    else:  # in the middle perhaps: the disk is full, a folder cannot be written to
        finish_interrupted(repository, begun=True)
    return _refused(checkout, step, merged.stderr)


def _refused(checkout: Checkout, step: Mapping[str, Change], stderr: str) -> Blocked:
    """What git said, and what can be done about it: `status` does not show what it was told not to look at."""
    at, said = shlex.quote(str(checkout.path)), " ".join(stderr.split())
    unusual = unusual_entries(checkout.git())
    hidden = sorted(
        {*unusual.unchecked, *unusual.skipped} & {name for name in step if os.path.lexists(checkout.path / name)}
    )
    if hidden and _OVERWRITTEN in stderr:
        flags = f"git -C {at} update-index --no-assume-unchanged --no-skip-worktree -- {shlex.join(hidden)}"
        return Blocked(
            f"git refuses in {checkout.path}: {said}", f"{flags} && git -C {at} stash push -- {shlex.join(hidden)}"
        )
    return Blocked(f"git refuses in {checkout.path}: {said}", f"git -C {at} merge --ff-only {LANDING_BRANCH}")


def _blocked_by_filters(checkout: Checkout, step: Mapping[str, Change], landed: str) -> Blocked | None:
    """Blocked when a filter (of git-lfs, say) cannot write what landed: git would notice in the middle of the step."""
    if not uses_filters(checkout.git()):
        return None
    try:
        with Preview(checkout.git_dir).of(landed, {name: change.new for name, change in step.items()}) as preview:
            preview.write(preview.filtered(name for name, change in step.items() if change.will_be))
    except GitError as error:
        said = " ".join(error.stderr.split())
        why = f"a filter that {checkout.path} needs for what landed fails, see its .gitattributes: {said}"
        return Blocked(why, f"git -C {shlex.quote(str(checkout.path))} config --get-regexp '^filter'")
    return None


def _in_the_way(checkout: Checkout, step: Mapping[str, Change]) -> list[str]:
    """The user's changed, untracked and ignored files that `step` would write over."""
    git = checkout.git()
    changed = set(step)
    folders = {str(parent) for name in changed for parent in PurePosixPath(name).parents}
    status = git.run("status", "--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--no-renames")
    found = []
    for entry in status.fields:
        name = entry[3:]
        if entry.startswith(" M") and name in step and step[name].moves_submodule:
            continue  # git moves the entry alone; what the submodule has checked out, and changed, stays
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
