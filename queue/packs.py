"""Packs: many finished items in one file each, with all of their history, sorted by id.

    packs/<time>-<token>.jsonl         a header, then one line for each item: the item and its records
    packs/<time>-<token>.unfinished    there while the items' own files are still being removed

Guarantees: a pack is complete when it has its name, and never changes. An item in a pack is done, and its id is
never free again. Looking one up reads a few dozen lines, whatever the size.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from .atomic import Unreadable, open_to_read, own_names
from .clock import later
from .ids import is_id
from .layout import Layout
from .records import FORMAT_VERSION, Entry, Item, Record, encode

SUFFIX = ".jsonl"
_MINUTES = 120  # twice what a status looks back
UNFINISHED = ".unfinished"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z-[0-9a-f]{8}\.jsonl")
_LONGEST_HEADER = 1024 * 1024  # the names of thousands of packs that were merged
_LONGEST_LINE = 64 * 1024 * 1024  # far above the largest item with its history


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a pack, for those who only count. `seconds` is the sum over the `timed` items that have a duration.

    `by_minute` tells how many were done in each minute of the last ones before `latest`.
    """

    items: int
    latest: str  # when the last of them was done
    seconds: float
    timed: int
    by_minute: dict[str, int] = {}
    replaces: tuple[str, ...] = ()  # packs that were merged into this one and are about to be removed
    version: int = FORMAT_VERSION


def last_minutes(latest: str, by_minute: Mapping[str, int]) -> dict[str, int]:
    """Return those of the counts that a header keeps: nobody asks how many were done before."""
    earliest = minute_of(later(latest, -_MINUTES * 60))
    return {minute: count for minute, count in sorted(by_minute.items()) if minute >= earliest}


def minute_of(time: str) -> str:
    """Return the minute of a recorded time."""
    return time[:16]


class Packed(msgspec.Struct, frozen=True):
    """One line of a pack."""

    item: Item
    records: tuple[Record, ...]


class _Id(msgspec.Struct, frozen=True):
    id: str


class _Named(msgspec.Struct, frozen=True):
    item: _Id


_decode_header = msgspec.json.Decoder(Header).decode
_decode_packed = msgspec.json.Decoder(Packed).decode
_decode_named = msgspec.json.Decoder(_Named).decode


class Packs:
    """The packs of one queue, as they are on disk at each call."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.packs

    def headers(self) -> dict[Path, Header]:
        """Return the packs with their headers; not those that were merged into another, or cannot be read."""
        return self.look()[0]

    def look(self) -> tuple[dict[Path, Header], list[Unreadable]]:
        """Return the headers of all packs that were not merged into another, and what cannot be read."""
        while True:
            names = [name for name in own_names(self._folder) if is_pack(name)]
            found, unreadable = self._read_headers(names)
            if len(found) + len(unreadable) == len(names):
                break  # else one was merged since it was listed, and the listing lacks the pack that has its items now
        replaced = {self._folder / name for header in found.values() for name in header.replaces}
        return {path: header for path, header in found.items() if path not in replaced}, unreadable

    def replaced(self, names: list[str]) -> Iterator[Path]:
        """Yield the packs of `names` that were merged into others, all of which is there, and not removed."""
        found, _ = self._read_headers([name for name in names if is_pack(name)])
        for merged, header in found.items():
            for path in (self._folder / name for name in header.replaces):
                if path in found and path != merged and _holds_all(merged, path):
                    yield path

    def _read_headers(self, names: list[str]) -> tuple[dict[Path, Header], list[Unreadable]]:
        found: dict[Path, Header] = {}
        unreadable: list[Unreadable] = []
        for path in (self._folder / name for name in names):
            try:
                with open_pack(path) as file:
                    found[path] = read_header(path, file)
            except FileNotFoundError:
                continue  # merged since it was listed
            except Unreadable as error:
                unreadable.append(error)
        return found, unreadable

    def unfinished(self) -> set[Path]:
        """Return the packs whose items' own files may still be there."""
        names = (name for name in own_names(self._folder) if name.endswith(UNFINISHED))
        return {(self._folder / name).with_suffix(SUFFIX) for name in names}

    @contextlib.contextmanager
    def opened(self) -> Iterator[list[tuple[Path, BinaryIO]]]:
        """Open all packs that can be read: what is merged and removed from then on can be read to its end."""
        with contextlib.ExitStack() as files:
            found = None
            while found is None:
                try:
                    found = [(path, files.enter_context(open_pack(path))) for path in self.headers()]
                except FileNotFoundError:  # merged since they were listed
                    files.close()
            yield found

    def find(self, item_id: str) -> Entry | None:
        """Return a packed item with its history, None when it is in no pack.

        Raises Unreadable when it is in none that can be read, and others cannot.
        """
        while True:
            headers, unreadable = self.look()
            try:
                for path in headers:
                    try:
                        found = _find_in(path, item_id)
                    except Unreadable as error:
                        unreadable.append(error)
                        continue
                    if found is not None:
                        return found
            except FileNotFoundError:
                continue  # merged since they were listed
            if unreadable:
                raise unreadable[0]
            return None


