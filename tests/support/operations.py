"""The operations of the queue, each as one deed of one process: what the torture kills step by step.

What must be there first is done by the same process (`before`) or by others that were killed (`by_the_dead`).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.records import Item, Record
from support.queues import an_item
from support.stepping import Stepper
from support.torture_roles import POLICY, end, make_taker, open_queue, request, take, tidy_once


class Worker:
    """A process with a queue, and with a taker and a claim once it has taken."""

    def __init__(self, stepper: Stepper, root: Path) -> None:
        self.stepper = stepper
        self.queue = open_queue(stepper, root)

    def enter(self) -> None:
        self.taker = make_taker(self.queue, self.stepper)

    def take(self) -> None:
        claim = take(self.taker, self.stepper)
        assert claim is not None, "there is nothing to take"
        self.claim = claim

    def end(self, kind: str, expected: bool = True) -> None:
        assert end(self.queue, self.taker, self.claim, self.stepper, kind) == expected

    def review(self) -> None:
        """End the attempt so that a person looks at it."""
        record = Record(kind="waiting", at=self.queue.now(), agent=self.stepper.name, outcome="review")
        assert self.taker.end(self.claim, record)

    def ask(self, kind: str) -> None:
        assert request(self.queue, self.stepper, "a", kind), f"{kind} was refused"

    def add(self, *items: Item) -> None:
        self.stepper.say("added " + " ".join(item.id for item in self.queue.add(items)))

    def let_pass(self) -> None:
        self.stepper.let_pass(1.0)

    def land(self) -> None:
        entry = self.queue.entry("a")
        assert entry is not None
        assert self.queue.append(entry, Record(kind="done", at=self.queue.now()))

    def take_back(self) -> None:
        assert take_back_from_the_dead(self.queue, POLICY), "there was nothing to take back"

    def heal(self) -> None:
        heal(self.queue, POLICY)

    def tidy(self) -> None:
        assert tidy_once(self.queue, self.stepper), "there was nothing to tidy"

    def let_another_tidy(self) -> None:
        """Let another taker do one item, and pack that."""
        another = Worker(self.stepper, self.queue.layout.root)
        for deed in DONE:
            deed(another)
        another.taker.close()


Deed = Callable[[Worker], None]


def _fill_marker(worker: Worker) -> None:
    """Let the next claim find that its marker has as many names as the file system allows (65,000 on ext4)."""
    real, full = os.link, worker.taker._marker.source

    def link(source: str, target: str, **options: Any) -> None:
        if source == full:
            raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
        real(source, target, **options)

    os.link = link


def _take_nothing(worker: Worker) -> None:
    assert worker.taker.take() is None


class Killed(NamedTuple):
    """What a process did that was killed at the `times`-th step whose name has `step` in it, or when it was through."""

    deeds: tuple[Deed, ...]
    step: str = "said through"
    times: int = 1


class Operation(NamedTuple):
    run: Deed
    before: tuple[Deed, ...] = ()
    by_the_dead: tuple[Killed, ...] = ()


def _import(worker: Worker) -> None:
    after = {"i.1": ("i.0", "a")}
    names = ("i.0", "i.1", "i.2")
    worker.add(*(an_item(name, title="import of 3", priority=1, after=after.get(name, ())) for name in names))


def _look_at_first(worker: Worker) -> None:
    """Add an item that is next, and know that it is there."""
    worker.add(an_item("first", priority=1, role="narrow"))
    worker.enter()
    assert worker.taker.peek() is not None


TAKE: tuple[Deed, ...] = (Worker.enter, Worker.take)
DONE: tuple[Deed, ...] = (*TAKE, lambda worker: worker.end("complete"), Worker.tidy)
MESS = (
    Killed(TAKE),
    Killed((*TAKE, lambda worker: worker.end("landing"))),
    Killed((*TAKE, lambda worker: worker.end("fail"))),
    Killed((*TAKE, lambda worker: worker.end("done")), "refresh_hints"),
    Killed((_import,), "create_item", 4),
    Killed((lambda worker: worker.add(an_item("draft")),), "link_once:link"),
)

# On every stage but that of `create` there are an item `a`, then `b` that waits for it, `c` of a role with a limit,
# `d` and `e`.
OPERATIONS: dict[str, Operation] = {
    "create": Operation(lambda worker: worker.queue.create()),
    "add": Operation(lambda worker: worker.add(an_item("new", after=("a",)))),
    "import": Operation(_import),
    "take": Operation(Worker.take, (Worker.enter,)),
    "take for the first time": Operation(lambda worker: [deed(worker) for deed in TAKE] and None),
    "take with a limit": Operation(Worker.take, TAKE),
    "take with a full marker": Operation(Worker.take, (*TAKE, _fill_marker)),
    "take nothing": Operation(_take_nothing, (*TAKE, Worker.take, Worker.take, Worker.take)),
    "take what is due": Operation(
        lambda worker: [deed(worker) for deed in (*TAKE, Worker.take)] and None,
        (*TAKE, lambda worker: worker.end("fail"), Worker.let_pass),
    ),
    "take over a stale hint": Operation(
        lambda worker: [deed(worker) for deed in (*TAKE, Worker.let_pass)] and None,
        by_the_dead=(Killed(TAKE, "buckets.strike:pwrite"),),
    ),
    "complete": Operation(lambda worker: worker.end("complete"), TAKE),
    "complete with a limit": Operation(lambda worker: worker.end("complete"), (*TAKE, Worker.take)),
    "complete another": Operation(
        lambda worker: worker.end("complete"), (*TAKE, lambda worker: worker.end("complete"), Worker.take)
    ),
    "end as done": Operation(lambda worker: worker.end("done"), TAKE),
    "fail": Operation(lambda worker: worker.end("fail"), TAKE),
    "release": Operation(lambda worker: worker.end("released"), TAKE),
    "wait": Operation(lambda worker: worker.end("waiting"), TAKE),
    "hand over": Operation(lambda worker: worker.end("landing"), TAKE),
    "land": Operation(Worker.land, (*TAKE, lambda worker: worker.end("landing"))),
    "end what was cancelled": Operation(
        lambda worker: worker.end("done", expected=False), (*TAKE, lambda worker: worker.ask("cancelled"))
    ),
    "leave": Operation(lambda worker: worker.taker.close(), (*TAKE, lambda worker: worker.end("done"))),
    "cancel": Operation(lambda worker: worker.ask("cancelled")),
    "cancel a claim": Operation(lambda worker: worker.ask("cancelled"), TAKE),
    "retry": Operation(lambda worker: worker.ask("retried"), (lambda worker: worker.ask("cancelled"),)),
    "answer": Operation(lambda worker: worker.ask("answered"), (*TAKE, lambda worker: worker.end("waiting"))),
    "approve": Operation(lambda worker: worker.ask("landing"), (*TAKE, Worker.review)),
    "take back": Operation(Worker.take_back, by_the_dead=(Killed(TAKE), Killed(TAKE))),
    "heal": Operation(Worker.heal, by_the_dead=MESS),
    "tidy": Operation(Worker.tidy, (*TAKE, lambda worker: worker.end("complete"))),
    "tidy with a merge": Operation(Worker.tidy, (*DONE, *TAKE, lambda worker: worker.end("done"))),
    "finish a killed tidying": Operation(
        Worker.heal, by_the_dead=(Killed(DONE, "_remove_files>hints.remove:unlink", 2),)
    ),
    "finish a killed merge": Operation(
        Worker.heal, by_the_dead=(Killed(DONE), Killed(DONE, "packing.merge>hints.remove:unlink", 2))
    ),
    "take what was packed": Operation(Worker.take, (_look_at_first, Worker.let_another_tidy)),
    "end what was packed": Operation(
        lambda worker: worker.end("done", expected=False),
        (*TAKE, lambda worker: worker.ask("cancelled"), lambda worker: worker.ask("retried"), Worker.let_another_tidy),
    ),
}
