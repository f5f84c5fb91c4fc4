"""Faults that queues of files have, planted in ours: for proving that the torture and the contention harness can fail.

Each `plant_…` changes this process, and those that it forks. Each has a taker (``support.faults:SharedMarker`` …) that
plants it where it is made, for the claimers of `parallel_loop.coordinator.contention`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from parallel_loop.queue import atomic, healing, markers
from parallel_loop.queue.chain import Chain
from parallel_loop.queue.clock import seconds_between
from parallel_loop.queue.held import SUFFIX
from parallel_loop.queue.hint import Hint
from parallel_loop.queue.markers import Marker, Owner
from parallel_loop.queue.records import Entry, Item, Record, encode
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Claim, Taker
from support.queues import AT_ONCE

# The moment between two steps that belong together, as long as on a busy machine. Stepped processes need none.
dawdle_seconds = 0.002


def dawdle() -> None:
    end = time.monotonic() + dawdle_seconds
    while time.monotonic() < end:
        os.sched_yield()


def plant_owner_after_link() -> None:
    """The name first, what stands in it second."""

    def claim(self: Chain, item_id: str, number: int, marker: str) -> bool:
        path = self._layout.record(item_id, number)
        draft = atomic.write_private(self._layout.drafts, b"")
        won = atomic.link_once(draft, path)
        Path(draft).unlink()
        if won:
            dawdle()
            _write(path, os.O_WRONLY, Path(marker).read_bytes())
        return won

    Chain.claim = claim  # type: ignore[method-assign]


def plant_shared_marker() -> None:
    """One file for the claims of all workers, locked by each of them."""

    def create(self: Marker) -> Path:
        worker = f"{self.owner.agent}.{self.owner.pid}.00000000"
        self.record = Record(
            kind="claimed", at=markers.utc_now(), agent=self.owner.agent, worker=worker, pid=self.owner.pid
        )
        path = self._layout.root / "marker.json"
        draft = atomic.write_private(self._layout.drafts, encode(self.record))
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        Path(draft).unlink()
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        self._descriptors.append(descriptor)
        self.source = str(path)
        return path

    Marker._create = create  # type: ignore[method-assign]


def plant_check_then_create() -> None:
    """Looks whether the claim exists, then makes it: what most queues of files do."""

    def claim(self: Chain, item_id: str, number: int, marker: str) -> bool:
        path = self._layout.record(item_id, number)
        if os.path.lexists(path):
            return False
        dawdle()
        os.replace(atomic.write_private(self._layout.drafts, Path(marker).read_bytes()), path)
        return True

    Chain.claim = claim  # type: ignore[method-assign]


def plant_take_back_by_age() -> None:
    """Who has registered a while ago counts as dead."""

    def is_owner_alive(marker: atomic.StrPath) -> bool:
        try:
            owner = json.loads(Path(str(marker).replace(SUFFIX, ".json")).read_bytes())
        except FileNotFoundError:
            return False
        return seconds_between(owner["at"], markers.utc_now()) < 0.005

    healing.is_owner_alive = is_owner_alive  # type: ignore[attr-defined]


def plant_rewritten_json() -> None:
    """The outcome is written into the claim's own file."""
    append_new = Chain.append

    def append(self: Chain, item_id: str, number: int, record: Record, files: object = None) -> bool:
        path = self._layout.record(item_id, number - 1)
        last = json.loads(Path(path).read_bytes()) if number > 1 else {}
        if last.get("kind") != "claimed":
            return append_new(self, item_id, number, record)
        _write(path, os.O_WRONLY | os.O_TRUNC, json.dumps(last | json.loads(encode(record))).encode())
        return True

    Chain.append = append  # type: ignore[method-assign]


def plant_textbook() -> None:
    """Directories for states: link into `claimed`, unlink from `pending`, rename to `done` or back.

    `link(2)` finds its source before it makes the name, and the source may have gone on by then; to be seen with few
    items, the two halves are two calls here.
    """
    create_item, create_items, append_record = Chain.create_item, Chain.create_items, Chain.append

    def place(self: Chain, state: str, item_id: str) -> str:
        folder = self._layout.root / state
        folder.mkdir(exist_ok=True)
        return str(folder / item_id)

    def create(self: Chain, item: Item) -> bool:
        created = create_item(self, item)
        atomic.link_once(self._layout.item(item.id), place(self, "pending", item.id))
        return created

    def create_all(self: Chain, items: Iterable[Item]) -> None:
        items = list(items)
        create_items(self, items)
        for item in items:
            atomic.link_once(self._layout.item(item.id), place(self, "pending", item.id))

    def claim(self: Chain, item_id: str, number: int, marker: str) -> bool:
        pending, claimed = place(self, "pending", item_id), place(self, "claimed", item_id)
        try:
            _link_in_two_parts(pending, claimed)
        except (FileNotFoundError, FileExistsError):
            return False
        with contextlib.suppress(FileNotFoundError):
            Path(pending).unlink()
        with contextlib.suppress(FileExistsError):
            os.link(marker, self._layout.record(item_id, number))
        return True

    def append(self: Chain, item_id: str, number: int, record: Record, files: object = None) -> bool:
        with contextlib.suppress(FileNotFoundError):
            state = "done" if record.kind == "done" else "pending"
            Path(place(self, "claimed", item_id)).rename(place(self, state, item_id))
        return append_record(self, item_id, number, record)

    Chain.create_item, Chain.create_items = create, create_all  # type: ignore[method-assign]
    Chain.claim, Chain.append = claim, append  # type: ignore[method-assign]


