"""A watcher of a queue directory, while others work in it: what must hold at every instant, told from the files alone.

Shares no code with the queue. Every look compares with the looks before: what has been seen stays as it was, until it
is in a pack, as it was.
"""

from __future__ import annotations

import contextlib
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


class _Packed(NamedTuple):
    """One line of a pack."""

    item: Content
    records: list[Content]


class _Pack(NamedTuple):
    replaces: list[str]
    lines: dict[str, _Packed]


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 (names are what we want)
    except FileNotFoundError:
        return []


def _content(path: str | Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        return os.read(descriptor, 1_000_000)
    finally:
        os.close(descriptor)


def read_pack(path: str | Path) -> _Pack:
    """Read a whole pack; its first line says how many follow."""
    first, *lines, end = _content(path).split(b"\n")
    assert end == b"", f"{path} can be seen and is not complete"
    header, packed = json.loads(first), [_Packed(**json.loads(line)) for line in lines]
    ids = [line.item["id"] for line in packed]
    assert len(ids) == header["items"], f"{path} says {header} and has {ids}"
    assert ids == sorted(set(ids)), f"{path} is not in order: {ids}"
    for line in packed:
        assert [record["kind"] for record in line.records].index("done") == len(line.records) - 1, f"{path}: {line}"
    return _Pack(header["replaces"], dict(zip(ids, packed, strict=True)))


class Watcher:
    """What was seen of one queue so far. `limits` tells how many claims of a role may be open at once."""

    def __init__(self, root: Path, limits: dict[str, int]) -> None:
        self._root = str(root)
        self._limits = limits
        self._seen: dict[str, _Seen] = {}
        self._packs: dict[str, _Pack] = {}
        self._packed: dict[str, _Packed] = {}
        self._gone: set[str] = set()  # packed items that have no file of their own any more
        self.items: dict[str, Content] = {}
        self.chains: dict[str, dict[int, Content]] = {}

    def look(self) -> None:
        """Look at all files; AssertionError says what must not be."""
        found = self._read_items(self._seen)
        packed_before = self._packed.keys()
        self._look_at_packs()  # after the items: what has vanished from there is here
        for name in sorted(self._seen.keys() | found.keys(), key=lambda name: (not name.endswith(".json"), name)):
            if self._seen.get(name) != found.get(name):
                self._learn(name, found.get(name))
        self._gone |= {item_id for item_id in packed_before if f"{item_id}.json" not in found}
        for item_id in sorted(self.chains):
            self._check_chain(item_id)
        self._check_limits()

    def look_closely(self) -> None:
        """Look, and read again also what seems to be as it was."""
        self.look()
        for name, seen in self._read_items({}).items():
            assert self._is_left_over(name) or seen == self._seen[name], (
                f"{name} has changed: {self._seen[name]}, {seen}"
            )
        for name, pack in self._packs.items():
            assert read_pack(f"{self._root}/packs/{name}") == pack, f"{name} has changed from {pack}"

    def _read_items(self, known: dict[str, _Seen]) -> dict[str, _Seen]:
        """Return what is in `items/`; what has the status that is known is as it was, most likely."""
        found: dict[str, _Seen] = {}
        for folder in _names(f"{self._root}/items"):
            for name in _names(f"{self._root}/items/{folder}"):
                path = f"{self._root}/items/{folder}/{name}"
                with contextlib.suppress(FileNotFoundError):  # packed since it was listed
                    status, before = os.lstat(path), known.get(name)
                    now = (status.st_ino, status.st_size, status.st_mtime_ns)
                    found[name] = before if before and before.status == now else _Seen(now, _content(path))
        return found

    def _look_at_packs(self) -> None:
        """Read new packs. What was packed stays packed, in one pack or in those that are being merged."""
        while True:
            names = [name for name in _names(f"{self._root}/packs") if name.endswith(".jsonl")]
            with contextlib.suppress(FileNotFoundError):  # merged since they were listed
                packs = {name: self._packs.get(name) or read_pack(f"{self._root}/packs/{name}") for name in names}
                break
        if packs.keys() == self._packs.keys():
            return
        replaced = {name for pack in packs.values() for name in pack.replaces}
        packed: dict[str, _Packed] = {}
        for name in sorted(packs, key=replaced.__contains__):
            for item_id, line in packs[name].lines.items():
                assert name in replaced or item_id not in packed, f"{item_id} is in {name} and in another pack"
                assert packed.setdefault(item_id, line) == line, f"{name} says {line}, but another {packed[item_id]}"
        for item_id, line in self._packed.items():
            assert packed.get(item_id) == line, f"{item_id} was packed as {line}, now {packed.get(item_id)}"
        for item_id in packed.keys() - self._packed.keys():
            self._learn_packed(item_id, packed[item_id])
        self._packs, self._packed = packs, packed

    def _learn_packed(self, item_id: str, line: _Packed) -> None:
        assert self.items.setdefault(item_id, line.item) == line.item, f"{item_id} is packed as {line.item}"
        for number, record in enumerate(line.records, start=1):
            seen = self.chains.setdefault(item_id, {}).setdefault(number, record)
            assert seen == record, f"{item_id}.{number} was {seen} and is packed as {record}"
        assert len(self.chains[item_id]) == len(line.records), f"{item_id} was {self.chains[item_id]}, packed: {line}"

    def _is_left_over(self, name: str) -> bool:
        """Tell whether it is a record of an item that is gone: not removed yet, or made too late and about to be."""
        item_id, _, suffix = name.rpartition(".")
        return suffix != "json" and item_id in self._packed and f"{item_id}.json" not in self._seen

    def _learn(self, name: str, found: _Seen | None) -> None:
        """Take note of a new file, which must be complete; an old one must not have changed, and goes when packed."""
        item_id, _, suffix = name.rpartition(".")
        if found is None:
            assert item_id in self._packed, f"{name} has vanished"
            del self._seen[name]
            if suffix == "json":
                self._gone.add(item_id)
            else:
                assert f"{item_id}.json" not in self._seen, f"{name} has vanished, and the item is there"
            return
        if self._is_left_over(name):
            self._seen.pop(name, None)
            return
        assert item_id not in self._gone, f"{name} is there again, although the item was packed"
        assert name not in self._seen, f"{name} has changed from {self._seen[name]} to {found}"
        try:
            content = json.loads(found.data)
        except ValueError as error:
            raise AssertionError(f"{name} can be seen and is not complete: {found.data!r}") from error
        self._seen[name] = found
        if suffix == "json":
            assert content["id"] == item_id, f"{name} says that it is {content['id']}"
            assert self.items.setdefault(item_id, content) == content, f"{name} is {content}, packed otherwise"
        else:
            known = self.chains.setdefault(item_id, {}).setdefault(int(suffix), content)
            assert known == content, f"{name} is {content}, packed otherwise"

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

    def check_tidied(self) -> None:
        """What must hold once all was done and tidied: all is packed, and nothing of it half removed."""
        assert self._packed.keys() == self.items.keys(), f"not packed: {self.items.keys() - self._packed.keys()}"
        assert not self._seen, f"packed and not removed: {self._seen.keys()}"
        names = _names(f"{self._root}/packs")
        assert sorted(self._packs) == names, f"left over in packs: {names}"
