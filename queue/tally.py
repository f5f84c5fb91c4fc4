"""What a survey remembers of items that are done: when, and how long they took; of the latest a little more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from .atomic import Unreadable
from .folders import Damage
from .packs import Header, entries_of, lines_of
from .records import Entry

_RECENT = 40


class Tally:
    """The done items of one queue: those in files of their own one by one, those in packs as their headers say."""

    def __init__(self) -> None:
        self._own: dict[str, tuple[str, float | None]] = {}  # id: when, seconds
        self._headers: dict[Path, Header] = {}
        self._packed_times: dict[Path, list[str]] = {}
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
        """Return how many were done at `limit` or later, as far as the packs can be read."""
        for path in self._headers.keys() - self._packed_times.keys():
            times: list[str] = []
            self._packed_times[path] = times
            if self._headers[path].latest >= limit:
                with self._noting_damage(path):
                    times.extend(entry.records[-1].at for entry in entries_of(path) if entry.records[-1].at >= limit)
        packed = (at for path in self._headers for at in self._packed_times[path])
        own = (at for at, _ in self._own.values())
        return sum(at >= limit for times in (packed, own) for at in times)

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
