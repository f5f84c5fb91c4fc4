"""The index of a worktree: whether it can be believed, and what in it git's own `status` does not tell."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from .git import Git

_DIGESTS = (hashlib.sha1, hashlib.sha256)  # which of them depends on the repository's object format
# `ls-files -v -s -z` gives "H 100644 <id> 0\tname"; an ordinary entry begins with the first three characters here.
_UNUSUAL = re.compile(rb"(?:\A|(?<=\0))(?!H 10|H 12)(\S) (\d+) \w+ (\d)\t([^\0]+)")


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


def unusual_entries(git: Git, env: dict[str, str] | None = None) -> Unusual:
    """What is unusual in the index that `git` (with `env`) works on. One git command, whatever the size."""
    out = git.run("ls-files", "-v", "-s", "-z", env=env).stdout
    unchecked, skipped, links, unmerged = [], [], [], False
    for tag, mode, stage, raw in _UNUSUAL.findall(out):
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
