"""`extensions.preciousObjects` while a run lives: nobody's `git gc --prune=now` takes what an agent is about to commit.

With it `git gc` packs and prunes nothing; `git prune` and `git repack -ad` refuse. git takes it from a repository of
any format version (it is one of the four extensions that format 0 has always known).

Guarantees: what the user set is never unset. Ours is spelled `1`, which nobody writes by hand, and a note is written
before it: with both there it is ours, also after a kill.

Assumes: one coordinator, or `doctor`, at a time.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from .repository import Repository

_KEY = "extensions.preciousObjects"
_OURS = "1"
_LONGEST_GC_SECONDS = 60.0  # a larger repository's gc prunes what is two weeks old, unless told otherwise
_PAUSE_SECONDS = 0.02
_NOTE = """parallel-loop set extensions.preciousObjects in this repository while it works, so that no
`git gc --prune=now` takes what agents are about to commit. The end of the run unsets it, and so does
`parallel-loop doctor --repair` after a crash.
"""


def protect(repository: Repository, note: Path) -> None:
    """Set it, unless the user has done so. Raises GitError, OSError."""
    value = _value(repository)
    if value not in {"", _OURS} and repository.git.run("config", "--type=bool", _KEY, ok=(0, 1, 128)).text == "true":
        return
    note.write_text(_NOTE + (f"before: {value}\n" if value not in {"", _OURS} else ""))
    if value != _OURS:
        repository.git.run("config", "--local", _KEY, _OURS)
    _wait_for_gc(repository.git_dir / "gc.pid")


def _wait_for_gc(lock: Path) -> None:
    """Wait for a gc that began before, and so does not know of the protection: what it prunes may be ours by then."""
    deadline = time.monotonic() + _LONGEST_GC_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, host = lock.read_text().split()[:2]
            if host != os.uname().nodename:
                return
            os.kill(int(pid), 0)
        except (OSError, ValueError):  # there is none, or it was killed
            return
        time.sleep(_PAUSE_SECONDS)


def is_protected_by_us(repository: Repository, note: Path) -> bool:
    """Whether it is set, by us."""
    return note.exists() and _value(repository) == _OURS


def unprotect(repository: Repository, note: Path) -> bool:
    """Unset what we set; False when there is nothing of ours. Raises GitError, OSError."""
    if not note.exists():
        return False
    ours = _value(repository) == _OURS
    if ours:
        repository.git.run("config", "--local", "--unset-all", _KEY, ok=(0, 5))
        before = note.read_text().partition("\nbefore: ")[2].strip()
        if before:
            repository.git.run("config", "--local", _KEY, before)
    note.unlink()
    return ours


def _value(repository: Repository) -> str:
    return repository.git.run("config", "--local", "--get", _KEY, ok=(0, 1)).text
