"""Takers with a planted fault, to prove that the contention harness can fail."""

from __future__ import annotations

import os
from pathlib import Path

from parallel_loop.queue.hints import Hint
from parallel_loop.queue.records import Record, encode
from parallel_loop.queue.taking import Claim, Taker


class CheckThenCreate(Taker):
    """Looks whether the claim exists, and then makes it: what most queues of files do."""

    def _link(self, hint: Hint) -> bool:
        path = Path(self._queue.layout.record(hint.id, hint.number))
        if path.exists():
            return False
        for _ in range(50):  # the moment between look and deed, as long as on a busy machine
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
