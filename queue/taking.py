"""Taking items and ending attempts, from the side of a worker."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .atomic import Unreadable
from .hints import Hint, file_time
from .markers import Marker, Owner
from .ready import Answer, ReadyView
from .records import Entry, Item, Record
from .store import Queue
from .wip import Place, enter


@dataclass(frozen=True)
class Claim:
    """One attempt at one item. Item id and attempt together are the token that fences off a late finisher.

    `entry` ends with the claim itself; what stands before it is the item's history.
    """

    entry: Entry
    started_at: str

    @property
    def item(self) -> Item:
        return self.entry.item

    @property
    def attempt(self) -> int:
        return self.entry.attempts


class Taker:
    """One process that takes items. It is alive for others until it is closed or its process ends."""

    def __init__(self, queue: Queue, owner: Owner, wip: Mapping[str, int] | None = None) -> None:
        self._queue = queue
        self._view = ReadyView(queue.layout, queue.bell)
        self._marker = Marker(queue.layout, owner)
        self._wip = dict(wip or {})
        self._roles: dict[str, str | None] = {}
        self._places: dict[str, Place] = {}
        self._lost: set[str] = set()
        self._next_due: str | None = ""

    def take(self) -> Claim | None:
        """Claim the first takable item in taking order; None when there is none for us now."""
        queue = self._queue
        while True:
            self._promote_due()
            hint = self._view.first(self._attempt)
            if hint is None:
                return None
            started_at = queue.now()
            try:
                entry = queue.entry(hint.id)
            except Unreadable as error:
                self._set_aside(hint, str(error))
                continue
            if entry is not None and len(entry.records) == hint.number:
                return Claim(entry, started_at)
            self._leave_place(hint.id)  # ended between the claim and this look: cancelled

    def _attempt(self, hint: Hint, path: Path) -> Answer:
        chain = self._queue.chain
        if hint.number > 1 and not chain.has_record(hint.id, hint.number - 1):
            return Answer.GONE  # a power cut kept the hint and lost the record before it
        role = self._role(hint.id)
        if role in self._wip:
            place = enter(self._queue.layout.wip, role, self._wip[role], chain.is_claim_open)
            if place is None:
                return Answer.SKIP
            place.occupy(hint.id, hint.number)
            self._places[hint.id] = place
        if self._link(hint):
            self._queue.hints.mark_working(hint, path)
            return Answer.TAKEN
        self._leave_place(hint.id)
        if hint.name in self._lost:  # seen again after a new listing: its winner was killed before tidying
            self._queue.hints.mark_working(hint, path)
        self._lost.add(hint.name)
        return Answer.GONE

    def _link(self, hint: Hint) -> bool:
        try:
            return self._queue.chain.claim(hint.id, hint.number, self._marker.path)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
        self._marker.renew()
        return self._queue.chain.claim(hint.id, hint.number, self._marker.path)

    def _role(self, item_id: str) -> str | None:
        """The item's role, read only where some role has a limit."""
        if not self._wip:
            return None
        if item_id not in self._roles:
            try:
                item = self._queue.chain.read_item(item_id)
            except Unreadable:
                item = None  # is set aside once it is taken
            self._roles[item_id] = item.role if item else None
        return self._roles[item_id]

    def _promote_due(self) -> None:
        now = file_time(self._queue.now())
        if self._next_due is None or self._next_due > now:
            return
        self._next_due = self._queue.hints.promote_due(self._queue.now())

    def _set_aside(self, hint: Hint, why: str) -> None:
        """End the claim of an item that cannot be read, so that it stops nobody; its files stay."""
        record = Record(kind="failed", at=self._queue.now(), outcome="unreadable", why=why)
        self._queue.chain.append(hint.id, hint.number + 1, record)
        self._queue.hints.unmark_working(hint)
        self._leave_place(hint.id)

    def _leave_place(self, item_id: str) -> None:
        place = self._places.pop(item_id, None)
        if place is not None:
            place.leave()

    def holds(self, claim: Claim) -> bool:
        """True while the claim is valid: nobody has ended it, taken it back or cancelled the item."""
        return not self._queue.chain.has_record(claim.item.id, claim.entry.next_number)

    def end(self, claim: Claim, record: Record) -> bool:
        """End the attempt with `record`; False when the claim is not ours any more (nothing is changed)."""
        ended = self._queue.append(claim.entry, record)
        self.forget(claim)
        return ended

    def forget(self, claim: Claim) -> None:
        """Let go of a claim that is not ours any more."""
        self._queue.hints.unmark_working(Hint.of(claim.item, len(claim.entry.records)))
        self._leave_place(claim.item.id)

    def look_again(self) -> None:
        """Trust no earlier listing at the next take."""
        self._view.forget()
        self._next_due = ""

    def close(self) -> None:
        """End this taker; its open claims are those of a dead worker from now on."""
        for item_id in tuple(self._places):
            self._leave_place(item_id)
        self._marker.close()
