"""What a program did to refs that are not its attempt's: kept, put back, and told.

Guarantees: only steps that bear a program's mark in the ref's reflog are undone, by compare-and-swap, and only where no
later step of anybody else stands on them; what they led to is held by a ref under `refs/parallel-loop/salvage/` first.
Deleted refs and dropped stashes come back when git wrote down that the program deleted them. A branch that is checked
out is not moved under anybody's feet.

Assumes: the attempt's own work has been committed, and its worktree detached.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .evidence import Command, deleted_ref, dropped_stashes
from .files import is_utf8
from .git import Git, GitError
from .links import backlink, worktree_dirs
from .operations import read_line
from .reflogs import Entry, logs_changed_since, read_log
from .repository import Repository

_FOLDERS = ("heads", "tags", "notes", "replace")
_WATCHED = tuple(f"refs/{folder}" for folder in _FOLDERS)
_ITEMS = "refs/heads/parallel-loop/item/"
_STASH = "refs/stash"


@dataclass(frozen=True)
class Before:
    """What there was when work on an attempt began: refs by name, and the commits of the stash, the newest last."""

    refs: dict[str, str]
    stash: tuple[str, ...]
    at_ns: int  # the time of the file system then


@dataclass(frozen=True)
class Attempted:
    """Whose changes are looked for: the address its program commits under, its branch, and where to keep things."""

    email: str
    branch: str | None
    keep_below: str  # a ref that names the attempt; what is kept lies under `<keep_below>-shared/`


@dataclass(frozen=True)
class Deed:
    """One thing that a program did to a ref, and what became of it; `kept_as` holds what it led to."""

    ref: str
    why: str
    kept_as: str | None = None
    remedy: str | None = None  # a command for a person, where nothing was undone


def remember(repository: Repository, at_ns: int) -> Before:
    """What there is now; one git command.

    A ref whose name is no UTF-8 is left out: what is remembered is written down as JSON.
    """
    fields = repository.git.run("for-each-ref", "--format=%(objectname)%00%(refname)%00", *_WATCHED).fields
    refs = {name: value.removeprefix("\n") for value, name in zip(fields[::2], fields[1::2], strict=True)}
    refs = {name: value for name, value in refs.items() if is_utf8(name)}
    return Before(refs, tuple(entry.new for entry in _stash(repository)), at_ns)


def settle(
    repository: Repository,
    before: Before,
    attempted: Attempted,
    commands: Sequence[Command],
    *,
    spare: Path | None = None,
) -> list[Deed]:
    """Undo what a program did to refs since `before`; no git command when it did nothing. Raises GitError.

    What is checked out in the worktree whose git directory is `spare` is passed over.
    """
    spared = read_line(spare / "HEAD").removeprefix("ref: ") if spare is not None else None
    deeds: list[Deed] = []
    for ref, log in logs_changed_since(repository.git_dir, before.at_ns, _FOLDERS):
        if ref not in {f"refs/heads/{attempted.branch}", spared}:
            deeds += _undo_steps(repository, before, attempted, ref, read_log(log))
    deeds += _own_stashes(repository, attempted)
    if commands:
        deeds += _restore_deleted(repository, before, commands)
    return [*deeds, *_head_of_the_user(repository, before, attempted)]


def _undo_steps(
    repository: Repository, before: Before, attempted: Attempted, ref: str, entries: Sequence[Entry]
) -> list[Deed]:
    new = _since(entries, before.refs.get(ref))
    steps = _marked(new, attempted.email, before.at_ns // 10**9, alone=ref.startswith(_ITEMS))
    if not steps:
        return []
    last, old = steps[-1].new, steps[0].old
    if ref not in before.refs and (old is None or "renamed" in steps[0].message):
        old = None
    place = _checked_out(repository, ref)
    if place is not None:
        return [_left_alone(ref, place, old)]
    kept = f"{attempted.keep_below}-shared/{ref.removeprefix('refs/')}"
    git = repository.git
    try:
        kept = _keep(git, kept, last)
        if old is None:
            git.run("update-ref", "-d", ref, last)
        else:
            git.run("update-ref", "-m", "parallel-loop: put back", ref, old, last)
    except GitError as error:
        if "but expected" in error.stderr:  # somebody was here after us: theirs is the last word
            return []
        raise
    back = "removed again" if old is None else f"put back to {old[:12]}"
    return [Deed(ref, f"a program {'made' if old is None else 'moved'} {ref}; it is {back}", kept)]


def _since(entries: Sequence[Entry], value: str | None) -> Sequence[Entry]:
    """The steps after the ref had `value`. Their times are in whole seconds: one of the attempt before may look new."""
    known = [number for number, entry in enumerate(entries) if entry.new == value]
    return entries[known[-1] + 1 :] if known else entries


def _marked(entries: Sequence[Entry], email: str, since: int, *, alone: bool) -> list[Entry]:
    """The steps at the end of a log that programs made, if the one of `email` is among them.

    On an item's branch only its own (`alone`): the others there are of the attempt that it belongs to.
    """
    steps: list[Entry] = []
    for entry in reversed(entries):
        ours = entry.email == email if alone else entry.is_of_a_program
        if not ours or entry.at < since:
            break
        steps.insert(0, entry)
    return steps if any(entry.email == email for entry in steps) else []


def _left_alone(ref: str, place: Path, old: str | None) -> Deed:
    short = ref.removeprefix("refs/heads/")
    why = (
        f"a program moved {short}, which is checked out in {place}; it was left, because files would have to move, too"
    )
    remedy = f"git -C {shlex.quote(str(place))} reset --keep {old}" if old else None
    return Deed(ref, why, remedy=remedy)


def _keep(git: Git, name: str, value: str) -> str:
    """Have a ref hold the object: `name`, or the first of `<name>-2`, `<name>-3` … that holds nothing else."""
    number = 1
    while True:
        ref = name if number == 1 else f"{name}-{number}"
        taken = git.run("rev-parse", "--verify", "--quiet", ref, ok=(0, 1)).text
        if taken == value:
            return ref
        if not taken:
            git.run("update-ref", "-m", "parallel-loop: salvage", ref, value, "0" * len(value))
            return ref
        number += 1


def _checked_out(repository: Repository, ref: str) -> Path | None:
    """The work tree where branch `ref` is checked out, read from the files."""
    places = [(repository.git_dir, repository.root)]
    places += [(admin, backlink(admin) or admin) for admin in worktree_dirs(repository.git_dir)]
    return next((path for admin, path in places if read_line(admin / "HEAD") == f"ref: {ref}"), None)


# --- the stash ----------------------------------------------------------------------------------------


def _stash(repository: Repository) -> list[Entry]:
    return read_log(repository.git_dir / "logs" / _STASH)


def _own_stashes(repository: Repository, attempted: Attempted) -> list[Deed]:
    """Take what the program stashed off the stash that everybody shares, and keep it."""
    deeds = []
    for entry in [entry for entry in _stash(repository) if entry.email == attempted.email]:
        kept = _keep(repository.git, f"{attempted.keep_below}-shared/stash", entry.new)
        if _drop(repository, entry.new):
            deeds.append(Deed(_STASH, "a program left work on the stash; it was taken off", kept))
    return deeds


def _drop(repository: Repository, commit: str) -> bool:
    """Take one commit off the stash. git only knows them by their number, which a person may change meanwhile."""
    earlier = [entry.new for entry in _stash(repository)]
    if commit not in earlier:
        return False
    number = len(earlier) - 1 - earlier.index(commit)
    repository.git.run("stash", "drop", "--quiet", f"stash@{{{number}}}", ok=(0, 1, 128))
    left = [entry.new for entry in _stash(repository)]
    for other in [other for other in earlier if commit in left and other not in left]:
        _store(repository, other)  # dropped in its place
    return commit not in left


def _store(repository: Repository, commit: str) -> None:
    subject = repository.git.text("log", "-1", "--format=%s", commit)
    repository.git.run("stash", "store", "--quiet", "-m", subject, commit)


# --- what was deleted ---------------------------------------------------------------------------------


def _restore_deleted(repository: Repository, before: Before, commands: Sequence[Command]) -> list[Deed]:
    deeds = []
    suspects = [ref for ref in before.refs if deleted_ref(commands, ref)]
    now = remember(repository, 0).refs if suspects else {}
    for ref in suspects:
        if ref not in now:
            value = before.refs[ref]
            repository.git.run("update-ref", "-m", "parallel-loop: put back", ref, value, "0" * len(value))
            deeds.append(Deed(ref, f"a program deleted {ref}; it is back at {value[:12]}"))
    if dropped_stashes(commands):
        left = {entry.new for entry in _stash(repository)}
        for commit in [commit for commit in before.stash if commit not in left]:
            _store(repository, commit)
            deeds.append(Deed(_STASH, f"a program took {commit[:12]} off the stash; it is back"))
    return deeds


def _head_of_the_user(repository: Repository, before: Before, attempted: Attempted) -> Iterable[Deed]:
    """Tell of a program that worked in the user's own checkout; nothing there is touched."""
    log = repository.git_dir / "logs" / "HEAD"
    try:
        if log.stat().st_mtime_ns <= before.at_ns:
            return []
    except OSError:
        return []
    steps = _marked(read_log(log), attempted.email, before.at_ns // 10**9, alone=True)
    if not steps or steps[0].old == steps[-1].new:
        return []
    at = shlex.quote(str(repository.root))
    why = f"a program worked in your checkout {repository.root}: {steps[-1].message}; it was left as it is"
    return [Deed("HEAD", why, remedy=f"git -C {at} reflog")]
