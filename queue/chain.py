"""Items and their chains as files: each is created once, by a hard link, and never changed.

Guarantees: of all processes that append record n to an item, exactly one succeeds; the others are told.
A record that can be seen is complete. A symbolic link in place of a file is not followed, and a file that
is not ours is neither changed nor removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from . import atomic
from .atomic import Unreadable
from .ids import is_id
from .layout import Layout
from .records import FORMAT_VERSION, TAKABLE_AFTER, Entry, Item, Record, decode_item, decode_record, encode

_T = TypeVar("_T")


class Chain:
    """The only code that creates or reads files in ``items/``."""

    def __init__(self, layout: Layout, *, durable: bool) -> None:
        self._layout = layout
        self._durable = durable
        self._flushed_folders: set[str] = set()

    def create_item(self, item: Item, *, durable: bool | None = None) -> bool:
        """Write the item; False when its id is taken."""
        durable = self._durable if durable is None else durable
        target = self._layout.item(item.id)
        self._make_folder(os.path.dirname(target), durable=durable)  # noqa: PTH120 (text, see Layout)
        data = msgspec.json.format(encode(item), indent=2) + b"\n"
        return atomic.publish(self._layout.drafts, target, data, durable=durable)

    def _make_folder(self, folder: str, *, durable: bool) -> None:
        if folder in self._flushed_folders:
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(folder)  # noqa: PTH102
        if durable:  # also when it was there: whoever made it may have been killed before flushing its name
            atomic.sync_directory(self._layout.items)
            self._flushed_folders.add(folder)

    def append(self, item_id: str, number: int, record: Record) -> bool:
        """Write record `number`; False when somebody else did, whatever it says.

        Raises msgspec.ValidationError for a record that nobody could read again.
        """
        data = _encode_whatever_the_text(record)
        decode_record(data)
        return atomic.publish(
            self._layout.drafts, self._layout.record(item_id, number), data + b"\n", durable=self._durable
        )

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
        return is_id(item_id) and os.path.lexists(self._layout.item(item_id))

    def has_record(self, item_id: str, number: int) -> bool:
        """True when that number is taken, if only by a foreign file: a link cannot be made there."""
        return os.path.lexists(self._layout.record(item_id, number))

    def is_claim_open(self, item_id: str, number: int) -> bool:
        """True while record `number` is the last of the chain."""
        return self.has_record(item_id, number) and not self.has_record(item_id, number + 1)

    def allows_claim(self, item_id: str, number: int) -> bool:
        """Tell whether a claim may become record `number`, as far as the record before it can tell."""
        if number == 1:
            return True
        try:
            before = self._read_record(item_id, number - 1)
        except Unreadable:
            return False
        return before is not None and before.kind in TAKABLE_AFTER

    def read(self, item_id: str, known: tuple[Record, ...] = ()) -> Entry | None:
        """Return the item with its whole chain, None when there is no such item. Raises Unreadable."""
        item = self.read_item(item_id)
        return None if item is None else Entry(item, self.read_records(item_id, known))

    def read_item(self, item_id: str) -> Item | None:
        """Return the item, None when there is none, whatever the text. Raises Unreadable."""
        if not is_id(item_id):
            return None
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
        while (record := self._read_record(item_id, len(records) + 1)) is not None:
            records.append(record)
        return tuple(records)

    def _read_record(self, item_id: str, number: int) -> Record | None:
        path = self._layout.record(item_id, number)
        data = atomic.read_file(path)
        return None if data is None else _decode(path, data, decode_record)


def _encode_whatever_the_text(record: Record) -> bytes:
    """Encode a record; text that is not Unicode (a file name in a message) must not lose an outcome."""
    try:
        return encode(record)
    except UnicodeEncodeError:
        texts = {name: value for name, value in msgspec.structs.asdict(record).items() if isinstance(value, str)}
        plain = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
        return encode(msgspec.structs.replace(record, **plain))


def _decode(path: str, data: bytes, decode: Callable[[bytes], _T]) -> _T:
    try:
        return decode(data)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Unreadable(path, f"is damaged or foreign ({error})") from error
    except RecursionError as error:
        raise Unreadable(path, "is damaged or foreign (nested too deeply)") from error
