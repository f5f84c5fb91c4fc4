"""What a person may ask of one item: end it, try it again, answer its question, let it land or not.

Each request is one record at the end of the chain. It is refused, with a reason, when the item is not in
a state for it; when the chain goes on between the look and the record, the look is repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from .records import Entry, Record
from .store import Queue

# Outcomes of an attempt whose work is held on its branch: for a person's look, or until somebody asks that it lands.
REVIEW = "review"
UNLANDED = "unlanded"
DENIED: Final = "denied"  # of one whose program was not allowed something; what it did without that is kept
OVER_BUDGET: Final = "over-budget"  # of one that waits because it has cost what it may
WANTS_A_LOOK = "wants a look"  # why an item waits for review


def is_review(entry: Entry) -> bool:
    """Whether the item waits for a person's look."""
    return entry.last is not None and entry.last.kind == "waiting" and entry.last.outcome == REVIEW


def is_done_without(entry: Entry) -> bool:
    """Whether the item waits since its program was denied something, and did something without that."""
    last = entry.last
    return last is not None and last.kind == "waiting" and last.outcome == DENIED and last.commit is not None


def reason(entry: Entry) -> str | None:
    """Why the item is as it is, in few words; of a review earlier versions wrote a sentence with three commands."""
    why = None if entry.last is None else entry.last.why
    return WANTS_A_LOOK if is_review(entry) and (why or "").startswith(WANTS_A_LOOK) else why


def is_unlanded(entry: Entry) -> bool:
    """Whether the item was left on its branch, until somebody asks that it lands."""
    return entry.last is not None and entry.last.kind == "waiting" and entry.last.outcome == UNLANDED


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
    """Make an item takable now, with all its attempts: one that failed, was cancelled, is delayed or over budget."""

    def decide(entry: Entry) -> Record:
        last = entry.last
        held = last is not None and last.kind == "waiting" and last.outcome == OVER_BUDGET
        if last is None or not (held or last.kind in {"failed", "cancelled", "released"}):
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
    """Let an item land that waits for review, or for what its program was denied and did without."""

    def decide(entry: Entry) -> Record:
        last = _require_waiting(queue, entry)
        if last.outcome not in {REVIEW, UNLANDED} and not is_done_without(entry):
            raise Refused(f"{item_id} waits for an answer, not for review; see `parallel-loop show {item_id}`")
        return _handed_over(queue, last)

    return _append(queue, item_id, decide)


def reject(queue: Queue, item_id: str, reason: str) -> Entry:
    """Send an item that waits for review, or was left on its branch, back to work, with `reason` in its prompt."""

    def decide(entry: Entry) -> Record:
        if _require_waiting(queue, entry).outcome not in {REVIEW, UNLANDED}:
            raise Refused(f"{item_id} waits for an answer, not for review; `parallel-loop answer {item_id} TEXT`")
        return Record(kind="answered", at=queue.now(), text=reason)

    return _append(queue, item_id, decide)


def land(queue: Queue, item_ids: Iterable[str]) -> None:
    """Let items land that were left on their branches; those that wait for landing already are left alone.

    Nothing is changed when it cannot be done to one of them. Raises Refused, NoSuchItem.
    """
    item_ids = tuple(item_ids)
    for item_id in item_ids:
        _landing(queue, _read(queue, item_id))
    for item_id in item_ids:
        _append(queue, item_id, lambda entry: _landing(queue, entry))


def _landing(queue: Queue, entry: Entry) -> Record | None:
    item_id, last = entry.item.id, entry.last
    if last is not None and last.kind == "landing":
        return None
    if last is None or last.kind != "waiting":
        raise Refused(f"{item_id} is {queue.state(entry)}; only what was left on its branch can be landed")
    if last.outcome == REVIEW:
        raise Refused(f"{item_id} waits for review; `parallel-loop approve {item_id}` lets it land")
    if last.outcome != UNLANDED:
        raise Refused(f"{item_id} waits for an answer; `parallel-loop answer {item_id} TEXT`")
    return _handed_over(queue, last)


def _handed_over(queue: Queue, held: Record) -> Record:
    """The record by which what was held goes to the lander."""
    return Record(
        kind="landing",
        at=queue.now(),
        agent=held.agent,
        outcome="done",
        started_at=held.started_at,
        seconds=held.seconds,
        branch=held.branch,
        commit=held.commit,
        log=held.log,
    )


def _require_waiting(queue: Queue, entry: Entry) -> Record:
    if entry.last is None or entry.last.kind != "waiting":
        raise Refused(f"{entry.item.id} is {queue.state(entry)}; it waits for nobody")
    return entry.last


def _append(queue: Queue, item_id: str, decide: Callable[[Entry], Record | None]) -> Entry:
    while True:
        entry = _read(queue, item_id)
        record = decide(entry)
        if record is None or queue.append(entry, record):
            return entry


def _read(queue: Queue, item_id: str) -> Entry:
    entry = queue.entry(item_id)
    if entry is None:
        raise NoSuchItem(item_id)
    return entry
