"""How large a worktree is, and whether anything in it changed: one walk through its files, without git."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from ..queue import atomic

_GIT_FILES = ("HEAD", "index", "logs/HEAD")  # a commit changes these, and no file that is checked out


class Footprint(NamedTuple):
    """What a worktree holds: bytes on the disk, files and folders, and the newest change (nanoseconds since 1970)."""

    bytes: int
    entries: int
    newest_ns: int


def footprint(worktree: Path) -> Footprint:
    """Return what is below `worktree` now; what cannot be read, or disappears meanwhile, is not counted.

    A file with several names is counted once for each: to remember them all costs more than it tells.
    """
    total, entries, newest = 0, 0, 0
    waiting = [str(worktree)]
    while waiting:
        with contextlib.suppress(OSError), os.scandir(waiting.pop()) as found:
            for entry in found:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    total += status.st_blocks * 512
                    entries += 1
                    newest = max(newest, status.st_mtime_ns)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
    for name in _GIT_FILES:
        with contextlib.suppress(OSError, ValueError, atomic.Unreadable):  # a program may have written anything there
            newest = max(newest, (_git_dir(worktree) / name).stat().st_mtime_ns)
    return Footprint(total, entries, newest)


def _git_dir(worktree: Path) -> Path:
    """Raises OSError, ValueError, Unreadable."""
    return Path((atomic.read_file(worktree / ".git") or b"").decode().removeprefix("gitdir:").strip())
