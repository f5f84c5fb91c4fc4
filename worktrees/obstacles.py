"""What in the user's checkout does not allow a step of its branch, found before anything is done.

Guarantees: nothing is changed. A file that the user changed, that git does not track or that it ignores, and whatever
is in a submodule, is in the way of what would write over it; a filter that cannot write what landed is noticed here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from .files import free_bytes
from .git import GitError
from .preview import LINK, Change, Preview, uses_filters
from .repository import Checkout

_SHOWN = 3
_MARGIN = 1_000_000
_UNMERGED = {"DD", "AU", "UD", "UA", "DU", "AA", "UU"}


@dataclass(frozen=True)
class Blocked:
    """The target cannot follow now; nothing was changed."""

    why: str
    remedy: str  # one command for the user's shell


def blocked_by_files(checkout: Checkout, step: Mapping[str, Change]) -> Blocked | None:
    """Blocked when the user has something where the step would write."""
    at = shlex.quote(str(checkout.path))
    replaced = _replaced_submodule(checkout, step)
    if replaced is not None:
        why = f"{checkout.path} has the submodule {replaced!r} where what landed has files: git would delete all in it"
        return Blocked(why, f"git -C {at} submodule deinit -- {shlex.quote(replaced)}")
    listed = _status(checkout)
    unmerged = sorted(entry[3:] for entry in listed if entry[:2] in _UNMERGED)
    if unmerged:  # of a `stash pop`, say, which is no operation that could be ended
        why = f"{checkout.path} has conflicts that are not resolved, in {_shown(unmerged)}; when they are, this says so"
        return Blocked(why, f"git -C {at} add -- {shlex.join(unmerged)}")
    names = _in_the_way(checkout, step, listed)
    if names:
        why = f"{checkout.path} has {_shown(names)} changed or untracked, and what landed changes the same"
        return Blocked(why, f"git -C {at} stash push --all -- {shlex.join(names)}")
    return None


def blocked_by_room(checkout: Checkout, step: Mapping[str, Change]) -> Blocked | None:
    """Blocked when the disk would be full in the middle of the step: then there is no room to undo it, either."""
    wanted = [change.new[1] for change in step.values() if change.will_be and not change.is_submodule]
    asked = ("cat-file", "--batch-check=%(objectsize)")
    sizes = checkout.git().run(*asked, stdin="".join(f"{one}\n" for one in wanted).encode()).text.split("\n")
    needed = sum(int(size) for size in sizes if size.isdigit()) + 2 * _index_size(checkout) + _MARGIN
    if free_bytes(checkout.path) >= needed:
        return None
    at, megabytes = shlex.quote(str(checkout.path)), -(-needed // 1_000_000)
    return Blocked(f"what landed needs {megabytes} MB of room in {checkout.path}, which has less", f"df -h {at}")


def _index_size(checkout: Checkout) -> int:
    try:
        return (checkout.git_dir / "index").stat().st_size
    except OSError:
        return 0


def blocked_by_filters(checkout: Checkout, step: Mapping[str, Change], landed: str) -> Blocked | None:
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


def _shown(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def _status(checkout: Checkout) -> list[str]:
    options = ("--porcelain", "-z", "--untracked-files=all", "--ignored=matching", "--no-renames")
    return checkout.git().run("status", *options).fields


def _in_the_way(checkout: Checkout, step: Mapping[str, Change], listed: Sequence[str]) -> list[str]:
    """The user's changed, untracked and ignored files that `step` would write over."""
    changed = set(step)
    folders = {str(parent) for name in changed for parent in PurePosixPath(name).parents}
    found = []
    for entry in listed:
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


def _replaced_submodule(checkout: Checkout, step: Mapping[str, Change]) -> str | None:
    """A submodule with files in the place of which something else lands: git looks at nothing ignored in it."""
    for name, change in step.items():
        goes = change.old[0] == LINK and change.new[0] != LINK
        if goes and (change.will_be or any(one.startswith(f"{name}/") for one in step)):
            folder = checkout.path / name
            if folder.is_dir() and not folder.is_symlink() and any(folder.iterdir()):
                return name
    return None
