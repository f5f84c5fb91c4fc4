"""What attempts used: tokens and, where the program says so, US dollars.

An attempt's record has it. One whose worker was killed, or that was cancelled meanwhile, has none: what its program had
told until then is in its file of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..queue.records import Entry, Item, Record, Usage
from .configuration.config import Config
from .dialects.story import Story
from .programs import program_of
from .resuming import events_in, session_usage_in
from .state import StateDirectory

NOTHING = Usage()


@dataclass(frozen=True)
class Spent:
    """One attempt that has ended: when, and what it used; `usage` is empty where nobody knows."""

    item: Item
    number: int
    claim: int  # which of the item's records began it
    end: Record
    program: str
    usage: Usage


def spent(entry: Entry, state: StateDirectory, config: Config) -> Iterator[Spent]:
    """Yield the attempts at the item that have ended, the first one first."""
    events, number = None, 0
    for index, (claim, end) in enumerate(pairwise(entry.records)):
        if claim.kind != "claimed":
            continue
        number += 1
        # Later records of the same attempt repeat what this one says.
        before, events = events, state.agent(claim.agent or "").events_file(entry.item.id, number)
        usage = end.usage
        if usage is None and end.program is None:
            usage = usage_in(events, before)
        yield Spent(entry.item, number, index, end, end.program or program_of(entry.item, config), usage or NOTHING)


def usage_in(events: Path, before: Path | None = None) -> Usage | None:
    """Return what a file of events says that was used; `before` is that of the attempt before, for the same session."""
    if not events.exists():
        return None
    story = Story()
    for event in events_in(events, b'"used"'):
        story.take(event)
    had = session_usage_in(before) if before is not None and story.session_usage() is not None else None
    return story.usage(had)
