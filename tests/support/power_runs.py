"""Runs of a durable queue, recorded with what was said to whom: one of every operation, and random ones by seed.

The processes of a run are objects of this one, each with a Queue of its own. One may be killed before any of its steps,
and another may act in between two of them. What a killed one had done stays on the disk as far as it is certain.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from parallel_loop.queue import requests, tidying
from parallel_loop.queue.healing import heal, item_ids, take_back_from_the_dead
from parallel_loop.queue.records import Item, Kind
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import NotAllowed, Queue
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.queue.tidying import tidy
from support.power_checker import Added, Recorded, Trying
from support.queues import Clock, an_item, make_taker, record
from support.steps import Step, watched

QUEUE = Path("repo/.parallel-loop/queue")  # below the directory of a run, in which only the repository is there before
POLICY = RetryPolicy(attempts=3, first_seconds=60.0)
ENDS: tuple[Kind, ...] = ("done", "done", "done", "failed", "released", "waiting", "landing")


class Killed(BaseException):
    """Stands for a kill: nothing in the queue catches it."""


@dataclass
class Deed:
    """An operation under way: after `steps_left` steps its process is killed, and makes no step any more."""

    process: Process
    steps_left: float
    holds_add_lock: bool = False


class Run:
    """One run below `base`; `recorder` is told what its processes are told. `chance` decides what they do, and on kills
    and interruptions while it is `recorded`; without it there are none.
    """

    def __init__(self, base: Path, recorder: Any, chance: random.Random | None = None, prefix: str = "item") -> None:
        self.root = base / QUEUE
        self.recorder = recorder
        self.chance = chance
        self.prefix = prefix
        self.clock = Clock()
        self.processes = [Process(self, f"{prefix}-agent-{number}") for number in range(1, 4)]
        self.added = 0
        self._deeds: list[Deed] = []

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what is done inside, and check that nothing was missed."""
        few = mock.patch.multiple(tidying, _BATCH=3, _MOST_PACKS=1)  # so that a few items make packs, which are merged
        with few, watched(self._before, self.recorder.after):
            yield
            for process in self.processes:
                process.die()
        assert self.recorder.differences() == []

    def perform(self, process: Process, operation: Callable[[Process], object], steps: float = float("inf")) -> bool:
        """Let `process` do it, and kill it when it has made so many steps; False when that was so."""
        deed = Deed(process, steps)
        self._deeds.append(deed)
        try:
            operation(process)
        except Killed:
            assert deed.steps_left <= 0
        else:
            return True
        finally:
            assert self._deeds.pop() is deed
        process.die()
        return False

    def _before(self, step: Step) -> None:
        if not self._deeds:
            return
        deed = self._deeds[-1]
        deed.holds_add_lock = "store.add" in step.name or "tidying." in step.name
        if deed.steps_left <= 0:
            raise Killed
        deed.steps_left -= 1
        if self.chance is not None and len(self._deeds) == 1 and self.chance.random() < 0.02:
            others = [process for process in self.processes if process is not deed.process]
            self.act(self.chance.choice(others), may_add=not deed.holds_add_lock)

    def act(self, process: Process, *, may_add: bool = True) -> None:
        """Let `process` do something, and perhaps be killed at it."""
        assert self.chance is not None
        choices = [Process.take, Process.take, Process.end, Process.end, Process.complete, Process.ask, Process.land]
        if may_add:  # the others would wait for the lock of the one that they interrupt
            choices += [Process.add, Process.add, Process.add_some, Process.heal, Process.die, Process.tidy]
        steps = self.chance.choice([float("inf"), float("inf"), self.chance.randrange(1, 30)])
        self.perform(process, self.chance.choice(choices), steps)


