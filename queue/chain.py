"""Items and their chains as files: each is created once, by a hard link, and never changed.

Guarantees: of all processes that append record n to an item, exactly one succeeds; the others are told.
A record that can be seen is complete. A symbolic link in place of a file is not followed, and a file that
is not ours is neither changed nor removed.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from . import atomic
from .atomic import StrPath, Unreadable
from .hints import remove
from .ids import is_id
from .layout import Layout
from .packs import Packs
from .records import FORMAT_VERSION, TAKABLE_AFTER, Entry, Item, Record, decode_item, decode_record, encode

_T = TypeVar("_T")
_SHOWN = 120  # characters of a text that is not ours
_MOST_LINKS = 10_000  # names of one file; ext4 allows 65,000


class Chain:
    """The only code that creates or reads files in ``items/``."""

    def __init__(self, layout: Layout, *, durable: bool) -> None:
        self._layout = layout
        self._durable = durable
        self._packs = Packs(layout)
        self._flushed_folders: set[str] = set()

    def create_item(self, item: Item) -> bool:
        """Write the item; False when its id is taken."""
        target = self._layout.item(item.id)
        folder = os.path.dirname(target)  # noqa: PTH120 (text, see Layout)
        self._layout.require_own_folder(item.id)
        if folder not in self._flushed_folders:
            _make_folder(folder)
            if self._durable:  # also when it was there: whoever made it may have been killed before flushing its name
                atomic.sync_directory(self._layout.items)
                self._flushed_folders.add(folder)
        return atomic.publish(self._layout.drafts, target, _encode_item(item), durable=self._durable)

    def create_items(self, items: Iterable[Item]) -> None:
        """Write those of `items` that are not there, and flush them together: far quicker than each alone.

        None is given its name before the bytes of all are flushed. A power cut in between would leave names of
        empty files, which nobody could replace.
        """
        drafts: list[tuple[str, str]] = []
        try:
            for item in items:
                if not self.has_item(item.id):
                    target = self._layout.item(item.id)
                    self._layout.require_own_folder(item.id)
                    _make_folder(os.path.dirname(target))  # noqa: PTH120
                    drafts.append((atomic.write_private(self._layout.drafts, _encode_item(item)), target))
            self._flush_everything()
            for draft, target in drafts:
                atomic.link_once(draft, target)
        finally:
            for draft, _ in drafts:
                atomic.discard(draft)
        self._flush_everything()

    def flush_names(self, item_ids: Iterable[str]) -> None:
        """Make items that were seen certain: whoever added them may have been killed before flushing their names."""
        if self._durable:
            for folder in {os.path.dirname(self._layout.item(item_id)) for item_id in item_ids}:  # noqa: PTH120
                atomic.sync_directory(folder)

    def _flush_everything(self) -> None:
        if self._durable:
            atomic.sync_everything()

    def append(self, item_id: str, number: int, record: Record, files: LastRecord | None = None) -> bool:
        """Append record `number`; False when somebody else did, whatever it says, or the item is there no more.

        `files` spares a new file where the caller's last record said the same. Raises msgspec.ValidationError for
        a record that nobody could read again.
        """
        target = self._layout.record(item_id, number)
        if files is None:
            data = _encoded(record)
            won = atomic.publish(self._layout.drafts, target, data, durable=self._durable)
        else:
            won = atomic.link_once(files.file_of(record), target)
            if won and self._durable:
                atomic.sync_directory(os.path.dirname(target))  # noqa: PTH120 (text, see Layout)
        return won and (atomic.exists(self._layout.item(item_id)) or self._was_packed(item_id, number, record, target))

    def claim(self, item_id: str, number: int, marker: str) -> bool:
        """Make record `number` a claim by the owner of `marker`; False when that number is taken.

        Not flushed: a power cut ends the owner too, and then a lost claim is as good as a released one. The caller
        reads the item next; when there is none any more, it calls `withdraw`.
        """
        record = self._layout.record(item_id, number)
        try:
            if atomic.link_new(marker, record):
                return True
            # It may be the same marker's link of long ago, which a hint now leads to again.
            return atomic.is_same_file(marker, record) and not self.has_record(item_id, number + 1)
        except FileNotFoundError:  # a hint for an item that does not exist
            if not os.path.lexists(marker):
                raise
            return False

    def _was_packed(self, item_id: str, number: int, record: Record, path: str) -> bool:
        """Tell whether the record that was just made is in the item's pack; if not, withdraw it.

        The item is there no more. Tidying took it away either before, and the number was free again, or since then.
        """
        remove(path)
        try:
            packed = self._packs.find(item_id)
        except Unreadable:  # it may be in there; nobody can tell
            return False
        return packed is not None and packed.records[number - 1 : number] == (record,)

    def withdraw(self, item_id: str, number: int) -> None:
        """Remove a claim that was just made on an item that is there no more."""
        remove(self._layout.record(item_id, number))

    def has_item(self, item_id: str) -> bool:
        """Tell whether that id is taken, by an item of whatever state, as far as the packs can be read."""
        if not is_id(item_id) or atomic.exists(self._layout.item(item_id)):
            return is_id(item_id)
        try:
            return self._packs.find(item_id) is not None
        except Unreadable:  # a survey names it; to refuse all new items would be worse than an id that is used again
            return False

    def has_own_files(self, item_id: str) -> bool:
        """Tell whether the item is there, and in no pack yet."""
        return atomic.exists(self._layout.item(item_id))

    def is_done(self, item_id: str) -> bool:
        """Tell whether the item is done; one that cannot be read is not."""
        try:
            entry = self.read(item_id)
        except Unreadable:
            return False
        return entry is not None and entry.last_is("done")

    def has_record(self, item_id: str, number: int) -> bool:
        """True when that number is taken, if only by a foreign file: a link cannot be made there."""
        return os.path.lexists(self._layout.record(item_id, number))

    def is_claim_open(self, item_id: str, number: int, owner: str = "") -> bool:
        """True while record `number` is the last of the item's chain, and a claim by `owner` where one is named.

        What is left of a packed one is no claim.
        """
        if not self.has_record(item_id, number) or not self.is_ours(item_id, number):
            return False
        try:
            record = self._read_record(item_id, number) if owner else None
        except Unreadable:
            return True
        return record is None or record.worker is None or record.worker.rpartition(".")[0] == owner

    def is_ours(self, item_id: str, number: int) -> bool:
        """True while nothing follows record `number`, which the caller made; tidying takes all records away at once."""
        return not self.has_record(item_id, number + 1) and atomic.exists(self._layout.item(item_id))

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
        """Return the item with its whole chain, None when there is no such item, whatever the text.

        Raises Unreadable.
        """
        if not is_id(item_id):
            return None
        return self.read_own_files(item_id, known) or self._packs.find(item_id)

    def read_own_files(self, item_id: str, known: tuple[Record, ...] = ()) -> Entry | None:
        """Return the item from files of its own; None when it has none, as when it was packed. Raises Unreadable."""
        item = self.read_named_item(item_id)
        if item is None:
            return None
        entry = Entry(item, self.read_records(item_id, known))
        if entry.last_is("done") or atomic.exists(self._layout.item(item_id)):
            return entry
        return None  # it was packed while its records were read, and some were gone by then

    def read_named_item(self, item_id: str) -> Item | None:
        """Do the same for an id that stood in a file's name, and so leads nowhere else."""
        path = self._layout.item(item_id)
        data = atomic.read_file(path)
        if data is None:
            return None
        item = _decode(path, data, decode_item)
        if item.id != item_id:
            raise Unreadable(path, f"says that it is the item {item.id[:_SHOWN]!r}")
        check_readable(path, item)
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


