"""Offering: choosing the buckets of ready hints and writing them, one or many at a time."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import buckets
from .atomic import Unreadable, own_names
from .hint import SEPARATOR, Hint
from .layout import Layout

BUCKET_SIZE = 100  # lines in one bucket: reading it again after every ring stays cheap
_PARTS = len(Hint._fields)
_MOST_TRIES = 20  # somebody would have to remove the bucket between two calls every single time


class _Tail(NamedTuple):
    """A bucket as far as it is known: how many lines it has, and the age of the youngest in it."""

    fill: int
    youngest: str


_FULL = _Tail(BUCKET_SIZE, "")


class Offering:
    """Hints that are written together: each priority is listed once, each bucket read once and written once."""

    def __init__(self, layout: Layout) -> None:
        self._ready = str(layout.ready)
        self._listed: dict[str, list[str]] = {}
        self._tails: dict[str, _Tail] = {}
        self._hints: dict[tuple[str, str], list[Hint]] = {}

    def add(self, hint: Hint) -> None:
        """Choose the bucket that keeps the order by age: the last that begins no later than the hint.

        A full one is followed by a new one only for what is younger than all in it, so that each bucket
        ends before the next begins; an item that comes back goes to where its age belongs.
        """
        folder = f"{self._ready}/{hint.priority}"
        if folder not in self._listed:
            self._listed[folder] = own_names(folder)
        listed = self._listed[folder]
        index = bisect.bisect_right(listed, hint.age)
        bucket = listed[index - 1] if index else hint.age
        tail = self._tail_of(f"{folder}/{bucket}")
        if not index or (tail.fill >= BUCKET_SIZE and hint.age > tail.youngest):
            bucket, tail = hint.age, _Tail(0, "")
            listed.insert(index, bucket)
        self._tails[f"{folder}/{bucket}"] = _Tail(tail.fill + 1, max(hint.age, tail.youngest))
        self._hints.setdefault((folder, bucket), []).append(hint)

    def _tail_of(self, bucket: str) -> _Tail:
        return self._tails[bucket] if bucket in self._tails else _read_tail(bucket)

    def write(self) -> None:
        """Make the hints; not where the disk is full or a directory something else, which `heal` makes up for."""
        for (folder, bucket), hints in self._hints.items():
            _append(folder, bucket, hints)


def _read_tail(bucket: str) -> _Tail:
    """Look how full a bucket is, with the lines that are struck; what is none of ours counts as full."""
    try:
        lines = [line.split(SEPARATOR) for line in buckets.read_text(bucket).splitlines()]
    except FileNotFoundError:
        return _Tail(0, "")
    except Unreadable:
        return _FULL
    if any(len(line) != _PARTS for line in lines):
        return _FULL
    return _Tail(len(lines), max((line[1] for line in lines), default=""))


def _append(folder: str, bucket: str, hints: Sequence[Hint]) -> None:
    """Write the hints into that bucket, or into one beside it when that is not to be had."""
    names = [hint.name for hint in hints]
    for number in range(_MOST_TRIES):
        name = bucket if number < _MOST_TRIES // 2 else f"{hints[0].age}+{number}"
        try:
            if buckets.append(f"{folder}/{name}", names):
                return
        except FileNotFoundError:
            Path(folder).mkdir(parents=True, exist_ok=True)