class Process:
    """One process as far as the queue can tell: its own Queue, a taker, and what that holds."""

    def __init__(self, run: Run, agent: str) -> None:
        self._run = run
        self._agent = agent
        self._taker: Taker | None = None
        self.claims: list[Claim] = []
        self.queue = Queue(run.root, now=run.clock)

    def die(self) -> None:
        """Go, and come back as a new process of the same name."""
        if self._taker is not None:
            self._taker.close()
        self._taker = None
        self.claims.clear()
        self.queue = Queue(self._run.root, now=self._run.clock)

    def add(self, *, some: int = 1, after: tuple[str, ...] = ()) -> None:
        """Add items; in a random run one may wait for another of those that are there."""
        items: list[Item] = []
        known = sorted(item_ids(self.queue))
        for _ in range(some):
            self._run.added += 1
            others = [*known, *(item.id for item in items)]
            chosen = (self._choose(others),) if others and self._often(0.3) else after
            fields = {"after": chosen, "priority": self._run.added % 3, "prompt": "p" * 50}
            items.append(an_item(f"{self._run.prefix}-{self._run.added}", **fields))
        self._run.recorder.tell(Trying(tuple(item.id for item in items)))
        self._run.recorder.tell(Added(tuple(self.queue.add(items))))

    def add_some(self) -> None:
        self.add(some=2 + self._run.added % 3)

    def take(self) -> None:
        if self._taker is None:
            self._taker = make_taker(self.queue, self._agent)
        claim = self._taker.take()
        if claim is not None:
            self.claims.append(claim)

    def end(self, kind: Kind | None = None) -> None:
        if not self.claims:
            return
        claim = self.claims.pop(0)
        kind = kind or self._choose(ENDS)
        assert self._taker is not None
        if self._taker.end(claim, record(self.queue, kind, agent=self._agent)):
            self._said(claim.item.id, claim.entry.next_number, kind)

    def complete(self) -> None:
        """End the first claim as done by the record that may be a further name of the last one."""
        if self.claims:
            claim = self.claims.pop(0)
            assert self._taker is not None
            if self._taker.complete(claim):
                self._said(claim.item.id, claim.entry.next_number, "done")

    def land(self) -> None:
        """Finish the first item that waits for landing."""
        for item_id in self.queue.hints.landing()[:1]:
            entry = self.queue.entry(item_id)
            if entry is not None and entry.last_is("landing") and self.queue.append(entry, record(self.queue, "done")):
                self._said(item_id, entry.next_number, "done")

    def ask(self, item_id: str | None = None, request: str | None = None) -> None:
        """Cancel an item, retry it or answer its question, if that can be done."""
        known = sorted(item_ids(self.queue))
        if not known:
            return
        item_id = item_id or self._choose(known)
        request = request or self._choose(["cancel", "retry", "retry", "answer", "answer"])
        with contextlib.suppress(requests.Refused, NotAllowed):
            if request == "cancel":
                entry, kind = requests.cancel(self.queue, item_id), "cancelled"
            elif request == "retry":
                entry, kind = requests.retry(self.queue, item_id), "retried"
            else:
                entry, kind = requests.answer(self.queue, item_id, "yes"), "answered"
            self._said(item_id, entry.next_number, kind)

    def heal(self, *, quickly: bool = False) -> None:
        for entry in (take_back_from_the_dead if quickly else heal)(self.queue, POLICY):
            self._said(entry.item.id, entry.next_number)

    def tidy(self) -> None:
        tidy(self.queue)

    def _said(self, item_id: str, number: int, kind: str = "") -> None:
        self._run.recorder.tell(Recorded(item_id, number, kind))

    def _choose(self, among):
        return (self._run.chance or random.Random(self._run.added)).choice(among)

    def _often(self, share: float) -> bool:
        return self._run.chance is not None and self._run.chance.random() < share


def every_operation(run: Run) -> None:
    """One of each, by processes that nobody disturbs, beginning with a directory in which there is no queue."""
    one, other, third = run.processes
    run.perform(one, Process.add)
    run.perform(one, Process.add_some)
    for process, kind in ((one, "done"), (other, "failed"), (one, "waiting"), (other, "released")):
        run.perform(process, Process.take)
        run.perform(process, lambda process, kind=kind: process.end(kind))
    failed, waiting = (_with_last(third.queue, kind) for kind in ("failed", "waiting"))
    run.perform(third, lambda process: process.ask(failed, "retry"))
    run.perform(third, lambda process: process.ask(waiting, "answer"))
    run.perform(one, Process.take)
    run.perform(one, lambda process: process.end("landing"))
    run.perform(third, Process.land)
    run.perform(third, Process.tidy)
    run.perform(third, Process.add_some)
    for operation in (Process.take, Process.take, Process.complete, Process.complete):
        run.perform(one, operation)
    run.perform(other, Process.take)
    run.perform(other, Process.die)
    run.perform(third, Process.heal)
    run.perform(third, lambda process: process.ask(failed, "cancel"))
    run.perform(other, Process.tidy)  # and merge


def _with_last(queue: Queue, kind: Kind) -> str:
    entries = (queue.entry(item_id) for item_id in item_ids(queue))
    return next(entry.item.id for entry in entries if entry is not None and entry.last_is(kind))


def random_run(run: Run, operations: int) -> None:
    assert run.chance is not None
    for _ in range(operations):
        run.clock.advance(run.chance.choice([0, 0, 100]))
        run.act(run.chance.choice(run.processes))
