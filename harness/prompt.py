"""The text that a program is given: the item, what a person answered, and what became of earlier attempts."""

from __future__ import annotations

from collections.abc import Iterator

from ..queue.records import Entry, Record
from ..queue.requests import DENIED, REVIEW, UNLANDED
from ..worktrees.salvage import salvage_ref
from .resuming import Resumption

# What the text of a record is that ended an attempt; else the end of some output.
_HEADINGS = {
    "conflict": "What both sides did there, and the lines in conflict (the work starts anew from what has landed):",
    "semantic-conflict": "What it has to go with, and the end of the output:",
}


def compose(entry: Entry) -> str:
    """Return the prompt for the next attempt at `entry`'s item: nothing but what is known of that."""
    return joined(entry.item.prompt, answers(entry), earlier(entry))


def joined(*parts: str) -> str:
    """Return the parts that say something as paragraphs."""
    return "\n\n".join(part for part in parts if part)


def answers(entry: Entry) -> str:
    """Return what people said, each with what it was said to."""
    return joined(*_answers(entry))


def earlier(entry: Entry) -> str:
    """Return what became of the attempts that say something to the next one."""
    return joined(*(_describe(entry, record) for record in _telling(entry)))


def go_on(entry: Entry, resumed: Resumption) -> str:
    """Return what is said to a session that goes on: it knows the item, and all that it did."""
    answered = entry.records.index(resumed.record) < _last_answer(entry)
    return joined(resumed.words, list(_answers(entry))[-1] if answered else "")


def _last_answer(entry: Entry) -> int:
    return max((number for number, record in enumerate(entry.records) if record.kind == "answered"), default=-1)


def _telling(entry: Entry) -> list[Record]:
    """Return the records of the attempts that say something to the next one, in their order.

    The latest that counted; since then each that a person interrupted with a text, and the latest to leave work.
    """
    found = list[Record]()
    for record in reversed(entry.records):
        if record.kind not in {"released", "failed", "waiting"}:
            continue
        is_said = record.text and (record.outcome == "interrupted" or not found)
        is_work = record.commit and not any(one.commit for one in found)
        if record.counted or is_said or is_work:
            found.insert(0, record)
        if record.counted:
            break
    return found


def _answers(entry: Entry) -> Iterator[str]:
    """Yield what a person said, each with what it was said to."""
    held = None
    for record in entry.records:
        if record.kind == "waiting":
            held = record
        elif record.kind == "answered":
            yield "\n".join([*_said_to(held), f"A person answered: {record.text}"])


def _said_to(held: Record | None) -> list[str]:
    if held is not None and held.outcome == DENIED:
        return [f"You were not allowed to do something: {held.why}"]
    if held is not None and held.outcome == "asked":
        return [f"You asked: {held.why}"]
    if held is not None and held.outcome in {REVIEW, UNLANDED} and held.branch:
        return [f"The work on the branch {held.branch} was looked at, and did not land."]
    return []


def _describe(entry: Entry, earlier: Record) -> str:
    where = _where(entry, earlier)
    if earlier.kind == "waiting":
        return f"What was done before is {where}." if where else ""
    lines = [f"An earlier attempt did not land ({earlier.outcome}): {earlier.why}"]
    if where:
        lines.append(f"Its work is {where}.")
    if earlier.text and not (earlier.why or "").endswith(earlier.text):  # it is what a person said who interrupted
        lines += [_HEADINGS.get(earlier.outcome or "", "The end of its output:"), earlier.text]
    return "\n".join(lines)


def _where(entry: Entry, earlier: Record) -> str:
    """Return where the work of an attempt is; branches of a cancelled item may have become salvage before its retry."""
    if earlier.branch is None:
        return ""
    ref = salvage_ref(earlier.branch) if any(record.kind == "cancelled" for record in entry.records) else None
    return f"on the branch {earlier.branch}" + (f", or if that is gone under {ref}" if ref else "")
