"""Removing, walking and flushing directories that a program may have left in any state; no link is followed."""

from __future__ import annotations

import ctypes
import os
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path


def is_utf8(name: str) -> bool:
    """Whether a name can be written down in JSON: one that the disk has in other bytes cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def flush_file_system(path: Path) -> None:
    """Make all that was written to the file system of `path` survive a power cut, whoever wrote it. Raises OSError."""
    try:
        flush = ctypes.CDLL(None, use_errno=True).syncfs
    except AttributeError:  # Linux alone can flush one file system
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if flush(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """How much may still be written to the file system of `path`; one that does not say has room for everything."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize if found.f_blocks else sys.maxsize


def remove(path: Path) -> None:
    """Remove a file, a symbolic link or a whole directory, read-only ones too; nothing there is fine."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        make_accessible(path)
        shutil.rmtree(path)


def make_accessible(path: Path) -> None:
    """Give the owner back the right to read and change every file and directory at and below `path`."""
    _allow(path)
    for folder, below, files in os.walk(path):
        for name in (*below, *files):
            _allow(Path(folder, name))


def _allow(path: Path) -> None:
    mode = path.lstat().st_mode
    wanted = stat.S_IRWXU if stat.S_ISDIR(mode) else stat.S_IRUSR | stat.S_IWUSR
    if not stat.S_ISLNK(mode) and mode & wanted != wanted:
        with suppress(PermissionError):  # another user's: git will say what it could not do
            path.chmod(stat.S_IMODE(mode) | wanted)


def nested_git_entries(path: Path, keep: Collection[str] = ()) -> Iterator[Path]:
    """Every `.git` below `path` but its own, not looking into folders whose name matches a pattern of `keep`."""
    for folder, below, files in os.walk(path):
        if folder != str(path) and (".git" in below or ".git" in files):
            yield Path(folder, ".git")
        below[:] = [name for name in below if name != ".git" and not any(fnmatch(name, one) for one in keep)]


def files_below(path: Path) -> Iterator[Path]:
    """Every file and symbolic link below `path`, without what belongs to a git directory."""
    for folder, below, files in os.walk(path):
        below[:] = [name for name in below if name != ".git"]
        links = [name for name in below if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in (*files, *links) if name != ".git")
