"""Reflogs read as files: who moved a ref, from where to where, without starting git.

Every program's git runs under the agent's name and with `core.logAllRefUpdates=always` (environment.py), so each entry
that it makes says whose it is. That is evidence, not proof: who wants to can write anything there.

Assumes: refs are kept as files. With reftable there are no logs here, and then nothing counts as a program's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_DOMAIN = "@parallel-loop.invalid"
OUR_EMAIL = f"parallel-loop{_DOMAIN}"
_LINE = re.compile(rb"([0-9a-f]{40,64}) ([0-9a-f]{40,64}) .*?<([^>\n]*)> (\d+) [+-]\d+(?:\t(.*))?")


@dataclass(frozen=True)
class Entry:
    """One step of a ref, as its reflog has it; `at` is in seconds since 1970."""

    old: str | None  # None: the ref began with this step
    new: str
    email: str
    at: int
    message: str

    @property
    def is_of_a_program(self) -> bool:
        """Whether some agent's program, or a check, made this step."""
        return self.email.endswith(_DOMAIN) and self.email != OUR_EMAIL


def program_email(name: str) -> str:
    """The address under which the programs of agent `name` commit."""
    return f"{name}{_DOMAIN}"


def read_log(file: Path) -> list[Entry]:
    """The entries of a reflog, the oldest first; none when there is no such file."""
    try:
        text = file.read_bytes()
    except OSError:
        return []
    found = []
    for line in text.split(b"\n"):
        match = _LINE.fullmatch(line)
        if match is not None:
            old, new, email, at, message = match.groups(b"")
            begun = None if not old.strip(b"0") else old.decode()
            found.append(Entry(begun, new.decode(), os.fsdecode(email), int(at), os.fsdecode(message)))
    return found


def logs_changed_since(common_dir: Path, since_ns: int, folders: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Every ref below `folders` (`heads`, `tags`, …) whose log was written to after `since_ns`, with that log."""
    for folder in folders:
        yield from _changed(str(common_dir / "logs" / "refs" / folder), f"refs/{folder}", since_ns)


def _changed(folder: str, ref: str, since_ns: int) -> Iterator[tuple[str, Path]]:
    """The same below one folder; text and not paths, because there may be thousands."""
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError:
        return
    for entry in found:
        name = f"{ref}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            yield from _changed(entry.path, name, since_ns)
        elif not name.endswith(".lock"):
            try:
                changed = entry.stat(follow_symlinks=False).st_mtime_ns > since_ns
            except OSError:
                continue
            if changed:
                yield name, Path(entry.path)
