"""Takers with a planted fault, to prove that the contention harness can fail."""

from __future__ import annotations

import os
import time
from pathlib import Path

from parallel_loop.queue.hint import Hint
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Entry, Item, encode
from parallel_loop.queue.store import Queue
from parallel_loop.queue.taking import Claim, Taker


class CheckThenCreate(Taker):
    """Looks whether the claim exists, then makes it, and believes that it is its own: what most queues of files do."""

    def take(self) -> Claim | None:
        self._listen()
        hint = self._view.first(self._attempt, self._full_roles)
        if hint is None:
            return None
        item = self._queue.chain.read_named_item(hint.id)
        assert item is not None
        return Claim(Entry(item, (self._marker.record,)), self._queue.now())

    def _link(self, hint: Hint) -> bool:
        path = Path(self._queue.layout.record(hint.id, hint.number))
        if path.exists():
            return False
        deed = time.monotonic() + 0.002  # the moment between look and deed, as long as on a busy machine
        while time.monotonic() < deed:
            os.sched_yield()
        path.write_bytes(encode(self._marker.record))
        return True


class Shy(Taker):
    """Never takes anything."""

    def take(self) -> Claim | None:
        return None


class Forgetful(Taker):
    """Says that it has ended what it has not."""

    def complete(self, claim: Claim) -> bool:
        return bool(claim)


class Dying(Taker):
    """Ends in the middle of the race."""

    def take(self) -> Claim | None:
        raise SystemExit("this claimer dies")


class Greedy(Taker):
    """Takes the same item over and over."""

    _claim: Claim | None = None

    def take(self) -> Claim | None:
        self._claim = self._claim or super().take()
        return self._claim


class Lazy(Taker):
    """Leaves the last items to nobody."""

    def take(self) -> Claim | None:
        hint = self.peek()
        return None if hint is None or hint.id.endswith("9") else super().take()


class Dreaming(Taker):
    """Takes an item that was never added, too."""

    _dreamt = False

    def take(self) -> Claim | None:
        if self._dreamt:
            return super().take()
        self._dreamt = True
        item = Item(id="dream", title="t", added_at=self._queue.now())
        return Claim(Entry(item, (self._marker.record,)), self._queue.now())

    def complete(self, claim: Claim) -> bool:
        return claim.item.id == "dream" or super().complete(claim)


class Modest(Taker):
    """Says that it has not ended what it has."""

    def complete(self, claim: Claim) -> bool:
        return not super().complete(claim)


class Impostor(Taker):
    """Claims in the name of another process."""

    def __init__(self, queue: Queue, owner: Owner) -> None:
        super().__init__(queue, owner._replace(pid=1))
