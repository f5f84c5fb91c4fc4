"""Recovery: what was held by the dead becomes takable again, and missing hints are made.

Guarantees: all of it may run at any time, beside workers, twice at once, and be killed anywhere; a claim
whose owner lives is never touched.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from .atomic import Unreadable, is_draft, own_names
from .buckets import Bucket
from .folders import Folder
from .held import SUFFIX, read_note
from .hint import Hint
from .hints import remove
from .ids import is_id
from .markers import is_marker, is_owner_alive, read_marker
from .ready import offers, paths_of_buckets
from .records import Entry, Record
from .retry import RetryPolicy
from .store import Queue

_DRAFT_AGE_SECONDS = 3600.0  # generous: a draft lives for milliseconds; without it, its writer fails


def heal(queue: Queue, policy: RetryPolicy) -> list[Entry]:
    """Finish what killed processes left half done; return the items that were taken back."""
    queue.create()
    with contextlib.suppress(TimeoutError), queue.adding():
        pass  # finishes imports; who holds that lock and is stopped keeps only those waiting
    taken_back = []
    with queue.hints.many():
        for item_id in _perhaps_unhealthy(queue):
            with contextlib.suppress(Unreadable):
                entry = queue.chain.read(item_id)
                if entry is None:
                    continue
                if take_back(queue, entry, policy):
                    taken_back.append(entry)
                else:
                    queue.refresh_hints(entry, ring=False)
    taken_back += take_back_from_the_dead(queue, policy)
    _tidy(queue)
    queue.bell.ring_all()
    return taken_back


def _perhaps_unhealthy(queue: Queue) -> Iterator[str]:
    """Yield the ids of all items but those whose next record a hint offers already: with these all is well."""
    offered = offers(queue.layout)
    for lengths in _chains(queue):
        yield from (item_id for item_id, length in lengths.items() if (item_id, str(length + 1)) not in offered)


def take_back_from_the_dead(queue: Queue, policy: RetryPolicy) -> list[Entry]:
    """Take back the claims of dead owners, found by their notes of what they held; return their items.

    Also finishes what the dead had begun: the hints that follow from their last record. Their notes and markers go:
    workers may die for months while no coordinator begins.
    """
    taken_back: list[Entry] = []
    for name in own_names(queue.layout.workers):
        path = queue.layout.workers / name
        if name.endswith(SUFFIX) and not is_owner_alive(path):
            worker = name.removesuffix(SUFFIX).rpartition(".")[0]
            with contextlib.suppress(Unreadable):  # not ours: a survey names it
                settled = [_settle(queue, item_id, worker, policy, taken_back) for item_id in read_note(path)]
                if all(settled):
                    _remove_marker(path.with_name(name.removesuffix(SUFFIX) + ".json"))
                    remove(path)
    return taken_back


def _settle(queue: Queue, item_id: str, worker: str, policy: RetryPolicy, taken_back: list[Entry]) -> bool:
    """Finish what a dead worker had to do with an item; False when its process is not quite through with ending."""
    try:
        entry = queue.chain.read(item_id)
    except Unreadable:
        return True
    if entry is None:
        return True
    if take_back(queue, entry, policy):
        taken_back.append(entry)
        return True
    queue.refresh_hints(entry)
    last = entry.last
    return last is None or last.kind != "claimed" or f"{last.agent}.{last.pid}" != worker


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
    for lengths in _chains(queue):
        yield from filter(is_id, lengths)


def _chains(queue: Queue) -> Iterator[dict[str, int]]:
    """Yield the names of the items and the lengths of their chains, directory by directory."""
    for name in own_names(queue.layout.items):
        folder = Folder(f"{queue.layout.items}/{name}")
        folder.list_again()
        yield folder.lengths


def _tidy(queue: Queue) -> None:
    """Remove what only the dead had a use for: hints to what is taken, markers and drafts."""
    layout = queue.layout
    for bucket in map(Bucket, paths_of_buckets(layout)):
        for name in bucket.names:
            hint = Hint.parse(name)
            if hint is not None and queue.chain.has_record(hint.id, hint.number):
                bucket.strike(name)
        bucket.remove_if_done()
    for name in own_names(layout.workers):
        _remove_marker(layout.workers / name)
    for name in own_names(layout.drafts):
        with contextlib.suppress(OSError):
            status = (layout.drafts / name).lstat()
            is_old = time.time() - status.st_mtime > _DRAFT_AGE_SECONDS
            if is_draft(name) and stat.S_ISREG(status.st_mode) and is_old and not _is_running(name.partition("-")[0]):
                remove(layout.drafts / name)


def _remove_marker(path: Path) -> None:
    """Remove what is the marker of a dead owner; the claims that it made keep the file under their names."""
    with contextlib.suppress(Unreadable):
        if is_marker(path.name) and not is_owner_alive(path) and read_marker(path) is not None:
            remove(path)


def _is_running(pid: str) -> bool:
    """A guess that errs on one side only: a draft whose writer's id was given to another stays."""
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
