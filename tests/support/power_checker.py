"""What must hold on a disk after a power cut, once somebody has opened the queue on it and healed it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from parallel_loop.queue.healing import heal, item_ids
from parallel_loop.queue.records import ENDED, Item
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.tidying import tidy
from support.queue_checker import read_chains
from support.queue_watcher import read_pack
from support.queues import AT_ONCE, Clock, drain, make_taker

STOPPED = {*ENDED, "waiting", "landing"} - {"done"}  # nobody takes an item on from there without being asked


@dataclass(frozen=True)
class Trying:
    """These items are about to be added together."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """`add` returned these items."""

    items: tuple[Item, ...]


@dataclass(frozen=True)
class Recorded:
    """Whoever made record number `number` of the item was told so; `kind` is "" where it was left to the queue."""

    item_id: str
    number: int
    kind: str


Fact = Trying | Added | Recorded


@dataclass
class Told:
    """All that the run was told up to the cut."""

    tried: list[tuple[str, ...]] = field(default_factory=list)
    items: dict[str, Item] = field(default_factory=dict)
    records: dict[str, dict[int, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, facts: list[Fact]) -> Told:
        told = cls()
        for fact in facts:
            if isinstance(fact, Trying):
                told.tried.append(fact.ids)
            elif isinstance(fact, Added):
                told.items |= {item.id: item for item in fact.items}
            else:
                told.records.setdefault(fact.item_id, {})[fact.number] = fact.kind
        return told


def check_after_cut(root: Path, facts: list[Fact]) -> None:
    """Heal the queue at `root`, check that it keeps all `facts`, and work it off. AssertionError says what is wrong."""
    told = Told.of(facts)
    clock = Clock()
    clock.advance(3600)
    queue = Queue(root, durable=False, now=clock)
    _check_done(queue, told)
    with contextlib.closing(queue.bell):
        heal(queue, AT_ONCE)
        _check_kept(queue, told)
        assert heal(queue, AT_ONCE) == [], "healing again finds claims to take back"
        _check_new_ids(queue, told)
        _check_drained(queue, told)
        _check_tidied(queue, told)


def _check_done(queue: Queue, told: Told) -> None:
    """What is done is seen to be done, also by somebody who comes before anybody has healed."""
    for item_id, numbered in told.records.items():
        if "done" in numbered.values():
            entry = queue.entry(item_id)
            assert entry is not None, f"{item_id} was done and is lost"
            assert entry.last_is("done"), f"{item_id} was done, but there is {entry.records}"


def _check_tidied(queue: Queue, told: Told) -> None:
    """All that is done can be packed, whatever the cut has left of the packing before it."""
    tidy(queue)
    packed = {item_id: line for path in queue.layout.packs.iterdir() for item_id, line in read_pack(path).lines.items()}
    own = set(item_ids(queue))
    for item_id, item in told.items.items():
        assert (item_id in packed) != (item_id in own), f"{item_id} is packed: {item_id in packed}"
        assert item_id in own or packed[item_id].item["title"] == item.title, f"{item_id} is another item now"
        for number, kind in told.records.get(item_id, {}).items():
            found = packed[item_id].records[number - 1]["kind"] if item_id in packed else kind
            assert kind in {"", found}, f"{item_id}: record {number} ({kind}) was packed as {found}"


def _check_kept(queue: Queue, told: Told) -> None:
    survey = Survey(queue)
    survey.refresh()
    assert survey.damage == [], f"a file that can be seen is whole, also after a cut: {survey.damage}"
    for item_id, item in told.items.items():
        entry = queue.entry(item_id)
        assert entry is not None, f"{item_id} was acknowledged and is lost"
        assert entry.item == item, f"{item_id} is another item now"
    for item_id, numbered in told.records.items():
        entry = queue.entry(item_id)
        assert entry is not None, f"{item_id} has an outcome and is lost"
        for number, kind in numbered.items():
            assert len(entry.records) >= number, f"{item_id}: record {number} ({kind}) was acknowledged and is lost"
            assert kind in {"", entry.records[number - 1].kind}, f"{item_id}: record {number} says something else"
    for ids in told.tried:
        there = {item_id for item_id in ids if queue.entry(item_id) is not None}
        assert len(there) in {0, len(ids)}, f"only {sorted(there)} of the import {ids}"
    working = [entry.item.id for entry in survey.entries() if survey.state(entry) == "working"]
    assert working == [], "claims of owners that are gone were not taken back"


def _check_new_ids(queue: Queue, told: Told) -> None:
    """An id that was acknowledged is given to nothing else."""
    for title in [item.title for item in told.items.values()][:2]:
        (item,) = queue.add([Item(id="", title=title, added_at="")])
        assert item.id not in told.items


def _had_ended(queue: Queue, told: Told, item_id: str) -> bool:
    """Tell whether an end was acknowledged and nobody has asked for another attempt since."""
    numbered = told.records.get(item_id, {})
    entry = queue.entry(item_id)
    if not numbered or entry is None:
        return False
    last = max(numbered)
    asked = any(record.kind in {"retried", "answered"} for record in entry.records[last:])
    return numbered[last] in {"done", *STOPPED} and not asked


def _check_drained(queue: Queue, told: Told) -> None:
    taker = make_taker(queue)
    taken: list[str] = []
    # A record that the cut left beyond a missing one is seen when that one is made again; its hint comes by healing.
    while more := drain(queue, taker):
        taken += more
        heal(queue, AT_ONCE)
    taker.close()
    again = [item_id for item_id in taken if _had_ended(queue, told, item_id)]
    assert again == [], f"{again} had ended and are executed again"
    read_chains(queue.layout.root, orphans=True)
    survey = Survey(queue)
    survey.refresh()
    states = {entry.item.id: survey.state(entry) for entry in survey.entries()}
    for entry in survey.entries():
        state = states[entry.item.id]
        waits_for = [states.get(name) for name in entry.item.after]
        excused = state == "blocked" and any(other in {*STOPPED, "blocked"} for other in waits_for)
        assert state == "done" or state in STOPPED or excused, f"{entry.item.id} is {state}, after {waits_for}"
