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
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from ..queue import requests
from ..queue.atomic import Unreadable
from ..queue.hint import Hint
from ..queue.markers import Owner
from ..queue.store import NotAllowed, Queue
from ..queue.taking import Claim

ORDER = struct.Struct("<cQ")  # race or drain, and how many items a drain has
RACE, DRAIN = b"r", b"d"
READY = b"!"
MOMENT = struct.Struct("<Q")  # nanoseconds of the monotonic clock
ANSWER = struct.Struct("<??BQ")  # to a race: won, ended, races lost at the link, nanoseconds of the take
DRAINED = struct.Struct("<QQ")  # to a drain: takes in the log, moment of the end
TAKEN_TWICE = "to drain, at the second attempt"  # title of items whose first attempt somebody else ends
TAKEN_TWICE_ONE_IN = 20  # items
_NEIGHBOURS = 16  # more than there are claimers, mostly
_SPREAD_NANOSECONDS = 20_000  # around the start, so that not the same claimer comes first every time


class RacingTaker(Protocol):
    """What a claimer needs of a taker."""

    lost_links: int

    def peek(self) -> Hint | None: ...
    def take(self) -> Claim | None: ...
    def complete(self, claim: Claim) -> bool: ...


class Take(NamedTuple):
    """What a claimer took, how long that lasted, and whether it could end the attempt.

    `late` when the attempt had been ended by somebody else before: then it must not end it.
    """

    item_id: str
    nanoseconds: int
    ended: bool
    late: bool = False


class Log(NamedTuple):
    """What a claimer did and saw in a drain: its takes, and the items of which it saw a record that is not complete."""

    takes: list[Take]
    incomplete: list[str]


def write_log(path: Path, log: Log) -> None:
    lines = [f"{take.item_id} {take.nanoseconds} {take.ended:d} {take.late:d}\n" for take in log.takes]
    path.write_text("".join([*lines, *(f"{item_id}\n" for item_id in log.incomplete)]), encoding="ascii")


def read_log(path: Path) -> Log:
    log = Log([], [])
    for item_id, *fields in (line.split() for line in path.read_text(encoding="ascii").splitlines()):
        if fields:
            nanoseconds, ended, late = map(int, fields)
            log.takes.append(Take(item_id, nanoseconds, bool(ended), bool(late)))
        else:
            log.incomplete.append(item_id)
    return log


def take_part(queue: Queue, taker: RacingTaker, barrier: int, chance: random.Random, log_path: Path) -> None:
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
            log = _drain(queue, taker, items)
            ended = time.monotonic_ns()
            write_log(log_path, log)
            os.write(1, DRAINED.pack(len(log.takes), ended))


def _race(taker: RacingTaker) -> bytes:
    before = taker.lost_links
    began = time.perf_counter_ns()
    claim = taker.take()
    nanoseconds = time.perf_counter_ns() - began
    ended = claim is not None and _end(taker, claim)
    return ANSWER.pack(claim is not None, ended, min(taker.lost_links - before, 255), nanoseconds)


def _drain(queue: Queue, taker: RacingTaker, items: int) -> Log:
    """Take and complete until there is nothing to take; a faulty taker ends after it took more than there is."""
    log = Log([], [])
    while len(log.takes) <= items + items // TAKEN_TWICE_ONE_IN:
        began = time.perf_counter_ns()
        claim = taker.take()
        nanoseconds = time.perf_counter_ns() - began
        if claim is None:
            break
        late = claim.item.title == TAKEN_TWICE and claim.attempt == 1
        if late:
            log.incomplete.extend(_look_around(queue, claim.item.id))
            log.incomplete.extend(_end_for_another(queue, claim.item.id))
        log.takes.append(Take(claim.item.id, nanoseconds, _end(taker, claim), late))
    return log


def _look_around(queue: Queue, item_id: str) -> Iterator[str]:
    """Yield those of the next items, which others are taking just now, of which a record can be seen incomplete."""
    prefix, _, number = item_id.rpartition("-")
    for other in range(int(number) + 1, int(number) + 1 + _NEIGHBOURS):
        other_id = f"{prefix}-{other:0{len(number)}}"
        try:
            queue.entry(other_id)
        except Unreadable:
            yield other_id


def _end_for_another(queue: Queue, item_id: str) -> Iterator[str]:
    """Let somebody end the attempt and make the item takable again, as a person at the command line.

    Yields the item if a record of it can be seen incomplete.
    """
    try:
        for ask in (requests.cancel, requests.retry, _offer):
            while True:
                with contextlib.suppress(TimeoutError):  # of a network file system; then it was not done
                    ask(queue, item_id)
                    break
    except requests.Refused:
        pass  # two do this at once, by a fault
    except Unreadable:
        yield item_id


def _offer(queue: Queue, item_id: str) -> None:
    """Make sure of the hint, as healing does: a failure to make it is no failure to retry."""
    entry = queue.entry(item_id)
    if entry is not None:
        queue.refresh_hints(entry)


def _end(taker: RacingTaker, claim: Claim) -> bool:
    with contextlib.suppress(NotAllowed):  # the claim of a faulty taker ends with the outcome of another
        return taker.complete(claim)
    return False


def main(arguments: list[str]) -> None:
    """Be claimer `name` of the queue in `root`."""
    root, seed, taker_name, name, barrier, log = arguments
    module, _, kind = taker_name.partition(":")
    queue = Queue(Path(root), durable=False)
    taker = getattr(importlib.import_module(module), kind)(queue, Owner(name, os.getpid()))
    os.write(1, READY)
    chance = random.Random(f"{seed} {name}")  # noqa: S311 (not a secret)
    with contextlib.suppress(KeyboardInterrupt):
        take_part(queue, taker, int(barrier), chance, Path(log))


if __name__ == "__main__":
    main(sys.argv[1:])
