"""Items and their chains as files: each is created once, by a hard link, and never changed.

Guarantees: of all processes that append record n to an item, exactly one succeeds; the others are told.
A record that can be seen is complete. Reading never follows a symbolic link out of the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from . import atomic
from .atomic import Unreadable
from .layout import Layout
from .records import FORMAT_VERSION, Entry, Item, Record, decode_item, decode_record, encode

_T = TypeVar("_T")


class Chain:
    """The only code that creates or reads files in ``items/``."""

    def __init__(self, layout: Layout, *, durable: bool) -> None:
        self._layout = layout
        self._durable = durable

    def create_item(self, item: Item, *, durable: bool | None = None) -> bool:
        """Write the item; False when its id is taken."""
        durable = self._durable if durable is None else durable
        target = self._layout.item(item.id)
        if not target.parent.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            if durable:
                atomic.sync_directory(self._layout.items)
        data = msgspec.json.format(encode(item), indent=2) + b"\n"
        return atomic.publish(self._layout.drafts, target, data, durable=durable)

    def append(self, item_id: str, number: int, record: Record) -> bool:
        """Write record `number`; False when somebody else did, whatever it says."""
        target = self._layout.record(item_id, number)
        return atomic.publish(self._layout.drafts, target, encode(record) + b"\n", durable=self._durable)

    def claim(self, item_id: str, number: int, marker: Path) -> bool:
        """Make record `number` a claim by the owner of `marker`; False when that number is taken.

        Not flushed: a power cut ends the owner too, and then a lost claim is as good as a released one.
        """
        try:
            return atomic.link_once(marker, self._layout.record(item_id, number))
        except FileNotFoundError:  # a hint for an item that does not exist
            if not marker.exists():
                raise
            return False

    def has_item(self, item_id: str) -> bool:
        return self._layout.item(item_id).exists()

    def has_record(self, item_id: str, number: int) -> bool:
        return self._layout.record(item_id, number).exists()

    def is_claim_open(self, item_id: str, number: int) -> bool:
        """True while record `number` is the last of the chain."""
        return self.has_record(item_id, number) and not self.has_record(item_id, number + 1)

    def read(self, item_id: str) -> Entry | None:
        """Return the item with its whole chain, None when there is no such item. Raises Unreadable."""
        item = self.read_item(item_id)
        return None if item is None else Entry(item, self.read_records(item_id))

    def read_item(self, item_id: str) -> Item | None:
        path = self._layout.item(item_id)
        data = atomic.read_file(path)
        if data is None:
            return None
        item = _decode(path, data, decode_item)
        if item.version > FORMAT_VERSION:
            raise Unreadable(path, f"was written by a newer parallel-loop (format {item.version}); install that one")
        if item.id != item_id:
            raise Unreadable(path, f"says that it is the item {item.id!r}")
        return item

    def read_records(self, item_id: str, known: tuple[Record, ...] = ()) -> tuple[Record, ...]:
        """Return the chain; `known` is its beginning if that was read before (it cannot have changed)."""
        records = list(known)
        while True:
            path = self._layout.record(item_id, len(records) + 1)
            data = atomic.read_file(path)
            if data is None:
                return tuple(records)
            records.append(_decode(path, data, decode_record))


def _decode(path: Path, data: bytes, decode: Callable[[bytes], _T]) -> _T:
    try:
        return decode(data)
    except msgspec.MsgspecError as error:
        raise Unreadable(path, f"is damaged or foreign ({error})") from error
    except RecursionError as error:
        raise Unreadable(path, "is damaged or foreign (nested too deeply)") from error
