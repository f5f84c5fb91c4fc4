"""What a survey remembers of items that are done: when, and how long they took; of the latest a little more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .atomic import Unreadable
from .folders import Damage
from .packs import Header, lines_of, minute_of
from .records import Entry

_RECENT = 40


class Tally:
    """The done items of one queue: those in files of their own one by one, those in packs as their headers say."""

    def __init__(self) -> None:
        self._own: dict[str, tuple[str, float | None]] = {}  # id: when, seconds
        self._headers: dict[Path, Header] = {}
        self._twice = 0
        self._damage: dict[Path, Damage] = {}
        self.recent: list[Entry] = []

    def __contains__(self, item_id: str) -> bool:
        return item_id in self._own

    def __len__(self) -> int:
        return len(self._own) + self.packed - self._twice

    @property
    def packed(self) -> int:
        """How many are in packs."""
        return sum(header.items for header in self._headers.values())

    def add(self, entry: Entry) -> None:
        """Count an item whose last record says that it is done."""
        last = entry.records[-1]
        self._own[entry.item.id] = (last.at, last.seconds)
        if len(self.recent) < _RECENT or last.at > self.recent[-1].records[-1].at:
            self.recent = sorted([*self.recent, entry], key=lambda entry: entry.records[-1].at, reverse=True)[:_RECENT]

    def drop(self, item_id: str) -> None:
        """Count an item no more whose own files are gone."""
        self._own.pop(item_id, None)

    def see_packs(self, headers: dict[Path, Header], unfinished: set[Path]) -> None:
        """Count what is in packs; items of `unfinished` ones may have files of their own still."""
        self._headers = headers
        self._damage = {path: damage for path, damage in self._damage.items() if path in headers}
        self._twice = 0
        for path in unfinished & headers.keys():
            with self._noting_damage(path):
                self._twice += sum(item_id in self._own for item_id, _ in lines_of(path))

    def done_since(self, limit: str) -> int:
        """Return how many were done at `limit` or later, in packs to the minute; `limit` is an hour ago or so."""
        first = minute_of(limit)
        packed = sum(
            count for header in self._headers.values() for minute, count in header.by_minute.items() if minute >= first
        )
        return packed + sum(at >= limit for at, _ in self._own.values())

    @contextlib.contextmanager
    def _noting_damage(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            pass  # merged: the next look sees the new one
        except Unreadable as error:
            self._damage[path] = Damage(str(path), error.problem)

    @property
    def damage(self) -> list[Damage]:
        """The packs that were found damaged in the middle."""
        return list(self._damage.values())

    def mean_seconds(self) -> float | None:
        """Return how long one took on average, of those of which it is known."""
        own = [seconds for _, seconds in self._own.values() if seconds is not None]
        timed = len(own) + sum(header.timed for header in self._headers.values())
        return (sum(own) + sum(header.seconds for header in self._headers.values())) / timed if timed else None
