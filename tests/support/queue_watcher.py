"""A watcher of a queue directory, while others work in it: what must hold at every instant, told from the files alone.

Shares no code with the queue. Every look compares with the looks before: what has been seen stays as it was.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

Content = dict[str, Any]
FOLLOWS: dict[str | None, set[str]] = {
    None: {"claimed", "cancelled"},
    "claimed": {"done", "failed", "released", "waiting", "landing", "cancelled"},
    "landing": {"done", "failed", "released", "cancelled"},
    "waiting": {"answered", "landing", "cancelled"},
    "released": {"claimed", "retried", "cancelled"},
    "answered": {"claimed", "cancelled"},
    "retried": {"claimed", "cancelled"},
    "failed": {"retried", "cancelled"},
    "cancelled": {"retried"},
    "done": set(),
}


class _Seen(NamedTuple):
    status: tuple[int, int, int]
    data: bytes


def _names(folder: str) -> list[str]:
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found)


def _content(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return os.read(descriptor, 100_000)
    finally:
        os.close(descriptor)


class Watcher:
    """What was seen of one queue so far. `limits` tells how many claims of a role may be open at once."""

    def __init__(self, root: Path, limits: dict[str, int]) -> None:
        self._items = f"{root}/items"
        self._limits = limits
        self._seen: dict[str, _Seen] = {}
        self.items: dict[str, Content] = {}
        self.chains: dict[str, dict[int, Content]] = {}

    def look(self) -> None:
        """Look at all files; AssertionError says what must not be."""
        folders = _names(self._items) if Path(self._items).exists() else []
        found = {name: seen for folder in folders for name, seen in self._read(folder)}
        for name in sorted(self._seen.keys() | found.keys()):
            if self._seen.get(name) != found.get(name):
                self._learn(name, found.get(name))
        for item_id in sorted(self.chains):
            self._check_chain(item_id)
        self._check_limits()

    def _read(self, folder: str) -> list[tuple[str, _Seen]]:
        result = []
        for name in _names(f"{self._items}/{folder}"):
            path = f"{self._items}/{folder}/{name}"
            status, known = os.lstat(path), self._seen.get(name)
            now = (status.st_ino, status.st_size, status.st_mtime_ns)
            # As it was, most likely; `look_closely` makes sure in the end.
            result.append((name, known if known is not None and known.status == now else _Seen(now, _content(path))))
        return result

    def look_closely(self) -> None:
        """Look, and read again also what seems to be as it was."""
        self.look()
        for folder in _names(self._items):
            for name in _names(f"{self._items}/{folder}"):
                data = _content(f"{self._items}/{folder}/{name}")
                assert data == self._seen[name].data, f"{name} has changed from {self._seen[name]} to {data!r}"

    def _learn(self, name: str, found: _Seen | None) -> None:
        """Take note of a new file, which must be complete; an old one must not have changed."""
        assert found is not None, f"{name} has vanished"
        assert name not in self._seen, f"{name} has changed from {self._seen[name]} to {found}"
        try:
            content = json.loads(found.data)
        except ValueError as error:
            raise AssertionError(f"{name} can be seen and is not complete: {found.data!r}") from error
        self._seen[name] = found
        item_id, _, suffix = name.rpartition(".")
        if suffix == "json":
            assert content["id"] == item_id, f"{name} says that it is {content['id']}"
            self.items[item_id] = content
        else:
            self.chains.setdefault(item_id, {})[int(suffix)] = content

    def _check_chain(self, item_id: str) -> None:
        chain = self.chains[item_id]
        assert item_id in self.items, f"{item_id}: records without an item"
        assert sorted(chain) == list(range(1, len(chain) + 1)), f"{item_id}: numbers {sorted(chain)}"
        before: Content = {"kind": None}
        for number in range(1, len(chain) + 1):
            record = chain[number]
            kind, name = record["kind"], f"{item_id}.{number}"
            assert kind in FOLLOWS[before["kind"]], f"{name}: {kind} after {before['kind']}"
            if kind == "claimed":
                assert record["agent"], f"{name}: a claim without an owner"
                assert record["pid"], f"{name}: a claim without an owner"
                assert record["worker"], f"{name}: a claim without an owner"
            elif before["kind"] == "claimed" and kind != "cancelled":
                assert record["agent"] == before["agent"], f"{name}: {record} ends the attempt of {before['agent']}"
            before = record

    def _check_limits(self) -> None:
        for role, limit in self._limits.items():
            names = [item_id for item_id, item in self.items.items() if item.get("role") == role]
            held = [name for name in names if self.chains.get(name) and self.last(name)["kind"] == "claimed"]
            assert len(held) <= limit, f"{len(held)} claims of the role {role} are open: {held}"

    def last(self, item_id: str) -> Content:
        chain = self.chains[item_id]
        return chain[len(chain)]

    def check_recovered(self) -> None:
        """What must hold once others have recovered and done all: nothing half done, nothing held, all done once."""
        for item_id, item in self.items.items():
            batch, of, count = item["title"].rpartition(" of ")
            if of:
                together = [other for other, content in self.items.items() if content["title"] == item["title"]]
                assert len(together) == int(count), f"of {batch} only {together} were added"
            kinds = [record["kind"] for _, record in sorted(self.chains.get(item_id, {}).items())]
            assert kinds.count("done") == 1, f"{item_id} was not done once: {kinds}"
