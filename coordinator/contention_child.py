"""One racing process of the contention harness, started and spoken to by `contention_claimer.py`.

Before each race or drain it looks at the listing, answers, and waits at the barrier: one pipe that all of them read.
The release is one write to it of the moment of the start; whoever wakes early yields the processor until then, so
that also with ten processes on two cores none is through before the others are awake.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple, Protocol

from ..queue.clock import utc_now
from ..queue.hints import Hint
from ..queue.markers import Owner
from ..queue.records import Record
from ..queue.store import Queue
from ..queue.taking import Claim

ORDER = struct.Struct("<cQ")  # race or drain, and how many items a drain has
RACE, DRAIN = b"r", b"d"
READY = b"!"
MOMENT = struct.Struct("<Q")  # nanoseconds of the monotonic clock
ANSWER = struct.Struct("<??BQ")  # to a race: won, ended, races lost at the link, nanoseconds of the take
DRAINED = struct.Struct("<QQ")  # to a drain: takes in the log, moment of the end
_SPREAD_NANOSECONDS = 20_000  # around the start, so that not the same claimer comes first every time


class RacingTaker(Protocol):
    """What a claimer needs of a taker."""

    lost_links: int

    def peek(self) -> Hint | None: ...
    def take(self) -> Claim | None: ...
    def end(self, claim: Claim, record: Record) -> bool: ...


class Take(NamedTuple):
    """One line of a claimer's log: what it took, how long that lasted, and whether it could end the attempt."""

    item_id: str
    nanoseconds: int
    ended: bool


def write_log(path: Path, takes: list[Take]) -> None:
    lines = (f"{take.item_id} {take.nanoseconds} {'ended' if take.ended else 'refused'}\n" for take in takes)
    path.write_text("".join(lines), encoding="ascii")


def read_log(path: Path) -> list[Take]:
    fields = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return [Take(item_id, int(nanoseconds), end == "ended") for item_id, nanoseconds, end in fields]


def take_part(taker: RacingTaker, barrier: int, chance: random.Random, log: Path) -> None:
    """Follow orders until standard input ends."""
    while order := os.read(0, ORDER.size):
        what, items = ORDER.unpack(order)
        taker.peek()
        os.write(1, READY)
        (start,) = MOMENT.unpack(os.read(barrier, MOMENT.size))
        start += chance.randrange(_SPREAD_NANOSECONDS)
        while time.monotonic_ns() < start:
            os.sched_yield()
        if what == RACE:
            os.write(1, _race(taker))
        else:
            takes = _drain(taker, items)
            ended = time.monotonic_ns()
            write_log(log, takes)
            os.write(1, DRAINED.pack(len(takes), ended))


def _race(taker: RacingTaker) -> bytes:
    before = taker.lost_links
    began = time.perf_counter_ns()
    claim = taker.take()
    nanoseconds = time.perf_counter_ns() - began
    ended = claim is not None and taker.end(claim, _done())
    return ANSWER.pack(claim is not None, ended, min(taker.lost_links - before, 255), nanoseconds)


def _drain(taker: RacingTaker, items: int) -> list[Take]:
    """Take and complete until there is nothing to take; a faulty taker ends after it took more than there is."""
    takes: list[Take] = []
    while len(takes) <= items:
        began = time.perf_counter_ns()
        claim = taker.take()
        nanoseconds = time.perf_counter_ns() - began
        if claim is None:
            break
        takes.append(Take(claim.item.id, nanoseconds, taker.end(claim, _done())))
    return takes


def _done() -> Record:
    return Record(kind="done", at=utc_now(), outcome="done")


def main(arguments: list[str]) -> None:
    """Be claimer `name` of the queue in `root`."""
    root, seed, taker_name, name, barrier, log = arguments
    module, _, kind = taker_name.partition(":")
    queue = Queue(Path(root), durable=False)
    taker = getattr(importlib.import_module(module), kind)(queue, Owner(name, os.getpid()))
    os.write(1, READY)
    chance = random.Random(f"{seed} {name}")  # noqa: S311 (not a secret)
    with contextlib.suppress(KeyboardInterrupt):
        take_part(taker, int(barrier), chance, Path(log))


if __name__ == "__main__":
    main(sys.argv[1:])
