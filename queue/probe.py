"""What the queue needs of a file system, tried where the queue is to live.

Guarantees: `require` lets nothing pass on which two workers could hold one item: a name that can be given twice, a
file whose names are not one file, a lock that its other names do not show. It costs some 20 calls and, with `durable`,
two flushes, so it is done when a queue is made and when a run starts, not for every item. What is tried is tidied away.

Assumes: one host. Whether a lock also holds against other processes, and ends with theirs, needs a process to try.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from . import atomic
from .atomic import NoHardLinks, Unsuitable

_CANNOT_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_FIRST = b"first"


class Trial(msgspec.Struct, frozen=True):
    """What came of trying one thing; the detail of what does not work ends with what to do, after a semicolon."""

    name: str
    works: bool
    detail: str


class _Names(NamedTuple):
    """Two files, and a name in another directory that is to be the first one's second."""

    first: str
    rival: str
    second: str


def require(folder: Path, other: Path, *, durable: bool) -> None:
    """Try what claims stand on, with files in `folder` and a further name in `other`; both are to be ours alone.

    Raises NoHardLinks, Unsuitable, or OSError for what has another cause (a full disk, no permission).
    """
    with _names(folder, other) as names:
        try_hard_links(names)
        try_locks(names)
    if durable:
        try_flushing(folder)


def examine(directory: Path) -> list[Trial]:
    """Try everything in a new directory below `directory`, and remove that. Raises OSError when it cannot be made."""
    import shutil  # only here: to load these takes milliseconds, and a worker, which has this module, never tries
    import tempfile

    scratch = Path(tempfile.mkdtemp(prefix=".parallel-loop-probe-", dir=directory))
    try:
        folder, other = scratch / "a", scratch / "b"
        folder.mkdir()
        other.mkdir()
        with _names(folder, other) as names:
            return [
                _trial("hard links", lambda: try_hard_links(names)),
                _trial("locks", lambda: try_locks(names)),
                _trial("replacing", lambda: try_replacing(folder)),
                _trial("flushing", lambda: try_flushing(folder)),
                _trial("symlinks", lambda: try_symbolic_links(names)),
                _trial("names", lambda: try_names(folder)),
            ]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def require_names_kept(path: Path) -> None:
    """Raise Unsuitable when `path`, which exists and has capital letters, is not listed as it was called.

    Ids are read from listings: an item `Fix` that is listed as `fix` would never be found.
    """
    if path.name not in os.listdir(path.parent):  # noqa: PTH208 (names are what we want)
        raise Unsuitable(path, "does not keep names as they were given")


def ignores_case(path: Path) -> bool:
    """Tell whether `path`, which exists, also answers to its name in the other case."""
    return os.path.lexists(path.with_name(path.name.swapcase()))


def try_hard_links(names: _Names) -> str:
    try:
        made = atomic.link_once(names.first, names.second)
    except PermissionError as error:  # a file made just now belongs to another: some mounts say so of all files
        raise NoHardLinks(names.second, error.strerror or "link refused") from error
    if not made:
        raise Unsuitable(names.second, "says of a name that it exists, and it does not")
    if atomic.link_once(names.rival, names.second):
        raise Unsuitable(names.second, "gives a name away a second time")
    status = os.lstat(names.second)
    if atomic.read_file(names.second) != _FIRST or not os.path.samestat(os.lstat(names.first), status):
        raise Unsuitable(names.second, "does not make the names of one file known as one file (inode numbers differ)")
    return f"work here: the second of two is refused, both names are one file (link count {status.st_nlink})"


def try_locks(names: _Names) -> str:
    """A lock on a marker must be seen through its other names: claims are such names, and tell who lives."""
    with contextlib.ExitStack() as opened:
        holder = _open(names.first, opened, os.O_RDWR)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Unsuitable(names.first, f"has no file locks ({error.strerror})") from error
        if _can_share(_open(names.first, opened)):
            raise Unsuitable(names.first, "gives one lock to two holders")
        if os.path.lexists(names.second) and _can_share(_open(names.second, opened)):
            raise Unsuitable(names.second, "does not show a file's lock through its other hard links")
        fcntl.flock(holder, fcntl.LOCK_UN)
        if not _can_share(_open(names.first, opened)):
            raise Unsuitable(names.first, "keeps a lock that was given up")
    return "work here: a second holder is refused, also through another name of the file"


def _open(path: str, opened: contextlib.ExitStack, access: int = os.O_RDONLY) -> int:
    descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_CLOEXEC)
    opened.callback(os.close, descriptor)
    return descriptor


def _can_share(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def try_replacing(folder: Path) -> str:
    """Who has the old content open keeps it; whoever opens the name finds the new one."""
    path = folder / "replaced"
    atomic.replace_file(path, b"old")
    with path.open("rb") as reader:
        atomic.replace_file(path, b"new")
        if (reader.read(), path.read_bytes()) != (b"old", b"new"):
            raise Unsuitable(path, "mixes old and new content when a file is replaced")
    return "works here: readers see the old content or the new"


def try_flushing(folder: Path) -> str:
    try:
        draft = atomic.write_private(folder, b"flushed", durable=True)
        os.unlink(draft)  # noqa: PTH108 (text, as everywhere in this folder)
        atomic.sync_directory(folder)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
        problem = f"cannot flush files and directories ({error.strerror}), so a power cut would lose what was added"
        raise Unsuitable(folder, problem) from error
    return "works here, for files and directories"


def try_symbolic_links(names: _Names) -> str:
    link = Path(names.first).with_name("symbolic")
    try:
        link.symlink_to(names.rival)
    except OSError as error:
        return f"there are none here ({error.strerror})"
    try:
        atomic.read_file(link)
    except atomic.Unreadable:
        return "are not followed"
    raise Unsuitable(link, "follows symbolic links also where it is told not to")


def try_names(folder: Path) -> str:
    path = folder / "Name"
    path.touch()
    require_names_kept(path)
    if ignores_case(path):
        return "upper and lower case are one here: ids must differ in more than case"
    return "upper and lower case differ"


def _trial(name: str, attempt: Callable[[], str]) -> Trial:
    try:
        return Trial(name, True, attempt())
    except Unsuitable as error:
        return Trial(name, False, str(error))
    except OSError as error:
        return Trial(name, False, f"cannot be tried ({error.strerror}); use a directory where files can be made")


@contextlib.contextmanager
def _names(folder: Path, other: Path) -> Iterator[_Names]:
    """Make the files; all have names of drafts, so that `heal` also tidies what a killed process leaves."""
    paths: list[str] = []
    try:
        paths.append(atomic.write_private(folder, _FIRST))
        paths.append(atomic.write_private(folder, b"rival"))
        paths.append(atomic.draft_path(other))
        yield _Names(*paths)
    finally:
        for path in paths:
            with contextlib.suppress(OSError):
                os.unlink(path)  # noqa: PTH108 (text, as everywhere in this folder)
