"""A drain by real processes that run freely: workers, a person who cancels and retries what is worked on, a recovery.

An onlooker reads the files all the while. Nobody is killed and nobody waits for anybody, so nothing may be taken back.
"""

from __future__ import annotations

import functools
import random
import sys
from pathlib import Path

from parallel_loop.queue import markers
from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.healing import take_back
from parallel_loop.queue.store import Queue
from support import faults
from support.faults import dawdle
from support.queue_journal import Line, check_journal
from support.queue_watcher import Watcher
from support.queues import an_item
from support.stage import make_ready, staged
from support.stepping import Actor, Stepper
from support.torture_roles import POLICY, end, look, make_taker, request, settle, take

_ROUNDS = 100  # about as many as the workers need
_MOST_DRAINS = 6  # nobody orders these processes: on a busy machine one drain may pass a fault by


def open_queue_in_real_time(root: Path) -> Queue:
    markers.utc_now = utc_now
    return Queue(root, durable=False)


def work_on_all(stepper: Stepper, root: Path) -> None:
    queue = open_queue_in_real_time(root)
    taker = make_taker(queue, stepper)
    while (claim := take(taker, stepper)) is not None:
        dawdle()
        end(queue, taker, claim, stepper, "done")


def ask_and_recover(stepper: Stepper, root: Path) -> None:
    """Cancel and retry what is worked on, and take back from the dead, of whom there are none."""
    queue, chance = open_queue_in_real_time(root), random.Random(stepper.name)
    for _ in range(_ROUNDS):
        for known in look(queue).entries():
            entry = queue.entry(known.item.id)  # what was claimed at the look is done by now
            if entry is None or not entry.last_is("claimed"):
                continue
            if chance.random() < 0.5:
                request(queue, stepper, entry.item.id, "cancelled")
                request(queue, stepper, entry.item.id, "retried")
            else:
                take_back(queue, entry, POLICY)


def drain(root: Path, items: int = 30) -> None:
    """Drain a new queue in `root`; AssertionError says what has gone wrong."""
    queue = Queue(root, durable=False)
    names = [f"i{index}" for index in range(items)]
    queue.add([an_item(name) for name in names])
    watcher, lines = Watcher(root, {}), [Line("stage", " ".join(["added", *names]))]
    actors: list[Actor] = []
    for index, role in enumerate((work_on_all, work_on_all, work_on_all, ask_and_recover, settle)):
        if role is settle:
            _watch(watcher, actors)
        actors.append(Actor(f"free-{index}", functools.partial(role, root=root), actors, freely=True))
        actors[-1].let_run(turn=index)
    _watch(watcher, actors)
    watcher.look_closely()
    lines += [Line(actor.name, text) for actor in actors for text in actor.heard]
    check_journal(lines, watcher, {})
    watcher.check_recovered()


def _watch(watcher: Watcher, actors: list[Actor]) -> None:
    """Look at the files until all have ended; end them all when something is wrong."""
    try:
        while not all(actor.has_ended() for actor in actors):
            watcher.look()
    finally:
        for actor in actors:
            if actor.alive:
                actor.kill(0)


def main(fault: str = "") -> int:
    make_ready()
    if fault:
        faults.FAULTS[fault]()
    for _ in range(_MOST_DRAINS if fault else 1):
        with staged() as stage:
            try:
                drain(stage.root)
            except AssertionError as error:
                sys.stdout.write(f"{error}\n")
                return 1
    sys.stdout.write("all is well\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
