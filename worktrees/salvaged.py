"""What has been saved: listed, looked at, made a branch again, and let go of by age.

Guarantees: looking changes nothing; `restore` makes a branch and touches no work tree; `prune` deletes a ref only while
it is at the commit that was looked at.

Refs keep commits from any `gc`; when something was saved stands in the ref's log, since the commit may be much older.
Where git lost or keeps no such log, the commit's own date counts, or the time of the emptied log, which is later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .git import Git, GitError
from .reflogs import read_log
from .repository import Repository, resolve
from .salvage import SALVAGE
from .spent import change_refs

LEFT_BEHIND = "refs/parallel-loop/left-behind"  # where earlier versions kept what a program left behind
_ITEM = re.compile(r"(?P<item>[^/]+)/(?P<attempt>\d+)(?:-\d+)*")
_OTHERS = {"follow", "unknown"}


@dataclass(frozen=True)
class Saved:
    """One ref that holds what would have been thrown away."""

    ref: str
    commit: str
    at_seconds: int  # since 1970
    why: str
    subject: str

    @property
    def name(self) -> str:
        """The short name by which it is asked for: `<item>/<attempt>`."""
        return self.ref.removeprefix(f"{SALVAGE}/").removeprefix("refs/parallel-loop/")

    @property
    def item(self) -> str | None:
        """The item whose attempt left it, None when no item did, or it is not known which."""
        found = _ITEM.fullmatch(self.name)
        return found["item"] if found and found["item"] not in _OTHERS else None

    @property
    def attempt(self) -> int | None:
        """The number of the attempt that left it."""
        found = _ITEM.fullmatch(self.name)
        return int(found["attempt"]) if found and self.item else None


@dataclass(frozen=True)
class Content:
    """What a saved commit has that its `base` (None: nothing) has not."""

    base: str | None
    message: str
    commits: tuple[tuple[str, str], ...]  # id and subject, the newest first
    files: tuple[tuple[str, int | None, int | None], ...]  # name, lines added and removed (None: binary)


class BranchTaken(Exception):
    """There is a branch of that name at another commit."""

    def __init__(self, name: str, commit: str) -> None:
        super().__init__(f"there is a branch {name} already, at {commit[:12]}; choose another name with --branch NAME")


def saved(repository: Repository) -> list[Saved]:
    """All that is saved, the oldest first; one git command."""
    listed = repository.git.run(
        "for-each-ref",
        "--format=%(refname)%00%(objectname)%00%(committerdate:unix)%00%(contents:subject)%00",
        SALVAGE,
        LEFT_BEHIND,
    )
    fields = [field.removeprefix("\n") for field in listed.fields]
    found = []
    for ref, commit, date, subject in zip(*[iter(fields)] * 4, strict=True):
        at, why = _logged(repository, ref, int(date) if date.isdecimal() else 0)
        found.append(Saved(ref, commit, at, why, subject))
    return sorted(found, key=lambda one: (one.at_seconds, one.ref))


def matching(all_saved: Sequence[Saved], text: str) -> list[Saved]:
    """What `text` means: a ref, `<item>/<attempt>`, or an item, which means all of its attempts."""
    exact = [one for one in all_saved if text in {one.ref, one.name}]
    if exact:
        return exact
    by_attempt = [one for one in all_saved if one.item and text == f"{one.item}/{one.attempt}"]
    return by_attempt or [one for one in all_saved if one.item == text]


def content(git: Git, commit: str, against: str | None) -> Content:
    """What `commit` has that is not in `against`, counted from where the two parted. Raises GitError."""
    base = git.run("merge-base", commit, against, ok=(0, 1)).text or None if against else None
    span = commit if base is None else f"{base}..{commit}"
    log = git.run("log", "-z", "--no-show-signature", "--format=%H%x00%s", *(() if base else ("-1",)), span)
    start = base or git.run("hash-object", "-t", "tree", "--stdin", stdin=b"").text  # the empty tree
    stat = git.run("diff-tree", "-r", "-z", "--numstat", "--no-renames", "--no-ext-diff", start, commit)
    message = git.text("log", "-1", "--no-show-signature", "--format=%B", commit)
    pairs = tuple(zip(log.fields[::2], log.fields[1::2], strict=True))
    return Content(base, message, pairs, tuple(map(_file, stat.fields)))


def restore(git: Git, commit: str, branch: str) -> bool:
    """Make `branch` at `commit`; False when that is so already. Raises BranchTaken, GitError."""
    ref = f"refs/heads/{branch}"
    try:
        git.run("update-ref", "-m", "parallel-loop: salvage restored", ref, commit, "0" * len(commit))
    except GitError:
        taken = resolve(git, ref)
        if taken is None:
            raise
        if taken != commit:
            raise BranchTaken(branch, taken) from None
        return False
    return True


def prune(git: Git, old: Sequence[Saved]) -> None:
    """Let go of what is saved; the commits stay until a `git gc` finds them unused. Raises GitError."""
    if old:
        change_refs(git, (f"delete {one.ref}\0{one.commit}\0" for one in old), "salvage pruned")


def _file(field: str) -> tuple[str, int | None, int | None]:
    added, removed, name = field.split("\t", 2)
    return name, int(added) if added.isdecimal() else None, int(removed) if removed.isdecimal() else None


def _logged(repository: Repository, ref: str, date: int) -> tuple[int, str]:
    """When and why the ref was made, by its log; by the commit's `date` where that says nothing."""
    log = repository.git_dir / "logs" / ref
    entries = read_log(log)
    if entries:
        return entries[-1].at, entries[-1].message.removeprefix("parallel-loop: ")
    try:
        return max(date, int(log.stat().st_mtime)), ""  # `git reflog expire` emptied it then
    except OSError:
        return date, ""
