"""Taking items and ending attempts, from the side of a worker."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

import msgspec

from .atomic import Unreadable
from .chain import LastRecord
from .clock import to_second
from .hint import Hint, file_time
from .markers import Marker, Owner
from .ready import Answer, ReadyView
from .records import Entry, Item, Record
from .store import Queue
from .wip import Place, enter

PassesOver = Callable[[str, Callable[[], Item | None]], bool]


class Enough(Exception):
    """Raised by who is asked what to pass over: of all that follows, nothing is to be taken."""


_MOST_LOST = 10_000  # names of lost races that are remembered; forgetting one costs a failed link


class Claim(msgspec.Struct, frozen=True):
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
        self._marker = Marker(queue.layout, owner, durable=queue.durable)
        self._held = self._marker.note
        self._last_record = LastRecord(queue.layout, durable=queue.durable)
        self._done = self._marker.record  # the last outcome of `complete`
        self._wip = dict(wip or {})
        self._places: dict[tuple[str, int], Place] = {}
        self._full_roles: set[str] = set()
        self._passes_over: PassesOver | None = None
        self._lost: set[Hint] = set()
        self._next_due: str | None = ""
        self._owed: Hint | None = None  # a claim that has still to be given back
        self.lost_links = 0  # how often another was first at the very link

    def take(self, passes_over: PassesOver | None = None) -> Claim | None:
        """Claim the first takable item in taking order; None when there is none for us now.

        `passes_over` is asked about each item that could be taken, by its id, and may read it by calling what it is
        given (None: it cannot be read); the items of which it says yes are left to others, and asked for again. It may
        raise Enough.
        """
        self._passes_over = passes_over
        if self._owed is not None:
            self._give_back(self._owed)
        while True:
            self._listen()
            try:
                hint = self._view.first(self._attempt, self._full_roles)
            except Enough:
                return None
            if hint is None:
                return None
            try:
                claim = self._read(hint)
            except OSError:
                self._give_back(hint)
                raise
            if claim is not None:
                return claim

    def _read(self, hint: Hint) -> Claim | None:
        """Read what was just claimed; None when it is not ours to work on."""
        queue, started_at = self._queue, self._queue.now()
        try:
            item = queue.chain.read_named_item(hint.id)
            if item is None:  # tidied since we listed it; or a power cut kept the hint and lost the item
                queue.chain.withdraw(hint.id, hint.number)
                self._let_go(hint.id, hint.number)
                return None
            if hint.number == 1:
                return Claim(Entry(item, (self._marker.record,)), started_at)
            entry = Entry(item, queue.chain.read_records(hint.id))
        except Unreadable as error:
            self._set_aside(hint, Record(kind="failed", at=started_at, outcome="unreadable", why=str(error)))
            return None
        if len(entry.records) == hint.number:
            return Claim(entry, started_at)
        self._let_go(hint.id, hint.number)  # ended between the claim and this look: cancelled
        return None

    def peek(self) -> Hint | None:
        """Return what the next `take` will try first, without trying it."""
        self._listen()
        return self._view.peek()

    def _listen(self) -> None:
        self._full_roles.clear()
        if self._view.listen():
            self._next_due = ""
        while self._next_due is not None and self._next_due <= file_time(self._queue.now()):
            self._next_due = self._queue.promote_due()
            if self._view.listen():  # somebody has delayed an item since
                self._next_due = ""

    def _attempt(self, hint: Hint) -> Answer:
        key = (hint.id, hint.number)
        if key in self._held:  # linking our marker there again would look like winning again
            return Answer.GONE
        if self._passes_over is not None and self._is_passed_over(hint, self._passes_over):
            return Answer.SKIP
        if hint.number > 1 and not self._queue.chain.allows_claim(hint.id, hint.number):
            return Answer.GONE  # a power cut kept the hint and lost the record before it
        place = None
        if hint.role in self._wip:
            place = self._enter(hint)
            if place is None:
                return Answer.SKIP
        won = False
        try:
            self._view.announce()
            self._held.note(hint.id, hint.number)
            won = self._link(hint)
        finally:
            if not won:
                self._held.drop(hint.id, hint.number)
                if place is not None:
                    place.leave()
        if not won:
            return self._lose(hint)
        if place is not None:
            self._places[key] = place
        return Answer.TAKEN

    def _is_passed_over(self, hint: Hint, passes_over: PassesOver) -> bool:
        def read() -> Item | None:
            try:
                return self._queue.chain.read_named_item(hint.id)
            except Unreadable:  # who claims it sets it aside
                return None

        return passes_over(hint.id, read)

    def _enter(self, hint: Hint) -> Place | None:
        """Take a place of the item's role; from one that is full on, the role is passed over in this `take`."""
        queue = self._queue
        place = enter(queue.layout.wip, hint.role, self._wip[hint.role], queue.chain.is_claim_open)
        if place is None:
            self._full_roles.add(hint.role)
            return None
        try:
            place.occupy(hint.id, hint.number, self._marker.owner.name)
        except BaseException:
            place.leave()
            raise
        return place

    def _link(self, hint: Hint) -> bool:
        try:
            return self._queue.chain.claim(hint.id, hint.number, self._marker.source)
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
        self._marker.renew()
        return self._queue.chain.claim(hint.id, hint.number, self._marker.source)

    def _lose(self, hint: Hint) -> Answer:
        """Note a lost race. A hint that is still there when it is read again was left by a killed winner, or the
        item was cancelled: it is struck then, not at once, since the winner is about to do it.
        """
        self.lost_links += 1
        if hint in self._lost:
            return Answer.STALE
        if len(self._lost) >= _MOST_LOST:
            self._lost.clear()
        self._lost.add(hint)
        return Answer.LOST

    def _give_back(self, hint: Hint) -> None:
        """End a claim of which nothing could be read just now, as without descriptors; it costs no attempt."""
        record = Record(
            kind="released", at=self._queue.now(), agent=self._marker.owner.agent, outcome="interrupted", counted=False
        )
        self._owed = hint  # what hinders the reading may hinder this as well; then the next take begins with it
        won = self._queue.chain.append(hint.id, hint.number + 1, record)
        self._owed = None
        try:
            if won:
                self._queue.hints.offer(hint._replace(number=hint.number + 2))
                self._queue.bell.ring(hint.priority)
        finally:
            self._let_go(hint.id, hint.number)

    def _set_aside(self, hint: Hint, record: Record) -> None:
        """End the claim of an item that cannot be read, so that it stops nobody; its files stay."""
        self._queue.chain.append(hint.id, hint.number + 1, record)
        self._let_go(hint.id, hint.number)

    def _let_go(self, item_id: str, number: int) -> None:
        """Drop all that goes with a claim that is no longer open."""
        self._held.drop(item_id, number)
        place = self._places.pop((item_id, number), None)
        if place is not None:
            place.leave()
            self._queue.bell.ring()  # whoever passed over this role may look again

    def holds(self, claim: Claim) -> bool:
        """True while the claim is valid: nobody has ended it, taken it back or cancelled the item."""
        return self._queue.chain.is_ours(claim.item.id, len(claim.entry.records))

    def end(self, claim: Claim, record: Record) -> bool:
        """End the attempt with `record`; False when the claim is not ours any more (nothing is changed)."""
        ended = self._queue.append(claim.entry, record)
        self.forget(claim)
        return ended

    def complete(self, claim: Claim) -> bool:
        """End the attempt as done, with nothing more to tell; False when the claim is not ours any more.

        Its times are exact to a second: what is completed within one is one file, linked many times.
        """
        started_at, at = to_second(claim.started_at), to_second(self._queue.now())
        if (started_at, at) != (self._done.started_at, self._done.at):
            self._done = Record(
                kind="done", at=at, agent=self._marker.owner.agent, outcome="done", started_at=started_at
            )
        ended = self._queue.append(claim.entry, self._done, self._last_record)
        self.forget(claim)
        return ended

    def forget(self, claim: Claim) -> None:
        """Let go of a claim that is not ours any more."""
        self._let_go(claim.item.id, len(claim.entry.records))

    @property
    def next_due(self) -> str | None:
        """When the next delayed item becomes takable (as `file_time`), as of the last take; None when none waits."""
        return self._next_due

    def look_again(self) -> None:
        """Trust no earlier listing at the next take."""
        self._view.forget()
        self._next_due = ""

    def close(self) -> None:
        """End this taker; its open claims are those of a dead worker from now on."""
        for place in self._places.values():
            place.abandon()
        self._places.clear()
        self._last_record.close()
        self._view.close()
        self._marker.close()
