"""Where the queue keeps what, and how it is called.

    items/4f/fix-login.json     the item, written once
    items/4f/fix-login.1        its chain: record 1, record 2, …, each written once
    ready/5/<bucket>/<hint>     hints (further names of items): takable ones in taking order, by priority
    delayed/ after/ working/ landing/    hints: not due yet, waiting for another item, claimed, handed over
    workers/                    the marker of every worker process, locked for as long as it lives
    wip/                        one lock for each place that a role's limit allows
    imports/                    imports under way; drafts/ files that are being written
    bell                        changes whenever there may be something new to take

Only ``items/`` decides anything. The rest can be deleted while nothing runs; `Queue.heal` builds it again.
"""

from __future__ import annotations

import zlib
from pathlib import Path

FOLDERS = ("items", "ready", "delayed", "after", "working", "landing", "workers", "wip", "imports", "drafts")
README = f"""The queue of parallel-loop: read it with `parallel-loop list`, `parallel-loop show ID`, or ls and cat.
Do not edit it: everything in items/ is written once.

{__doc__.split(chr(10), 2)[2]}"""


class Layout:
    """Paths below one queue directory. Those used for every item are text: building a Path costs more than the link."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.items = root / "items"
        self.ready = root / "ready"
        self.delayed = root / "delayed"
        self.after = root / "after"
        self.working = root / "working"
        self.landing = root / "landing"
        self.workers = root / "workers"
        self.wip = root / "wip"
        self.imports = root / "imports"
        self.drafts = root / "drafts"
        self.bell = root / "bell"
        self.add_lock = root / "add.lock"
        self.format = root / "format.json"

        self._items = str(self.items)

    def item(self, item_id: str) -> str:
        return f"{self._items}/{shard(item_id)}/{item_id}.json"

    def record(self, item_id: str, number: int) -> str:
        return f"{self._items}/{shard(item_id)}/{item_id}.{number}"


def shard(item_id: str) -> str:
    """Spread items over 256 directories: two processes that link into one directory wait for each other."""
    return f"{zlib.crc32(item_id.encode()) & 0xFF:02x}"


def parse_name(name: str) -> tuple[str, int | None] | None:
    """Split a file name of ``items/`` into item id and record number (None: the item itself).

    Returns None for a name that is none of ours.
    """
    item_id, dot, suffix = name.rpartition(".")
    if not dot or not item_id:
        return None
    if suffix == "json":
        return item_id, None
    if suffix.isascii() and suffix.isdigit() and not suffix.startswith("0"):
        return item_id, int(suffix)
    return None