def _holds_all(merged: Path, replaced: Path) -> bool:
    """Tell whether every line of one pack is in the other; both are in order. Nothing else lets a pack be removed."""
    try:
        lines = lines_of(merged)
        return all(line in lines for line in lines_of(replaced))
    except (FileNotFoundError, Unreadable):
        return False


def is_pack(name: str) -> bool:
    """Tell whether `name` is one that we give to a pack."""
    return _NAME.fullmatch(name) is not None


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a pack with the ids of their items, in the order of the ids. Raises Unreadable."""
    with open_pack(path) as file:
        yield from ((_id_in(path, line), line) for line in _lines_in(path, file))


def entries_of(path: Path) -> Iterator[Entry]:
    """Yield what is in a pack, in the order of the ids. Raises Unreadable, FileNotFoundError."""
    with open_pack(path) as file:
        yield from entries_in(path, file)


def entries_in(path: Path, file: BinaryIO) -> Iterator[Entry]:
    """Yield what is in a pack that was just opened. Raises Unreadable."""
    for line in _lines_in(path, file):
        _id_in(path, line)
        yield _decode(path, line)


def _lines_in(path: Path, file: BinaryIO) -> Iterator[bytes]:
    read_header(path, file)
    while line := file.readline(_LONGEST_LINE):
        yield line


def open_pack(path: Path) -> BinaryIO:
    """Open a pack for reading. Raises Unreadable for what is no file of ours, FileNotFoundError."""
    return os.fdopen(open_to_read(path), "rb")


def read_header(path: Path, file: BinaryIO) -> Header:
    """Read the first line of an open pack. Raises Unreadable."""
    try:
        header = _decode_header(file.readline(_LONGEST_HEADER))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(path, f"is damaged or foreign ({error})") from error
    if header.version > FORMAT_VERSION:
        raise Unreadable(path, f"was written by a newer parallel-loop (format {header.version}); install that one")
    return header


def line_of(entry: Entry) -> bytes:
    """Return the line of a pack that holds `entry`."""
    return encode(Packed(entry.item, entry.records)) + b"\n"


def _find_in(path: Path, item_id: str) -> Entry | None:
    """Search by halves among the bytes: every line is found from any byte before it."""
    with open_pack(path) as file:
        read_header(path, file)
        low, high = file.tell(), file.seek(0, 2)
        while low < high:
            middle = (low + high) // 2
            file.seek(max(low, middle - 1))
            if middle > low:
                file.readline(_LONGEST_LINE)
            start = file.tell()
            if start >= high:
                high = middle
                continue
            line = file.readline(_LONGEST_LINE)
            found = _id_in(path, line)
            if found == item_id:
                return _decode(path, line)
            if found < item_id:
                low = file.tell()
            else:
                high = middle
    return None


def _id_in(path: Path, line: bytes) -> str:
    try:
        item_id = _decode_named(line).item.id
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(path, f"is damaged ({error})") from error
    if not is_id(item_id):  # it becomes a part of paths
        raise Unreadable(path, "is damaged (it holds what is no id)")
    return item_id


def _decode(path: Path, line: bytes) -> Entry:
    try:
        packed = _decode_packed(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(path, f"is damaged ({error})") from error
    entry = Entry(packed.item, packed.records)
    if not entry.last_is("done"):
        raise Unreadable(path, f"is damaged ({packed.item.id} is in it and is not done)")
    return entry
