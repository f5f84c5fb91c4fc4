"""A process that works on a queue until nothing is takable, told what to do by its arguments: MODE ROOT NAME SEED.

`work` does one item for each byte of its input, and all the rest once that ends; it says each claim and each
end on standard output, for whoever kills it in between; `hold` takes one
item of those with a limit, says so and waits for the end of its input; `heal` recovers, over and over.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import Queue
from parallel_loop.queue.taking import Taker

AT_ONCE = RetryPolicy(attempts=1000, first_seconds=0.0)


def say(text: str) -> None:
    os.write(1, f"{text}\n".encode())


def work(queue: Queue, name: str, chance: random.Random) -> None:
    taker = Taker(queue, Owner(name, os.getpid()))
    say("ready")
    while os.read(0, 1) is not None and (claim := taker.take()) is not None:
        say(f"took {claim.item.id}")
        kind = "released" if chance.random() < 0.1 else "done"
        ended = taker.end(claim, Record(kind=kind, at=utc_now(), agent=name, counted=False))
        say(f"{kind if ended else 'lost'} {claim.item.id}")


def hold(queue: Queue, name: str, chance: random.Random) -> None:
    taker = Taker(queue, Owner(name, os.getpid()), {"limited": 2})
    say("ready")
    sys.stdin.buffer.read(1)
    claim = taker.take()
    say(f"took {claim.item.id}" if claim else "nothing")
    sys.stdin.buffer.read(1)
    if claim:
        taker.end(claim, Record(kind="done", at=utc_now()))
    say("ended")


def recover(queue: Queue, name: str, chance: random.Random) -> None:
    say("ready")
    while True:
        heal(queue, AT_ONCE)
        take_back_from_the_dead(queue, AT_ONCE)
        say("healed")


def add(queue: Queue, name: str, chance: random.Random) -> None:
    say("ready")
    for batch in range(1000):
        items = [Item(id=f"{name}-{batch}-{index}", title="t", added_at="") for index in range(chance.randrange(1, 9))]
        queue.add(items)
        say(" ".join(item.id for item in items))


if __name__ == "__main__":
    mode, root, name, seed = sys.argv[1:]
    modes = {"work": work, "hold": hold, "heal": recover, "add": add}
    modes[mode](Queue(Path(root), durable=False), name, random.Random(seed))
