"""The queue's directory as a whole: making it, and the version of its format."""

from __future__ import annotations

import contextlib
import errno
from pathlib import Path

import msgspec

from . import atomic, probe
from .atomic import LINK, Unreadable
from .layout import FOLDERS, README, Layout
from .records import FORMAT_VERSION, encode

_FORMAT_LIMIT_BYTES = 64 * 1024


def make_directory(layout: Layout, *, durable: bool) -> None:
    """Make the directories of the queue where they are missing.

    A new queue is made only where claims can be exclusive. Raises NoHardLinks, Unsuitable, OSError.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:  # also in an old queue: all but items/ may have been deleted
        path = layout.root / folder
        path.mkdir(exist_ok=True)
        if path.is_symlink():
            raise FileExistsError(errno.EEXIST, LINK, str(path))
    if layout.format.exists():
        return
    probe.require(layout.drafts, layout.drafts, durable=durable)
    atomic.replace_file(layout.root / "README", README.encode())
    probe.require_names_kept(layout.root / "README")
    if durable:
        _flush_names(layout.root.resolve())
    # Last: whoever sees it need not flush the others' names again.
    atomic.replace_file(layout.format, encode({"version": FORMAT_VERSION}), durable=durable)


def _flush_names(root: Path) -> None:
    """Flush the names in `root` and its own, with those of all directories above that may have been made with it.

    Who made them is not known: an earlier step of the same command may have, or one that was killed.
    """
    for directory in (root, *root.parents):
        with contextlib.suppress(PermissionError):  # what we may not list we have not made
            atomic.sync_directory(directory)
        if directory.is_mount():
            return


def format_version(layout: Layout) -> int:
    """Return the version of the queue's format, 0 where none is recorded. Raises Unreadable."""
    data = atomic.read_file(layout.format, _FORMAT_LIMIT_BYTES)
    try:
        return 0 if data is None else read_version(layout.format, data)
    except Unreadable:
        return 0  # a survey names it


def read_version(path: Path, data: bytes) -> int:
    """Return the version that stands in ``format.json``. Raises Unreadable."""
    try:
        return msgspec.json.decode(data, type=dict[str, int])["version"]
    except (msgspec.MsgspecError, UnicodeError, RecursionError, KeyError) as error:
        raise Unreadable(path, f"is damaged or foreign ({error})") from error
