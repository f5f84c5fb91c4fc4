"""The queue's directory as a whole: making it, and the version of its format."""

from __future__ import annotations

import msgspec

from . import atomic, probe
from .layout import FOLDERS, README, Layout
from .records import FORMAT_VERSION, encode


def make_directory(layout: Layout, *, durable: bool) -> None:
    """Make the directories of the queue where they are missing.

    A new queue is made only where claims can be exclusive. Raises NoHardLinks, Unsuitable, OSError.
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    for folder in FOLDERS:  # also in an old queue: all but items/ may have been deleted
        (layout.root / folder).mkdir(exist_ok=True)
    if layout.format.exists():
        return
    probe.require(layout.drafts, layout.drafts, durable=durable)
    atomic.replace_file(layout.root / "README", README.encode())
    probe.require_names_kept(layout.root / "README")
    if durable:
        atomic.sync_directory(layout.root.parent)
    # Last, and flushed with the directory: whoever sees it need not flush the others' names again.
    atomic.replace_file(layout.format, encode({"version": FORMAT_VERSION}), durable=durable)


def format_version(layout: Layout) -> int:
    """Return the version of the queue's format, 0 where none is recorded. Raises Unreadable."""
    data = atomic.read_file(layout.format)
    try:
        return msgspec.json.decode(data or b"{}", type=dict[str, int]).get("version", 0)
    except msgspec.MsgspecError:
        return 0
