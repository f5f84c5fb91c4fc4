"""The index of a worktree: whether it can be believed, and what else of a worktree git's `status` does not tell."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .git import Git

_DIGESTS = (hashlib.sha1, hashlib.sha256)  # which of them depends on the repository's object format
# `ls-files -v -s -z` gives "H 100644 <id> 0\tname", of which this is what an ordinary entry begins with, and with
# `--others` "? name". Read by splitting: a regular expression takes longer for all of it than git does.
_ORDINARY = (b"H 10", b"H 12")
_UNTRACKED = b"? "


@dataclass(frozen=True)
class Unusual:
    """The entries of an index that need care, by name."""

    unchecked: tuple[str, ...] = ()  # assume-unchanged: git does not look at the file
    skipped: tuple[str, ...] = ()  # skip-worktree: git takes the file as absent on purpose
    links: tuple[str, ...] = ()  # another repository's commit (a submodule, or an embedded repository)
    unmerged: bool = False


def is_sound(file: Path) -> bool:
    """Whether an index file is whole: git reads a truncated one as garbage, without complaint."""
    try:
        content = file.read_bytes()
    except OSError:
        return False
    if not content.startswith(b"DIRC"):
        return False
    if content.endswith(bytes(20)):  # index.skipHash
        return True
    return any(content.endswith(digest(content[: -digest().digest_size]).digest()) for digest in _DIGESTS)


@dataclass(frozen=True)
class Contents:
    """What is in a worktree, by its index."""

    unusual: Unusual
    untracked: tuple[str, ...]  # ignored files too
    folders: frozenset[str]  # those that have tracked files


def unusual_entries(git: Git) -> Unusual:
    """What is unusual in the index that `git` works on. One git command, whatever the size."""
    return _unusual(git.run("ls-files", "-v", "-s", "-z").stdout.split(b"\0"))


def contents(git: Git, kept: Sequence[str]) -> Contents:
    """What is in the worktree that `git` works on, but for untracked files that match `kept`; one git command."""
    out = git.run("ls-files", "-v", "-s", "-z", "--others", *(f"--exclude={pattern}" for pattern in kept)).stdout
    fields = out.split(b"\0")
    untracked = tuple(os.fsdecode(field[2:]) for field in fields if field.startswith(_UNTRACKED))
    names = {field[field.find(b"\t") + 1 : field.rfind(b"/")] for field in fields[len(untracked) : -1] if b"/" in field}
    folders = {str(above) for name in names for above in (PurePosixPath(os.fsdecode(name)) / "x").parents}
    return Contents(_unusual(fields[len(untracked) :]), untracked, frozenset(folders - {"."}))


def _unusual(fields: list[bytes]) -> Unusual:
    unchecked, skipped, links, unmerged = [], [], [], False
    for field in fields:
        if not field or field.startswith(_ORDINARY):
            continue
        about, _, raw = field.partition(b"\t")
        tag, mode, _, stage = about.split(b" ")
        name = os.fsdecode(raw)
        if tag.islower():
            unchecked.append(name)
        if tag in b"Ss":
            skipped.append(name)
        if mode == b"160000":
            links.append(name)
        unmerged = unmerged or stage != b"0"
    return Unusual(tuple(unchecked), tuple(skipped), tuple(links), unmerged)


def clear_flags(git: Git, unusual: Unusual, env: dict[str, str] | None = None, *, absent: bool = False) -> None:
    """Have git look at every file that is there, and with `absent` at those that are not.

    A skipped file that is absent is no deletion when work is saved; it must come back when a worktree is reset.
    """
    skipped = [name for name in unusual.skipped if absent or os.path.lexists(git.directory / name)]
    for option, names in (("--no-assume-unchanged", unusual.unchecked), ("--no-skip-worktree", skipped)):
        if names:
            git.run("update-index", option, "-z", "--stdin", stdin=terminated(names), env=env)


def terminated(names: tuple[str, ...] | list[str]) -> bytes:
    """`names` as git reads them with `-z`."""
    return b"".join(os.fsencode(name) + b"\0" for name in names)
