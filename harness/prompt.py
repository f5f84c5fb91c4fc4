"""The text that a program is given: the item, what a person answered, and what went wrong before."""

from __future__ import annotations

from ..queue.records import Entry, Record


def compose(entry: Entry) -> str:
    """Return the prompt for the next attempt at `entry`'s item."""
    parts = [entry.item.prompt]
    parts += [f"A person answered: {record.text}" for record in entry.records if record.kind == "answered"]
    failure = last_failure(entry)
    if failure is not None:
        parts.append(_describe(failure))
    return "\n\n".join(part for part in parts if part)


def last_failure(entry: Entry) -> Record | None:
    """Return the record of the latest attempt that did not land, None when there was none."""
    for record in reversed(entry.records):
        if record.kind in {"released", "failed"} and record.counted:
            return record
    return None


def _describe(failure: Record) -> str:
    lines = [f"An earlier attempt did not land ({failure.outcome}): {failure.why}"]
    if failure.branch:
        lines.append(f"Its work is on the branch {failure.branch}.")
    if failure.text:
        lines += ["The end of its output:", failure.text]
    return "\n".join(lines)
