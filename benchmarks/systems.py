"""What is compared, and the first of it: this project's queue.

Each system is used through what its users get, in the best way found for it. A `Station` is one process's access:
`take` hands out one payload, `complete` says that its work is done and answers False when the claim was not ours
any more. Filling is not measured, so it may use whatever is quick.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Item
from parallel_loop.queue.store import Queue
from parallel_loop.queue.taking import Claim, Taker

BUSY_SECONDS = 60.0  # how long SQLite waits for its lock before it reports an error; none may be reported here


def make_payload(number: int) -> str:
    """Return 96 bytes of JSON that begin with the number."""
    return f'{{"number": {number:>7}, "kind": "build", "text": "{"x" * 48}"}}'


def number_of(payload: str) -> int:
    return int(payload[11:18])


class Station(Protocol):
    """One process's access to a filled system."""

    def put(self, payload: str) -> None: ...

    def take(self) -> tuple[Any, str] | None: ...

    def complete(self, token: Any) -> bool: ...


class System(ABC):
    """A queue to be measured, with files in one folder."""

    name: str
    acknowledges = True  # False: taking an item removes it, so a crash loses it
    levels: tuple[bool, ...] = (False, True)  # the values of `durable` that it can be asked for
    copied = True  # its folder may be copied once it is filled, which is quicker than filling it again
    linked = False  # such a copy may share the files, since none is written again
    package: str | None = None  # what to import to see whether it is installed

    @abstractmethod
    def fill(self, folder: Path, payloads: Sequence[str]) -> None: ...

    @abstractmethod
    def open(self, folder: Path, durable: bool) -> Station: ...


class ParallelLoop(System):
    name = "parallel-loop"
    copied = False  # a file for each item: copying is no quicker

    def fill(self, folder: Path, payloads: Sequence[str]) -> None:
        Queue(folder, durable=False).add([_item(payload) for payload in payloads])

    def open(self, folder: Path, durable: bool) -> Station:
        return _ParallelLoopStation(Queue(folder, durable=durable))


def _item(payload: str) -> Item:
    return Item(id=f"item-{number_of(payload)}", title="t", prompt=payload, added_at="")


class _ParallelLoopStation:
    """Says no more of an outcome than the others can: that it is done, when, and by whom."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._taker = Taker(queue, Owner(f"agent-{os.getpid()}", os.getpid()))

    def put(self, payload: str) -> None:
        self._queue.add([_item(payload)])

    def take(self) -> tuple[Claim, str] | None:
        claim = self._taker.take()
        return None if claim is None else (claim, claim.item.prompt)

    def complete(self, token: Claim) -> bool:
        return self._taker.complete(token)
