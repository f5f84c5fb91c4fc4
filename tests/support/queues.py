"""Queues for tests: without flushing, with a clock that only moves when told, and takers that look like workers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from parallel_loop.queue.buckets import live_lines, read_text
from parallel_loop.queue.clock import later, utc_now
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.ready import paths_of_buckets
from parallel_loop.queue.records import Entry, Item, Kind, Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Claim, Taker

START = "2026-01-01T00:00:00.000000Z"
AT_ONCE = RetryPolicy(attempts=1000, first_seconds=0.0)  # a taken-back item is takable again without waiting


class Clock:
    """Time as the queue sees it; each reading is a millisecond later than the one before."""

    def __init__(self) -> None:
        self._seconds = 0.0

    def __call__(self) -> str:
        self._seconds += 1e-3
        return later(START, self._seconds)

    def advance(self, seconds: float) -> None:
        self._seconds += seconds


def make_queue(root: Path, clock: Clock | None = None) -> Queue:
    queue = Queue(root, durable=False, now=clock or utc_now)
    queue.create()
    return queue


def make_taker(queue: Queue, agent: str = "agent-1", wip: Mapping[str, int] | None = None) -> Taker:
    return Taker(queue, Owner(agent, os.getpid()), wip)


def an_item(item_id: str, **fields: object) -> Item:
    return Item(**({"id": item_id, "title": item_id, "added_at": ""} | fields))


def add(queue: Queue, item_id: str, **fields: object) -> Item:
    (item,) = queue.add([an_item(item_id, **fields)])
    return item


def record(queue: Queue, kind: Kind, **fields: object) -> Record:
    return Record(**({"kind": kind, "at": queue.now()} | fields))


def append(queue: Queue, item_id: str, kind: Kind, **fields: object) -> bool:
    """Append to the item as it is now, as a command of the user does."""
    entry = queue.entry(item_id)
    assert entry is not None
    return queue.append(entry, record(queue, kind, **fields))


def end(queue: Queue, taker: Taker, claim: Claim, kind: Kind = "done", **fields: object) -> bool:
    return taker.end(claim, record(queue, kind, **fields))


def drain(queue: Queue, taker: Taker) -> list[str]:
    """Take and complete until nothing is takable; return the ids in taking order."""
    taken = []
    while (claim := taker.take()) is not None:
        assert end(queue, taker, claim)
        taken.append(claim.item.id)
    return taken


def finish(queue: Queue, *item_ids: str) -> dict[str, Entry | None]:
    """Add these items and have a worker do them; return all that is known of them."""
    queue.add([an_item(item_id) for item_id in item_ids])
    taker = make_taker(queue)
    assert drain(queue, taker) == list(item_ids)
    taker.close()
    return {item_id: queue.entry(item_id) for item_id in item_ids}


def own_files(queue: Queue) -> list[str]:
    """The files that items have of their own, as those in a pack have not."""
    return sorted(path.name for path in queue.layout.items.glob("*/*"))


def ready_lines(queue: Queue) -> list[str]:
    """The ready hints, as whoever reads the buckets sees them."""
    return [name for path in paths_of_buckets(queue.layout) for name in live_lines(read_text(path))]


def lose_ready_hints(queue: Queue) -> None:
    """Make the ready hints disappear, as a power cut or somebody who deletes files may."""
    for path in paths_of_buckets(queue.layout):
        Path(path).unlink()


def states(queue: Queue) -> dict[str, str]:
    survey = Survey(queue)
    survey.refresh()
    return {entry.item.id: survey.state(entry) for entry in survey.all_entries()}


@contextmanager
def without_privileges() -> Iterator[None]:
    """Obey permissions, which root does not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
