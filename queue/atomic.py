"""The few ways in which this project changes files that others read.

Guarantees:
- `link_once` and `publish` create a name or report that it exists; nobody ever sees a partly written file under it.
- `replace_file` leaves the old content or the new one under the name, never a mixture.
- With ``durable=True`` the change survives a power cut once the function has returned.
- Whatever fails, no partly written file is left behind; only a kill leaves a draft in the private directory.

Assumes: one host, a file system with hard links, and that nobody else writes to the private directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import re
import stat
import time
from collections.abc import Iterable
from pathlib import Path

StrPath = str | Path  # text where a worker takes thousands of items a second, since Path is slow to build
_DRAFT_NAME = re.compile(r"\d+-\d+-\d+")
_counter = itertools.count()
_LINK_UNSUPPORTED = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NOT_A_FILE_OF_OURS = {errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENOTDIR}
LINK = "is a symbolic link, which is not followed"
READ_LIMIT_BYTES = 64 * 1024 * 1024  # far above the largest prompt; a larger file is not one of ours


class Unsuitable(Exception):
    """The file system lacks what the queue stands on."""

    def __init__(self, path: StrPath, lack: str) -> None:
        super().__init__(
            f"the file system of {path} {lack}; "
            "keep the repository's state on one that has what is needed (ext4, xfs, btrfs, tmpfs, APFS)"
        )


class NoHardLinks(Unsuitable):
    """The file system refuses hard links, on which every claim stands."""

    def __init__(self, path: StrPath, reason: str) -> None:
        super().__init__(path, f"has no hard links ({reason})")


class Unreadable(Exception):
    """A file in one of our directories is not what we would have written there."""

    def __init__(self, path: StrPath, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = Path(path)
        self.problem = problem


def link_once(source: StrPath, target: StrPath) -> bool:
    """Give `source` the further name `target`; False when something else has that name already.

    A network file system may report a failure after the link was made: whether the name leads to our
    own inode decides, not the error. So the answer to a second call with the same names is True again.
    Raises NoHardLinks, or OSError for all other failures.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return is_same_file(source, target)
    except OSError as error:
        if is_same_file(source, target):
            return True
        if error.errno in _LINK_UNSUPPORTED and not _may_not_link(error, source):
            raise NoHardLinks(target, error.strerror or "link refused") from error
        raise
    return True


def exists(path: StrPath) -> bool:
    """Tell whether something has that name, or stands behind a link of that name; twice as quick as lexists."""
    return os.access(path, os.F_OK)


def link_new(source: StrPath, target: StrPath) -> bool:
    """Do the same, but say False whenever the target is there already, even if it is a name of the source's own."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:  # whatever it means is found out there
        return link_once(source, target)
    return True


def is_same_file(source: StrPath, target: StrPath) -> bool:
    """Tell whether two names lead to one file; links are not followed."""
    try:
        return os.path.samestat(os.lstat(source), os.lstat(target))
    except OSError:
        return False


def _may_not_link(error: OSError, source: StrPath) -> bool:
    """Linux may keep users from linking the files of others (`fs.protected_hardlinks`), with EPERM as well."""
    try:
        return error.errno == errno.EPERM and os.lstat(source).st_uid != os.geteuid()
    except OSError:
        return False


def publish(private: StrPath, target: StrPath, data: bytes | Iterable[bytes], *, durable: bool) -> bool:
    """Create `target` with `data` (or all of its parts) unless it exists: written whole in `private`, then linked."""
    draft = write_private(private, data, durable=durable)
    try:
        won = link_once(draft, target)
    finally:
        discard(draft)
    if won and durable:
        sync_directory(os.path.dirname(target))  # noqa: PTH120
    return won


def write_private(private: StrPath, data: bytes | Iterable[bytes], *, durable: bool = False) -> str:
    """Write `data` to a new file in `private` that no reader looks at, and return its path."""
    draft = draft_path(private)
    _write_new(draft, data, durable=durable)
    return draft


def draft_path(private: StrPath) -> str:
    """Return a path in `private` that nobody else is given."""
    return f"{private}/{os.getpid()}-{time.time_ns()}-{next(_counter)}"


def is_draft(name: str) -> bool:
    """Tell whether `name` is one that `write_private` gives; it begins with the writer's process id."""
    return _DRAFT_NAME.fullmatch(name) is not None


def writer_of_replacement(name: str) -> str | None:
    """Return the process id of who was replacing a file with this draft; None when it is not the name of one."""
    draft = name.rpartition(".")[2]
    return draft.partition("-")[0] if name.startswith(".") and is_draft(draft) else None


def _write_new(path: StrPath, data: bytes | Iterable[bytes], *, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        for part in (data,) if isinstance(data, bytes) else data:
            view = memoryview(part)
            while view:
                view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    except BaseException:  # also of what makes the parts, as a damaged pack
        discard(path)
        raise
    finally:
        os.close(descriptor)


def discard(draft: StrPath) -> None:
    """Remove a draft; a failure to do so must not hide what was done with it."""
    with contextlib.suppress(OSError):
        os.unlink(draft)  # noqa: PTH108 (text, see StrPath)


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Give `path` the content `data` in one step; readers see the old content or the new."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{time.time_ns()}-{next(_counter)}")
    _write_new(draft, data, durable=durable)
    try:
        os.replace(draft, path)
    except IsADirectoryError as error:  # which names the draft, that is gone by now
        discard(draft)
        raise IsADirectoryError(error.errno, error.strerror, str(path)) from None
    except OSError:
        discard(draft)
        raise
    if durable:
        sync_directory(path.parent)


