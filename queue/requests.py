"""What a person may ask of one item: end it, try it again, answer its question, let it land or not.

Each request is one record at the end of the chain. It is refused, with a reason, when the item is not in
a state for it; when the chain goes on between the look and the record, the look is repeated.
"""

from __future__ import annotations

from collections.abc import Callable

from .records import Entry, Record
from .store import Queue


class NoSuchItem(LookupError):
    """There is no item of that id."""

    def __init__(self, item_id: str) -> None:
        super().__init__(f"there is no item {item_id!r}; `parallel-loop list` shows them all")


class Refused(Exception):
    """The item is not in a state in which that can be done to it."""


def cancel(queue: Queue, item_id: str, why: str = "cancelled by a person") -> Entry:
    """End the item, whatever it does now (a failed one is dismissed); a worker that has it notices and stops."""

    def decide(entry: Entry) -> Record:
        if entry.last is not None and entry.last.kind in {"done", "cancelled"}:
            raise Refused(f"{item_id} has ended already ({entry.last.kind}); nothing to cancel")
        return Record(kind="cancelled", at=queue.now(), why=why)

    return _append(queue, item_id, decide)


def retry(queue: Queue, item_id: str) -> Entry:
    """Make a failed or cancelled item, or one that waits for its next attempt, takable now, with all its attempts."""

    def decide(entry: Entry) -> Record:
        last = entry.last
        if last is None or last.kind not in {"failed", "cancelled", "released"}:
            state = queue.state(entry)
            raise Refused(f"{item_id} is {state}; only a failed, cancelled or delayed item can be retried")
        return Record(kind="retried", at=queue.now())

    return _append(queue, item_id, decide)


def answer(queue: Queue, item_id: str, text: str) -> Entry:
    """Let a waiting item go on, with `text` added to its prompt."""

    def decide(entry: Entry) -> Record:
        _require_waiting(queue, entry)
        return Record(kind="answered", at=queue.now(), text=text)

    return _append(queue, item_id, decide)


def approve(queue: Queue, item_id: str) -> Entry:
    """Let an item that waits for review land."""

    def decide(entry: Entry) -> Record:
        last = _require_waiting(queue, entry)
        if last.outcome != "review":
            raise Refused(f"{item_id} waits for an answer, not for review; see `parallel-loop show {item_id}`")
        return Record(
            kind="landing",
            at=queue.now(),
            agent=last.agent,
            outcome="done",
            started_at=last.started_at,
            seconds=last.seconds,
            branch=last.branch,
            commit=last.commit,
            log=last.log,
        )

    return _append(queue, item_id, decide)


def _require_waiting(queue: Queue, entry: Entry) -> Record:
    if entry.last is None or entry.last.kind != "waiting":
        raise Refused(f"{entry.item.id} is {queue.state(entry)}; it waits for nobody")
    return entry.last


def _append(queue: Queue, item_id: str, decide: Callable[[Entry], Record]) -> Entry:
    while True:
        entry = queue.entry(item_id)
        if entry is None:
            raise NoSuchItem(item_id)
        if queue.append(entry, decide(entry)):
            return entry
