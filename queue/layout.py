"""Where the queue keeps what, and how it is called.

    items/14f/fix-login.json    the item, written once
    items/14f/fix-login.1       its chain: record 1, record 2, …, each written once
    ready/5/<bucket>            hints: the takable items of a priority, a hundred lines to a bucket
    delayed/ after/ landing/    hints (further names of items): not due yet, waiting for another item, handed over
    workers/                    of every worker process its marker, and a note of what it holds; locked while it lives
    wip/                        one lock for each place that a role's limit allows
    packs/                      finished items with all their records, many in one file (`parallel-loop tidy`)
    imports/                    imports under way; drafts/ files that are being written
    bell, frontier              change whenever there may be something new to take; how far the takers have come

Only ``items/`` and ``packs/`` decide anything. The rest can be deleted while nothing runs; `heal` builds it again.
"""

from __future__ import annotations

import errno
import os
import zlib
from pathlib import Path

from .atomic import LINK

FOLDERS = ("items", "packs", "ready", "delayed", "after", "landing", "workers", "wip", "imports", "drafts")
README = f"""The queue of parallel-loop: read it with `parallel-loop list`, `parallel-loop show ID`, or ls and cat.
Do not edit it: everything in items/ is written once.

{__doc__.split(chr(10), 2)[2]}"""


class Layout:
    """Paths below one queue directory. Those used for every item are text: building a Path costs more than the link."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.items = root / "items"
        self.packs = root / "packs"
        self.ready = root / "ready"
        self.delayed = root / "delayed"
        self.after = root / "after"
        self.landing = root / "landing"
        self.workers = root / "workers"
        self.wip = root / "wip"
        self.imports = root / "imports"
        self.drafts = root / "drafts"
        self.bell = root / "bell"
        self.frontier = root / "frontier"
        self.add_lock = root / "add.lock"
        self.format = root / "format.json"

        self.dependents = str(self.after)
        self._items = str(self.items)
        self._own_folders: set[str] = set()
        self._latest = ("", "")

    def item(self, item_id: str) -> str:
        return f"{self._files_of(item_id)}.json"

    def record(self, item_id: str, number: int) -> str:
        return f"{self._files_of(item_id)}.{number}"

    def _files_of(self, item_id: str) -> str:
        """Return how the paths of all files of an item begin; it is mostly asked about one item many times."""
        latest, files = self._latest
        if latest != item_id:
            folder = shard(item_id)
            if folder in self._own_folders or self._is_own(folder):
                files = f"{self._items}/{folder}/{item_id}"
            else:
                files = f"{self._items}/.not-followed/{folder}/{item_id}"  # where there never is anything
            self._latest = (item_id, files)
        return files

    def _is_own(self, folder: str) -> bool:
        """Tell whether a directory of ``items/`` is no link that leads elsewhere; looked at once in each process."""
        path = f"{self._items}/{folder}"
        if os.path.islink(path):  # noqa: PTH114 (text, see above)
            return False
        if os.path.lexists(path):
            self._own_folders.add(folder)
        return True

    def require_own_folder(self, item_id: str) -> None:
        """Raise FileExistsError when the item's directory is a symbolic link: it is not followed."""
        folder = shard(item_id)
        if folder not in self._own_folders and not self._is_own(folder):
            path = f"{self._items}/{folder}"
            raise FileExistsError(errno.EEXIST, LINK, path)


def shard(item_id: str) -> str:
    """Spread items over 1024 directories: two processes that link into one directory wait for each other.

    `A` and `a` share one, so that a file system that ignores case shows the one to whoever is about to add the other.
    """
    return f"{zlib.crc32(item_id.lower().encode()) & 0x3FF:03x}"


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
