"""Offering: choosing the buckets of ready hints and writing them, one or many at a time."""

from __future__ import annotations

import bisect
import errno
import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from . import buckets
from .atomic import LINK, Unreadable, own_names
from .hint import SEPARATOR, Hint
from .layout import Layout

BUCKET_SIZE = 100  # lines in one bucket: reading it again after every ring stays cheap
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
        self._hints: list[Hint] = []

    def add(self, hint: Hint) -> None:
        self._hints.append(hint)

    def write(self) -> None:
        """Make the hints, all that can be made. Raises the first OSError for what cannot; `heal` makes up for that."""
        problem: OSError | None = None
        for priority, hints in itertools.groupby(sorted(self._hints), lambda hint: hint.priority):
            folder = f"{self._ready}/{priority}"
            for bucket, together in _placed(folder, hints).items():
                try:
                    _append(folder, bucket, together)
                except OSError as error:
                    problem = problem or error
        if problem is not None:
            raise problem


def _placed(folder: str, hints: Iterable[Hint]) -> dict[str, list[Hint]]:
    """Choose the buckets that keep the order by age, for `hints` in that order: each goes into the last that begins
    no later than it.

    A full one is followed by a new one only for what is younger than all in it, so that each bucket ends before the
    next begins; an item that comes back goes to where its age belongs.
    """
    listed = own_names(folder)
    tails: dict[str, _Tail] = {}
    placed: dict[str, list[Hint]] = {}
    for hint in hints:
        index = bisect.bisect_right(listed, hint.age)
        bucket = listed[index - 1] if index else hint.age
        tail = tails[bucket] if bucket in tails else _read_tail(f"{folder}/{bucket}")
        if not index or (tail.fill >= BUCKET_SIZE and hint.age > tail.youngest):
            bucket, tail = hint.age, _Tail(0, "")
            listed.insert(index, bucket)
        tails[bucket] = _Tail(tail.fill + 1, max(hint.age, tail.youngest))
        placed.setdefault(bucket, []).append(hint)
    return placed


def _read_tail(bucket: str) -> _Tail:
    """Look how full a bucket is, with the lines that are struck; what is none of ours counts as full."""
    try:
        text = buckets.read_text(bucket)
    except FileNotFoundError:
        return _Tail(0, "")
    except (OSError, Unreadable):
        return _FULL
    if buckets.has_other_lines(text):
        return _FULL
    ages = [line.split(SEPARATOR, 2)[1] for line in text.split("\n") if line]
    return _Tail(len(ages), max(ages, default=""))


def _append(folder: str, bucket: str, hints: Sequence[Hint]) -> None:
    """Write the hints into that bucket, or into one beside it when that is not to be had. Raises OSError."""
    if os.path.islink(folder):  # noqa: PTH114 (text, see Layout)
        raise FileExistsError(errno.EEXIST, LINK, folder)
    for number in range(_MOST_TRIES):
        name = bucket if number < _MOST_TRIES // 2 else f"{hints[0].age}+{number}"
        try:
            if buckets.append(f"{folder}/{name}", [hint.name for hint in hints]):
                return
        except FileNotFoundError:
            Path(folder).mkdir(parents=True, exist_ok=True)
    raise FileExistsError(errno.EEXIST, "cannot be written to, nor any beside it", f"{folder}/{bucket}")