def plant_end_without_number() -> None:
    """The outcome of an attempt goes to whatever number is free, if the item is not done."""

    def end(self: Taker, claim: Claim, record: Record) -> bool:
        entry = self._queue.entry(claim.item.id)
        assert entry is not None
        ended = not entry.last_is("done") and self._queue.append(entry, record)
        self.forget(claim)
        return ended

    def complete(self: Taker, claim: Claim) -> bool:
        agent = self._marker.owner.agent
        return end(self, claim, Record(kind="done", at=self._queue.now(), agent=agent, outcome="done"))

    Taker.end, Taker.complete = end, complete  # type: ignore[method-assign]


def plant_import_one_by_one() -> None:
    """Items that belong together are added one after the other."""

    def import_(self: Queue, items: Sequence[Item]) -> None:
        for item in items:
            self.chain.create_item(item)
        self._make_hints(items)

    Queue._import = import_  # type: ignore[method-assign]


def plant_place_of_the_dead() -> None:
    """The place of a dead worker is free before its claim is taken back."""
    Chain.is_claim_open = lambda self, item_id, number, owner: False  # type: ignore[method-assign]


def _write(path: atomic.StrPath, flags: int, data: bytes) -> None:
    descriptor = os.open(path, flags)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _link_in_two_parts(source: str, target: str) -> None:
    found = os.open(source, os.O_PATH | os.O_NOFOLLOW)
    try:
        dawdle()
        os.link(f"/proc/self/fd/{found}", target, src_dir_fd=found, follow_symlinks=True)
    finally:
        os.close(found)


Plant = Callable[[], None]
FAULTS: dict[str, Plant] = {
    "owner after link": plant_owner_after_link,
    "shared marker": plant_shared_marker,
    "check, then create": plant_check_then_create,
    "take back by age": plant_take_back_by_age,
    "JSON rewritten": plant_rewritten_json,
    "textbook": plant_textbook,
    "end without number": plant_end_without_number,
}
# Only a kill brings these to light.
DEADLY_FAULTS: dict[str, Plant] = {
    "import one by one": plant_import_one_by_one,
    "place of the dead": plant_place_of_the_dead,
}


class _Faulty(Taker):
    plant: Plant

    def __init__(self, queue: Queue, owner: Owner) -> None:
        type(self).plant()
        super().__init__(queue, owner)


class SharedMarker(_Faulty):
    plant = staticmethod(plant_shared_marker)


class CheckThenCreate(_Faulty):
    plant = staticmethod(plant_check_then_create)


class RewrittenJson(_Faulty):
    plant = staticmethod(plant_rewritten_json)


class OwnerAfterLink(_Faulty):
    plant = staticmethod(plant_owner_after_link)


class EndWithoutNumber(_Faulty):
    plant = staticmethod(plant_end_without_number)


class Textbook(_Faulty):
    """A worker that believes what its link says, and looks at no record."""

    plant = staticmethod(plant_textbook)

    def __init__(self, queue: Queue, owner: Owner) -> None:
        super().__init__(queue, owner)
        (queue.layout.root / "pending").mkdir(exist_ok=True)
        for item_id in healing.item_ids(queue):  # before anybody takes
            atomic.link_once(queue.layout.item(item_id), queue.layout.root / "pending" / item_id)

    def _read(self, hint: Hint) -> Claim:
        item = self._queue.chain.read_named_item(hint.id)
        assert item is not None
        records = self._queue.chain.read_records(hint.id)
        return Claim(Entry(item, records[: hint.number]), self._queue.now())


class TakeBackByAge(_Faulty):
    """A worker that finds nothing takes back what it believes to be the claims of the dead, and looks again."""

    plant = staticmethod(plant_take_back_by_age)

    def take(self) -> Claim | None:
        claim = super().take()
        if claim is None:
            survey = Survey(self._queue)
            survey.refresh()
            for entry in survey.entries():
                healing.take_back(self._queue, entry, AT_ONCE)
            claim = super().take()
        return claim

    def complete(self, claim: Claim) -> bool:
        dawdle()
        return super().complete(claim)
