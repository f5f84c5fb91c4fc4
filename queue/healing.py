"""Recovery: what was held by the dead becomes takable again, and missing hints are made.

Guarantees: all of it may run at any time, beside workers, twice at once, and be killed anywhere; a claim
whose owner lives is never touched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .atomic import Unreadable
from .hints import list_names, remove
from .layout import parse_name
from .markers import is_owner_alive
from .ready import tidy_ready
from .records import Entry, Record
from .retry import RetryPolicy
from .store import Queue

_DRAFT_AGE_SECONDS = 3600.0  # generous: a draft lives for milliseconds; removing one early costs its writer a retry


def heal(queue: Queue, policy: RetryPolicy) -> list[Entry]:
    """Finish what killed processes left half done; return the items that were taken back."""
    queue.create()
    with queue.adding():
        pass  # finishes imports
    taken_back = []
    for item_id in item_ids(queue):
        with contextlib.suppress(Unreadable):
            entry = queue.chain.read(item_id)
            if entry is None:
                continue
            if take_back(queue, entry, policy):
                taken_back.append(entry)
            else:
                queue.refresh_hints(entry, ring=False)
    _tidy(queue)
    queue.bell.ring()
    return taken_back


def take_back_from_the_dead(queue: Queue, policy: RetryPolicy) -> list[Entry]:
    """Take back the claims of dead owners, found by the hints of claims; return their items."""
    taken_back = []
    for hint in queue.hints.working():
        with contextlib.suppress(Unreadable):
            entry = queue.chain.read(hint.id)
            if entry is None or entry.last is None or entry.last.kind != "claimed":
                queue.hints.unmark_working(hint)
            elif take_back(queue, entry, policy):
                queue.hints.unmark_working(hint)
                taken_back.append(entry)
    return taken_back


def take_back(queue: Queue, entry: Entry, policy: RetryPolicy) -> bool:
    """End the claim of a dead owner; False when there is no claim, its owner lives, or another was first.

    It counts as an attempt: an item that kills its worker must not do so for ever.
    """
    claim = entry.last
    if claim is None or claim.kind != "claimed":
        return False
    if is_owner_alive(queue.layout.record(entry.item.id, len(entry.records))):
        return False
    record = Record(
        kind="released",
        at=queue.now(),
        agent=claim.agent,
        outcome="died",
        why=f"the worker of {claim.agent} (pid {claim.pid}) died in the middle of it",
    )
    return queue.append(entry, policy.after_failure(entry, record))


def item_ids(queue: Queue) -> Iterator[str]:
    """Yield the ids of all items, in no particular order."""
    for folder in list_names(queue.layout.items):
        for name in list_names(queue.layout.items / folder):
            parsed = parse_name(name)
            if parsed is not None and parsed[1] is None:
                yield parsed[0]


def _tidy(queue: Queue) -> None:
    """Remove what only the dead had a use for: markers, drafts, ready hints of claimed items."""
    layout = queue.layout
    for name in list_names(layout.workers):
        if not is_owner_alive(layout.workers / name):
            remove(layout.workers / name)
    newest = layout.root.joinpath("bell").stat().st_mtime
    for name in list_names(layout.drafts):
        with contextlib.suppress(FileNotFoundError):
            if newest - (layout.drafts / name).stat().st_mtime > _DRAFT_AGE_SECONDS:
                remove(layout.drafts / name)
    tidy_ready(layout, lambda hint: not queue.chain.has_record(hint.id, hint.number))
