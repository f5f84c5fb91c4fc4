"""Tidying: finished items move from files of their own into packs, which keep the whole of their history.

It runs when it is asked for, beside workers; two at once take turns. See packing.py for what holds when it is killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .atomic import Unreadable
from .clock import later
from .healing import item_ids
from .packing import merge, pack
from .records import Entry
from .store import Queue

_BATCH = 10_000  # items of one new pack; nobody can add while it is made
_MOST_PACKS = 8  # more are merged into one, so that looking an item up stays quick


def tidy(queue: Queue, *, older_than_seconds: float = 0.0) -> int:
    """Pack the items that were done at least `older_than_seconds` ago; return how many. Raises OSError, Unreadable."""
    queue.create()
    limit = later(queue.now(), -older_than_seconds)
    packed = 0
    batch: list[str] = []
    for item_id in _done_before(queue, limit):
        batch.append(item_id)
        if len(batch) == _BATCH:
            packed += _pack(queue, batch)
            batch = []
    packed += _pack(queue, batch)
    with queue.adding():
        headers = queue.packs.headers()
        while len(headers) > _MOST_PACKS:
            try:
                merge(queue.layout, headers, queue.now(), durable=queue.durable)
                break
            except Unreadable as error:  # a damaged one stays as it is
                del headers[error.path]
    return packed


def _done_before(queue: Queue, limit: str) -> Iterator[str]:
    for item_id in item_ids(queue):
        with contextlib.suppress(Unreadable):
            entry = queue.chain.read_own_files(item_id)
            if entry is not None and entry.last is not None and entry.last_is("done") and entry.last.at <= limit:
                yield item_id


def _pack(queue: Queue, item_ids: list[str]) -> int:
    """Pack those of `item_ids` that another tidying has not packed meanwhile; return how many."""
    with queue.adding():
        entries: list[Entry] = []
        for item_id in item_ids:
            with contextlib.suppress(Unreadable):
                entry = queue.chain.read_own_files(item_id)
                if entry is not None:
                    entries.append(entry)
        if entries:
            pack(queue.layout, entries, queue.now(), durable=queue.durable)
    return len(entries)
