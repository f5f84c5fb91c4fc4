"""Items that wait for landing, and the records that end their wait.

Guarantees: an item is done only after its record says so, and that is written once, whatever was killed before.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from ..harness.project import Project
from ..queue.atomic import Unreadable
from ..queue.records import Entry, Item, Record


@dataclass(frozen=True)
class Waiting:
    """One attempt that waits for landing; `heir` is the branch that the item's next attempt would have."""

    entry: Entry
    handed: Record
    heir: str

    @property
    def item(self) -> Item:
        return self.entry.item

    @property
    def attempt(self) -> int:
        return self.entry.attempts

    @property
    def commit(self) -> str:
        """The tip of the branch as it was handed over."""
        assert self.handed.commit is not None
        return self.handed.commit


class LandingRecords:
    """The side of the queue that landing sees."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def waiting(self) -> Iterator[tuple[Entry, Record]]:
        """Yield what waits, who has waited longest first; hints that say so of others are removed on the way."""
        queue = self._project.queue
        for item_id in queue.hints.landing():
            try:
                entry = queue.entry(item_id)
            except Unreadable:  # `attention` names it; the others must not wait for it
                continue
            if entry is None or entry.last is None or entry.last.kind != "landing":
                self._unmark(item_id)
            else:
                yield entry, entry.last

    def is_wanted(self, waiting: Waiting) -> bool:
        """Whether the item still waits for landing: it may be cancelled meanwhile."""
        return not self._project.queue.chain.has_record(waiting.item.id, waiting.entry.next_number)

    def land(self, waiting: Waiting, commit: str, *, note: str | None = None) -> None:
        """Record that the item is on the landing branch since `commit`; everything must be on the disk by now."""
        done = msgspec.structs.replace(
            waiting.handed, kind="done", at=self._project.queue.now(), commit=commit, why=note or waiting.handed.why
        )
        self._close(waiting.entry, done, "landed")

    def send_back(self, entry: Entry, handed: Record, outcome: str, why: str, output: str = "") -> None:
        """Give the item back for another attempt, which is told why; out of attempts, it is failed."""
        failure = msgspec.structs.replace(
            handed, kind="released", at=self._project.queue.now(), outcome=outcome, why=why, text=output or None
        )
        record = self._project.retry.after_failure(entry, failure)
        self._close(entry, record, record.kind)

    def _close(self, entry: Entry, record: Record, event: str) -> None:
        if self._project.queue.append(entry, record):
            self._project.state.record_event(
                event,
                item=entry.item.id,
                attempt=entry.attempts,
                agent=record.agent,
                outcome=record.outcome,
                why=record.why,
                commit=record.commit,
                seconds=record.seconds,
            )
        self._unmark(entry.item.id)

    def _unmark(self, item_id: str) -> None:
        """Remove the hint that the item waits for landing, unless it does: another attempt may have come so far.

        Removed first, then looked at: whoever hands it over makes the record first, then the hint.
        """
        queue = self._project.queue
        queue.hints.unmark_landing(item_id)
        with contextlib.suppress(Unreadable):
            entry = queue.entry(item_id)
            if entry is not None and entry.last_is("landing"):
                queue.refresh_hints(entry)
