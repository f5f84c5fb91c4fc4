"""Packs: many finished items in one file each, with all of their history, sorted by id.

    packs/<time>-<token>.jsonl         a header, then one line for each item: the item and its records
    packs/<time>-<token>.unfinished    there while the items' own files are still being removed

Guarantees: a pack is complete when it has its name, and never changes. An item in a pack is done, and its id is
never free again. Looking one up reads a few dozen lines, whatever the size.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from .atomic import Unreadable
from .hints import list_names
from .layout import Layout
from .records import FORMAT_VERSION, Entry, Item, Record, encode

SUFFIX = ".jsonl"
UNFINISHED = ".unfinished"
_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d{6}\.\d{6}Z-[0-9a-f]{8}\.jsonl")
_LONGEST_LINE = 64 * 1024 * 1024  # far above the largest item with its history


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a pack, for those who only count. `seconds` is the sum over the `timed` items that have a duration."""

    items: int
    latest: str  # when the last of them was done
    seconds: float
    timed: int
    replaces: tuple[str, ...] = ()  # packs that were merged into this one and are about to be removed
    version: int = FORMAT_VERSION


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
        """Return the packs with their headers; not those that were merged into another. Raises Unreadable."""
        names = list_names(self._folder)
        found = self._all_headers(names)
        replaced = self._replaced(found)
        return {path: header for path, header in found.items() if path not in replaced}

    def replaced(self, names: list[str]) -> set[Path]:
        """Return the packs that were merged into others and could not be removed. Raises Unreadable."""
        return self._replaced(self._all_headers(names))

    def _replaced(self, headers: dict[Path, Header]) -> set[Path]:
        return {self._folder / name for header in headers.values() for name in header.replaces if is_pack(name)}

    def _all_headers(self, names: list[str]) -> dict[Path, Header]:
        found: dict[Path, Header] = {}
        for path in (self._folder / name for name in names if is_pack(name)):
            with contextlib.suppress(FileNotFoundError), open_pack(path) as file:  # merged since it was listed
                found[path] = read_header(path, file)
        return found

    def unfinished(self) -> set[Path]:
        """Return the packs whose items' own files may still be there."""
        names = (name for name in list_names(self._folder) if name.endswith(UNFINISHED))
        return {(self._folder / name).with_suffix(SUFFIX) for name in names}

    def find(self, item_id: str) -> Entry | None:
        """Return a packed item with its history, None when it is in no pack. Raises Unreadable."""
        while True:
            try:
                found = (_find_in(path, item_id) for path in self.headers())
                return next((entry for entry in found if entry is not None), None)
            except FileNotFoundError:
                continue  # merged since they were listed


def is_pack(name: str) -> bool:
    """Tell whether `name` is one that we give to a pack."""
    return _NAME.fullmatch(name) is not None


def lines_of(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a pack with the ids of their items, in the order of the ids. Raises Unreadable."""
    with open_pack(path) as file:
        read_header(path, file)
        while line := file.readline(_LONGEST_LINE):
            yield _id_in(path, line), line


def entries_of(path: Path) -> Iterator[Entry]:
    """Yield what is in a pack, in the order of the ids. Raises Unreadable, FileNotFoundError."""
    return (_decode(path, line) for _, line in lines_of(path))


def open_pack(path: Path) -> BinaryIO:
    """Open a pack for reading. Raises Unreadable for what is no file of ours, FileNotFoundError."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise Unreadable(path, "is not a regular file")
    try:
        return path.open("rb")
    except PermissionError as error:
        raise Unreadable(path, f"cannot be read ({error.strerror})") from error


def read_header(path: Path, file: BinaryIO) -> Header:
    """Read the first line of an open pack. Raises Unreadable."""
    try:
        header = _decode_header(file.readline(_LONGEST_LINE))
    except (msgspec.MsgspecError, UnicodeError) as error:
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
        return _decode_named(line).item.id
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Unreadable(path, f"is damaged ({error})") from error


def _decode(path: Path, line: bytes) -> Entry:
    try:
        packed = _decode_packed(line)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(path, f"is damaged ({error})") from error
    return Entry(packed.item, packed.records)