class LastRecord:
    """The file of the last record of one taker: an equal record becomes a further name of it, not a new file."""

    def __init__(self, layout: Layout, *, durable: bool) -> None:
        self._drafts = layout.drafts
        self._durable = durable
        self._record: Record | None = None
        self._path = ""
        self._links = 0

    def file_of(self, record: Record) -> str:
        """Return a private file that holds `record`. Raises msgspec.ValidationError when nobody could read it."""
        if record != self._record or self._links >= _MOST_LINKS:
            data = _encoded(record)
            self.close()
            self._path = atomic.write_private(self._drafts, data, durable=self._durable)
            self._record = record
            self._links = 0
        self._links += 1
        return self._path

    def close(self) -> None:
        """Remove the private name of the file."""
        if self._record is not None:
            remove(self._path)
        self._record = None


def check_readable(path: StrPath, item: Item) -> None:
    """Raise Unreadable for an item that this program would never have written, or does not know enough about."""
    if item.version > FORMAT_VERSION:
        raise Unreadable(path, f"was written by a newer parallel-loop (format {item.version}); install that one")
    for text in (item.id, *item.after):  # each is a part of paths
        if not is_id(text):
            raise Unreadable(path, f"is damaged or foreign ({text[:_SHOWN]!r} is no id)")


def _make_folder(folder: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(folder)  # noqa: PTH102 (text, see Layout)


def _encode_item(item: Item) -> bytes:
    return msgspec.json.format(encode(item), indent=2) + b"\n"


def _encoded(record: Record) -> bytes:
    """Return what stands in the record's file. Raises msgspec.ValidationError for what nobody could read again."""
    data = _encode_whatever_the_text(record) + b"\n"
    decode_record(data)
    return data


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
