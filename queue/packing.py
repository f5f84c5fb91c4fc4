"""Making packs: the steps by which finished items move from files of their own into a pack.

Guarantees: each step may be the last before a kill or a power cut, and `finish_packing` does the rest. At every
instant a finished item is in its own files, in a pack, or in both, and it is never takable again.

How: the pack gets its name, complete and flushed; then the file of every item in it is removed, and that is flushed;
only then their records. So a number becomes free only when the item is gone, and whoever links a record looks for
the item afterwards and withdraws: a stale hint, or a worker that wakes up late, can do nothing.

Assumes: the caller holds the lock of adding.
"""

from __future__ import annotations

import contextlib
import heapq
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from . import atomic
from .atomic import Unreadable
from .hint import file_time
from .hints import remove
from .layout import Layout
from .packs import SUFFIX, UNFINISHED, Header, Packs, entries_of, is_pack, last_minutes, line_of, lines_of, minute_of
from .records import Entry, encode


def pack(layout: Layout, entries: Iterable[Entry], now: str, *, durable: bool) -> None:
    """Move `entries`, all of them done and in files of their own, into a new pack."""
    entries = sorted(entries, key=lambda entry: entry.item.id)
    seconds = [record.seconds for entry in entries for record in entry.records[-1:] if record.seconds is not None]
    latest = max(record.at for entry in entries for record in entry.records[-1:])
    by_minute = Counter(minute_of(record.at) for entry in entries for record in entry.records[-1:])
    header = Header(
        items=len(entries),
        latest=latest,
        seconds=sum(seconds),
        timed=len(seconds),
        by_minute=last_minutes(latest, by_minute),
    )
    path = _new_path(layout, now)
    atomic.publish(layout.drafts, path.with_suffix(UNFINISHED), b"", durable=durable)
    _write(layout, path, header, map(line_of, entries), durable=durable)
    _remove_files(layout, entries, durable=durable)
    remove(path.with_suffix(UNFINISHED))


def merge(layout: Layout, packs: Mapping[Path, Header], now: str, *, durable: bool) -> None:
    """Put all of `packs` into one."""
    headers = packs.values()
    latest = max(header.latest for header in headers)
    by_minute = sum((Counter(header.by_minute) for header in headers), Counter[str]())
    header = Header(
        items=sum(header.items for header in headers),
        latest=latest,
        seconds=sum(header.seconds for header in headers),
        timed=sum(header.timed for header in headers),
        by_minute=last_minutes(latest, by_minute),
        replaces=tuple(path.name for path in packs),
    )
    lines = (line for _, line in heapq.merge(*map(lines_of, packs), key=lambda pair: pair[0]))
    _write(layout, _new_path(layout, now), header, lines, durable=durable)
    for path in packs:
        remove(path)


def finish_packing(layout: Layout, *, durable: bool) -> None:
    """Do what a killed one has left to do. What is no pack of ours is left alone."""
    names = atomic.own_names(layout.packs)
    for name in names:
        path = (layout.packs / name).with_suffix(SUFFIX)
        with contextlib.suppress(Unreadable):
            if name.endswith(UNFINISHED) and is_pack(path.name):
                if atomic.read_file(layout.packs / name, 0) is None:
                    continue
                with contextlib.suppress(FileNotFoundError):  # killed before the pack had its name
                    _remove_files(layout, list(entries_of(path)), durable=durable)
                remove(layout.packs / name)
    for replaced in Packs(layout).replaced(names):
        remove(replaced)


def _new_path(layout: Layout, now: str) -> Path:
    return layout.packs / f"{file_time(now)}-{os.urandom(4).hex()}{SUFFIX}"


def _write(layout: Layout, path: Path, header: Header, lines: Iterable[bytes], *, durable: bool) -> None:
    def parts() -> Iterator[bytes]:
        yield encode(header) + b"\n"
        yield from lines

    atomic.publish(layout.drafts, path, parts(), durable=durable)


def _remove_files(layout: Layout, entries: Iterable[Entry], *, durable: bool) -> None:
    """Remove the files of packed items, as far as they are there."""
    by_folder: dict[str, list[Entry]] = {}
    for entry in entries:
        by_folder.setdefault(os.path.dirname(layout.item(entry.item.id)), []).append(entry)  # noqa: PTH120
    for folder, packed in by_folder.items():
        for entry in packed:
            remove(layout.item(entry.item.id))
        if durable:
            atomic.sync_directory(folder)
        for entry in packed:
            for number in range(1, len(entry.records) + 1):
                remove(layout.record(entry.item.id, number))
            _remove_notes_of_dependents(f"{layout.dependents}/{entry.item.id}")
        if durable:  # before it is forgotten that there was something to remove
            atomic.sync_directory(folder)


def _remove_notes_of_dependents(folder: str) -> None:
    names = atomic.own_names(folder)
    for name in names:
        remove(f"{folder}/{name}")
    if names:
        with contextlib.suppress(OSError):  # somebody waits for the item just now, and will see that it is done
            os.rmdir(folder)  # noqa: PTH106 (text, see Layout)
