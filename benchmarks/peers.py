"""Queue libraries that acknowledge, each used as its documentation and its source show to be best.

Both keep their items in SQLite, and are given the same two levels: ``synchronous`` FULL or OFF.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from systems import BUSY_SECONDS, Station, System


class Litequeue(System):
    """`pop` and `done`; `done` takes whatever message id it is given, so a late finisher is not fenced off."""

    name = "litequeue"
    package = "litequeue"

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        queue = _litequeue(folder, durable=False)
        with queue.transaction():
            for payload in payloads:
                queue.put(payload)
        queue.close()

    def open(self, folder: Path, durable: bool) -> Station:
        return _LitequeueStation(_litequeue(folder, durable))


def _litequeue(folder: Path, durable: bool) -> Any:
    from litequeue import LiteQueue

    queue = LiteQueue(folder / "queue.db", timeout=BUSY_SECONDS)
    queue.conn.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")  # its own choice is NORMAL
    return queue


class _LitequeueStation:
    def __init__(self, queue: Any) -> None:
        self.put = queue.put
        self._queue = queue

    def take(self) -> tuple[str, str] | None:
        message = self._queue.pop()
        return None if message is None else (message.message_id, message.data)

    def complete(self, token: str) -> bool:
        self._queue.done(token)
        return True


class PersistQueue(System):
    """SQLiteAckQueue. Its `get` selects first and updates afterwards, so two processes can get one item.

    Each `get` starts behind the item before (`next_in_order`), which spares it a walk over all that is done.
    Without `auto_resume=False` every process that opens the queue would give out again what others hold.
    """

    name = "persist-queue"
    package = "persistqueue"

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        queue = _persist_queue(folder, durable=False)
        for payload in payloads:
            queue.put(payload)
        queue.close()

    def open(self, folder: Path, durable: bool) -> Station:
        return _PersistQueueStation(_persist_queue(folder, durable))


def _persist_queue(folder: Path, durable: bool) -> Any:
    from persistqueue import SQLiteAckQueue

    queue = SQLiteAckQueue(str(folder / "queue"), auto_resume=False, timeout=BUSY_SECONDS)
    queue._putter.execute(f"PRAGMA synchronous = {'FULL' if durable else 'OFF'}")  # noqa: SLF001 (no option for it)
    return queue


class _PersistQueueStation:
    def __init__(self, queue: Any) -> None:
        from persistqueue import Empty

        self.put = queue.put
        self._queue = queue
        self._empty = Empty
        self._last: int | None = None

    def take(self) -> tuple[int, str] | None:
        try:
            row = self._queue.get(block=False, raw=True, id=self._last, next_in_order=self._last is not None)
        except self._empty:
            return None
        self._last = row["pqid"]
        return row["pqid"], row["data"]

    def complete(self, token: int) -> bool:
        self._queue.ack(id=token)
        return True
