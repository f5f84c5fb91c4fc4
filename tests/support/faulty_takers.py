"""Takers with a planted fault, to prove that the contention harness can fail."""

from __future__ import annotations

import os
import time
from pathlib import Path

from parallel_loop.queue.hints import Hint
from parallel_loop.queue.records import Entry, Record, encode
from parallel_loop.queue.taking import Claim, Taker


class CheckThenCreate(Taker):
    """Looks whether the claim exists, then makes it, and believes that it is its own: what most queues of files do."""

    def take(self) -> Claim | None:
        self._listen()
        hint = self._view.first(self._attempt)
        if hint is None:
            return None
        item = self._queue.chain.read_item(hint.id)
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

    def end(self, claim: Claim, record: Record) -> bool:
        return bool(claim and record)


class Dying(Taker):
    """Ends in the middle of the race."""

    def take(self) -> Claim | None:
        raise SystemExit("this claimer dies")
