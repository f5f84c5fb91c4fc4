"""What the actors of the torture do: workers, adders, a recoverer, a person at the command line.

All that is left to chance is decided by the actor's name, in which the seed of the schedule stands. What an actor has
been told by the queue it says at once, in words that `support.queue_journal` reads.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

from parallel_loop.queue import healing, requests, tidying
from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.queue.tidying import tidy
from support.stepping import Stepper

WIP = {"narrow": 1, "wide": 2}
POLICY = RetryPolicy(attempts=4, first_seconds=0.004)  # in turns of a millisecond
KINDS = ("complete", "complete", "done", "fail", "released", "waiting", "landing")
_MOST_LOOKS = 8  # for something to tidy
_MOST_ROUNDS = 60  # an item that needs more to be done will never be


def open_queue(stepper: Stepper, root: Path) -> Queue:
    healing._DRAFT_AGE_SECONDS = -1.0  # also the drafts of those who were killed a moment ago
    tidying._BATCH, tidying._MOST_PACKS = 2, 1  # so that a few items make packs, and those are merged
    return Queue(root, now=stepper.now)


def work(stepper: Stepper, root: Path) -> None:
    """Take up to three items, one after the other, and end each in one way or another."""
    queue, chance = open_queue(stepper, root), random.Random(f"{stepper.name} works")
    taker = make_taker(queue, stepper)
    for _ in range(3):
        claim = take(taker, stepper)
        if claim is None:
            return
        end(queue, taker, claim, stepper, chance.choice(KINDS))


def make_taker(queue: Queue, stepper: Stepper) -> Taker:
    return Taker(queue, Owner(stepper.name, os.getpid()), WIP)


def take(taker: Taker, stepper: Stepper) -> Claim | None:
    claim = taker.take()
    if claim is not None:
        stepper.say(f"took {claim.item.id} {len(claim.entry.records)}")
    return claim


def end(queue: Queue, taker: Taker, claim: Claim, stepper: Stepper, kind: str) -> bool:
    """End an attempt; its token goes into the record, so that the checker sees whose outcome stands where."""
    number = len(claim.entry.records)
    token = f"{stepper.name} {number}"
    if kind == "complete":
        completed = taker.complete(claim)
        stepper.say(f"{'completed' if completed else 'lost'} {claim.item.id} {number}")
        return completed
    if kind == "fail":
        record = Record(kind="failed", at=queue.now(), agent=stepper.name, outcome="failed", log=token)
        record = POLICY.after_failure(claim.entry, record)
    else:
        record = Record(kind=kind, at=queue.now(), agent=stepper.name, log=token, counted=False)  # type: ignore[arg-type]
    ended = taker.end(claim, record)
    stepper.say(f"{'ended' if ended else 'lost'} {claim.item.id} {number} {record.kind}")
    return ended


def some_items(chance: random.Random, batch: str, known: list[str], count: int) -> list[Item]:
    items: list[Item] = []
    for index in range(count):
        before = known + [item.id for item in items]
        after = (chance.choice(before),) if before and chance.random() < 0.3 else ()
        role = chance.choice([None, None, "narrow", "narrow", "wide"])
        title = f"{batch} of {count}"  # tells the checker how many belong together
        item_id = f"{batch}.{index}"
        items.append(Item(id=item_id, title=title, added_at="", priority=chance.choice([0, 5]), after=after, role=role))
    return items


def add(stepper: Stepper, root: Path) -> None:
    queue, chance = open_queue(stepper, root), random.Random(f"{stepper.name} adds")
    for batch in range(chance.randrange(1, 3)):
        known = [entry.item.id for entry in look(queue).all_entries(packed=True)]
        items = some_items(chance, f"{stepper.name}.{batch}", known, chance.choice([1, 1, 2, 3]))
        stepper.say("added " + " ".join(item.id for item in queue.add(items)))


def look(queue: Queue) -> Survey:
    survey = Survey(queue)
    survey.refresh()
    return survey


def recover(stepper: Stepper, root: Path) -> None:
    queue, chance = open_queue(stepper, root), random.Random(f"{stepper.name} recovers")
    for _ in range(2):
        chance.choice([heal, take_back_from_the_dead])(queue, POLICY)


def tidy_up(stepper: Stepper, root: Path) -> None:
    """Tidy up to twice when there is something to tidy, or give up looking for it."""
    queue = open_queue(stepper, root)
    tidied = 0
    for _ in range(_MOST_LOOKS):
        tidied += tidy_once(queue, stepper) > 0
        if tidied == 2:
            return


def tidy_once(queue: Queue, stepper: Stepper) -> int:
    count = tidy(queue)
    stepper.say(f"tidied {count}")
    return count


def heal_once(stepper: Stepper, root: Path) -> None:
    queue = open_queue(stepper, root)
    with stepper.stepped(finely=False):
        heal(queue, POLICY)
        stepper.say("healed")


def ask(stepper: Stepper, root: Path) -> None:
    """Be a person who asks things of items, often of those that are being worked on."""
    queue, chance = open_queue(stepper, root), random.Random(f"{stepper.name} asks")
    for _ in range(3):
        entries = look(queue).entries()
        if not entries:
            return
        entry = chance.choice([entry for entry in entries if entry.last_is("claimed")] or entries)
        for kind in ("cancelled", "retried") if chance.random() < 0.7 else ("answered", "landing"):
            request(queue, stepper, entry.item.id, kind)


def request(queue: Queue, stepper: Stepper, item_id: str, kind: str) -> bool:
    requested: dict[str, Callable[[], object]] = {
        "cancelled": lambda: requests.cancel(queue, item_id, stepper.name),
        "retried": lambda: requests.retry(queue, item_id),
        "answered": lambda: requests.answer(queue, item_id, stepper.name),
        "landing": lambda: requests.approve(queue, item_id),
    }
    try:
        requested[kind]()
    except requests.Refused:
        return False
    stepper.say(f"asked {item_id} {kind}")
    return True


def settle(stepper: Stepper, root: Path) -> None:
    """Recover, and do what workers, the lander and a person do until every item is done, or give up."""
    queue = open_queue(stepper, root)
    heal(queue, POLICY)
    taker = make_taker(queue, stepper)
    for _ in range(_MOST_ROUNDS):
        while (claim := take(taker, stepper)) is not None:
            assert end(queue, taker, claim, stepper, "done"), f"{stepper.name} is alone and lost {claim}"
        survey = look(queue)
        states = {entry.item.id: survey.state(entry) for entry in survey.entries()}
        if set(states.values()) <= {"done"}:
            return
        for entry in survey.entries():
            if entry.last_is("landing"):
                queue.append(entry, Record(kind="done", at=queue.now()))
            elif entry.last_is("waiting"):
                request(queue, stepper, entry.item.id, "answered")
            elif entry.last is not None and entry.last.kind in {"failed", "cancelled"}:
                request(queue, stepper, entry.item.id, "retried")
        if not survey.damage and "delayed" in states.values():
            stepper.let_pass(0.01)
    stepper.say(f"stuck {states}")


def tidy_all(stepper: Stepper, root: Path) -> None:
    """Pack all that is done, also what somebody has waited for in his time."""
    stepper.let_pass(10.0)
    tidy_once(open_queue(stepper, root), stepper)


ROLES: dict[str, Callable[[Stepper, Path], None]] = {
    "work": work,
    "add": add,
    "recover": recover,
    "ask": ask,
    "tidy": tidy_up,
}
