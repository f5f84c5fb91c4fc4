"""The real queue, with somebody who looks at what becomes of claims and knows who really lives."""

from __future__ import annotations

from pathlib import Path

from parallel_loop.queue.chain import LastRecord
from parallel_loop.queue.records import Entry, Record
from parallel_loop.queue.store import Queue
from parallel_loop.queue.taking import Claim
from support.virtual.world import Violation, World


class WatchedQueue(Queue):
    """One process's queue."""

    def __init__(self, world: World, root: Path) -> None:
        super().__init__(root, durable=False, now=world.wall_now)
        self._world = world
        self.ledger = world.ledger

    def append(self, entry: Entry, record: Record, files: LastRecord | None = None) -> bool:
        token = (entry.item.id, entry.attempts)
        if record.outcome == "died":
            self._check_dead(entry, token)
        appended = super().append(entry, record, files)
        if appended and record.outcome == "died":
            del self.ledger.open_deaths[token]
        return appended

    def _check_dead(self, entry: Entry, token: tuple[str, int]) -> None:
        claim = entry.last
        assert claim is not None
        if token not in self.ledger.deaths:
            raise Violation(f"{token} was taken back from {claim.agent} (pid {claim.pid}), which lives")
        for left in self._world.leftovers:
            if (left.name, left.item_id) == (claim.agent, token[0]):
                raise Violation(f"{token} was taken back while the program of {claim.agent} still runs")

    def note_death(self, claim: Claim) -> None:
        """A worker died in the middle of this attempt."""
        token = (claim.item.id, claim.attempt)
        if claim.item.id not in self.ledger.cancelled:
            self.ledger.deaths[token] = self.ledger.open_deaths[token] = self._world.now

    def note_abandoned(self, item_id: str) -> None:
        """A worker found that its claim was not its own any more."""
        if item_id not in self.ledger.cancelled:
            raise Violation(f"{item_id} was taken from a worker that lives")
