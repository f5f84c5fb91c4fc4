"""Queue libraries in which taking an item removes it, so that a crash loses it: there is nothing to acknowledge."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from systems import BUSY_SECONDS, Station, System


class _Huey(System):
    """`dequeue` removes the item: there is nothing to acknowledge."""

    acknowledges = False
    package = "huey"

    @abstractmethod
    def storage(self, folder: Path, durable: bool) -> Any: ...

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        storage = self.storage(folder, durable=False)
        for payload in payloads:
            storage.enqueue(payload.encode())
        storage.close()

    def open(self, folder: Path, durable: bool) -> Station:
        return _HueyStation(self.storage(folder, durable))


class HueySqlite(_Huey):
    name = "huey-sqlite"

    def storage(self, folder: Path, durable: bool) -> Any:
        from huey.storage import SqliteStorage

        return SqliteStorage(filename=str(folder / "huey.db"), fsync=durable, timeout=BUSY_SECONDS)


class HueyFile(_Huey):
    name = "huey-file"
    levels = (False,)  # it never flushes
    linked = True  # if anything this favours it: a file with another name is removed more quickly

    def storage(self, folder: Path, durable: bool) -> Any:
        from huey.storage import FileStorage

        return FileStorage("huey", str(folder / "huey"))


class _HueyStation:
    def __init__(self, storage: Any) -> None:
        self._storage = storage

    def put(self, payload: str) -> None:
        self._storage.enqueue(payload.encode())

    def take(self) -> tuple[None, str] | None:
        data = self._storage.dequeue()
        return None if data is None else (None, bytes(data).decode())

    def complete(self, token: None) -> bool:
        return True


class DiskcacheDeque(System):
    """`append` and `popleft`, which removes the item: there is nothing to acknowledge."""

    name = "diskcache"
    package = "diskcache"
    acknowledges = False

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        deque = _deque(folder, durable=False)
        with deque.transact():
            deque.extend(payloads)
        deque.cache.close()

    def open(self, folder: Path, durable: bool) -> Station:
        return _DequeStation(_deque(folder, durable))


def _deque(folder: Path, durable: bool) -> Any:
    from diskcache import Cache, Deque

    cache = Cache(str(folder / "deque"), eviction_policy="none", sqlite_synchronous=2 if durable else 0)
    return Deque.fromcache(cache)


class _DequeStation:
    def __init__(self, deque: Any) -> None:
        self.put = deque.append
        self._deque = deque

    def take(self) -> tuple[None, str] | None:
        try:
            return None, self._deque.popleft()
        except IndexError:
            return None

    def complete(self, token: None) -> bool:
        return True