def replace_own(path: Path, data: bytes) -> None:
    """Do the same, and move a directory of that name aside: for places where programs can make one."""
    try:
        replace_file(path, data)
    except IsADirectoryError:
        if not clear_the_way(path):
            raise
        replace_file(path, data)


def replace_or_overwrite(path: Path, data: bytes) -> None:
    """Do the same; where there is no room for a new file, write over the one that is there, padded with spaces.

    Readers may then see a mixture for a moment, and have to look again: only for files that they would ask twice.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        descriptor = open_own(path, os.O_WRONLY)
        try:
            if os.pwrite(descriptor, data.ljust(os.fstat(descriptor).st_size), 0) < len(data):
                raise
        finally:
            os.close(descriptor)


def append_line(path: Path, line: bytes) -> None:
    """Append one line; lines of concurrent writers do not mix (one write to a file opened for appending).

    What a full disk cuts off is made blank, or else ended before the next line: it spoils no other. Raises OSError,
    also when it was cut off.
    """
    data = line.rstrip(b"\n") + b"\n"
    descriptor = open_own(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data
        written = os.write(descriptor, data)
        if written < len(data):
            with contextlib.suppress(OSError):
                _make_blank(descriptor, written - data.startswith(b"\n"))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _make_blank(descriptor: int, count: int) -> None:
    """Overwrite the bytes that were just appended, and only those: others may have appended more since."""
    end = os.lseek(descriptor, 0, os.SEEK_CUR)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) & ~os.O_APPEND)
    os.pwrite(descriptor, b"\n".rjust(count) if count > 0 else b"", end - count)


def read_file(path: StrPath, limit_bytes: int = READ_LIMIT_BYTES) -> bytes | None:
    """Return the content of a regular file, None when there is none.

    Raises Unreadable for a symbolic link, a device, a directory or a file above the limit: whoever put
    it there, following or loading it could lead out of our directory or fill the memory.
    """
    try:
        descriptor, size = _open_to_read(path)
    except FileNotFoundError:
        return None
    try:
        if size > limit_bytes:
            raise Unreadable(path, f"has {size} bytes, more than the {limit_bytes} that we ever write")
        return _read_all(descriptor, size)
    finally:
        os.close(descriptor)


def open_to_read(path: StrPath) -> int:
    """Open a regular file of ours. Raises FileNotFoundError, and Unreadable for whatever else has its name."""
    return _open_to_read(path)[0]


def _open_to_read(path: StrPath) -> tuple[int, int]:
    try:
        return _open_own(path, os.O_RDONLY)
    except FileExistsError as error:
        raise Unreadable(path, str(error.strerror)) from error
    except PermissionError as error:
        raise Unreadable(path, f"cannot be read ({error.strerror})") from error


def open_own(path: StrPath, flags: int) -> int:
    """Open a regular file of ours. Raises FileExistsError when something else has its name, which is not waited for.

    A link could lead out of our directory, a pipe would block, a device has no end.
    """
    return _open_own(path, flags)[0]


def _open_own(path: StrPath, flags: int) -> tuple[int, int]:
    """Return the open file, and how many bytes it has."""
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o644)
    except OSError as error:
        if error.errno in _NOT_A_FILE_OF_OURS:
            raise _foreign(path, error.errno) from error
        raise
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode):
        return descriptor, status.st_size
    os.close(descriptor)
    raise _foreign(path)


def _foreign(path: StrPath, number: int = 0) -> FileExistsError:
    problem = LINK if number == errno.ELOOP else "is not a regular file"
    return FileExistsError(errno.EEXIST, problem, str(path))


def clear_the_way(path: StrPath) -> bool:
    """Move what has our file's name and is none (a directory, a link, a pipe) aside; False when there is none such.

    For files whose loss costs little: two processes that do this at the same moment may each have one of their own.
    """
    try:
        if stat.S_ISREG(os.lstat(path).st_mode):
            return False
        os.rename(path, f"{path}.foreign-{time.time_ns()}")  # noqa: PTH104 (text, see StrPath)
    except OSError:
        return False
    return True


def own_names(folder: StrPath) -> list[str]:
    """Return the names in `folder` in order, none when it does not exist or is no directory, as a symbolic link."""
    return sorted(unordered_names(folder))


def unordered_names(folder: StrPath) -> list[str]:
    """Return them as they come, for who asks about thousands of folders."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        if error.errno == errno.ELOOP:  # what some systems say of a link
            return []
        raise
    try:
        return os.listdir(descriptor)  # noqa: PTH208 (names are what we want, and there may be many)
    finally:
        os.close(descriptor)


def sync_directory(directory: StrPath) -> None:
    """Make the names in `directory` survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_everything() -> None:
    """Make all that was written survive a power cut: one call instead of thousands after a large import."""
    os.sync()


def _read_all(descriptor: int, size: int) -> bytes:
    data = os.read(descriptor, size + 1)
    while len(data) < size:
        more = os.read(descriptor, size - len(data))
        if not more:
            break
        data += more
    return data
