"""Thirty-two real processes on one queue: limits, order, and that nobody starves."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import pytest

from parallel_loop.queue.healing import take_back_from_the_dead
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.store import Queue
from parallel_loop.queue.taking import Taker
from support.forks import Crew, Forked, Line
from support.queue_checker import read_chains
from support.queues import AT_ONCE, add, an_item, end, make_queue, record

CROWD = 32
LIMITS = {"narrow": 1, "wide": 3, "broad": 8}


@pytest.fixture
def queue(tmp_path):
    return make_queue(tmp_path / "queue")


def opened(queue: Queue) -> Queue:
    """Return the queue as a process of its own opens it."""
    return Queue(queue.layout.root, durable=False)


# --- limits -----------------------------------------------------------------------------------------------


def obeying(queue: Queue) -> Callable[[Line], None]:
    """A worker that takes and ends when it is told to."""

    def work(line: Line) -> None:
        own = opened(queue)
        taker = Taker(own, Owner("agent", os.getpid()), LIMITS)
        claim = None
        for order in line.orders():
            if order == "take":
                claim = taker.take()
                line.say(claim.item.id if claim else "nothing")
            else:
                assert claim is not None
                line.say(str(taker.end(claim, record(own, "done"))))

    return work


def open_claims(queue: Queue) -> Counter[str]:
    """Count the open claims of each role as the files tell."""
    chains = read_chains(queue.layout.root)
    return Counter(name.partition("-")[0] for name, chain in chains.items() if chain and chain[-1]["kind"] == "claimed")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(1, 10))])
def test_limits_hold_exactly_among_32_processes_that_are_killed_at_any_moment(queue, seed) -> None:
    chance = random.Random(seed)
    queue.add([an_item(f"{role}-{index}", role=role) for index in range(60) for role in LIMITS])
    with Crew() as crew:
        idle = [crew.start(obeying(queue)) for _ in range(CROWD)]
        holding: list[Forked] = []
        for _ in range(6):
            ending = [worker for worker in holding if chance.random() < 0.5]
            told = [(worker, "take") for worker in idle] + [(worker, "end") for worker in ending]
            chance.shuffle(told)
            for worker, order in told:
                worker.order(order)
            others = [worker for worker in holding if worker not in ending]
            victims = chance.sample([worker for worker, _ in told] + others, 6)
            for worker in victims:
                worker.kill()
            holding = [worker for worker in others if worker not in victims]
            idle = []
            for worker, order in told:
                if worker not in victims:
                    answer = worker.heard()
                    assert answer not in {"", "False"}
                    (idle if answer == "nothing" or order == "end" else holding).append(worker)
            counted = open_claims(queue)  # also those of the dead
            assert all(counted[role] <= limit for role, limit in LIMITS.items()), counted
            take_back_from_the_dead(queue, AT_ONCE)
            idle += [crew.start(obeying(queue)) for _ in victims]
            fill_up(idle, holding)
            assert open_claims(queue) == Counter(LIMITS)  # and no place was lost by a death
            assert len(holding) == sum(LIMITS.values())


def fill_up(idle: list[Forked], holding: list[Forked]) -> None:
    """Let one after the other take until one finds nothing."""
    while idle:
        idle[-1].order("take")
        if idle[-1].heard() == "nothing":
            return
        holding.append(idle.pop())


def test_a_crowd_of_a_full_role_in_front_keeps_nobody_from_what_is_behind_whoever_is_killed(queue) -> None:
    """The first in order are of `narrow`, which has one place: it is never lost, and all others find work at once."""
    chance = random.Random(4)
    queue.add([an_item(f"narrow-{index}", role="narrow", priority=0) for index in range(1500)])
    queue.add([an_item(f"wide-{index}", role="wide") for index in range(100)])
    queue.add([an_item(f"none-{index}", priority=9) for index in range(400)])
    with Crew() as crew:
        idle = [crew.start(obeying(queue)) for _ in range(12)]
        for _ in range(3):
            for worker in idle:
                worker.order("take")
            victims = chance.sample(idle, 3)  # in the middle of it
            for worker in victims:
                worker.kill()
            living = [worker for worker in idle if worker not in victims]
            took = {worker: worker.heard() for worker in living}
            assert "nothing" not in took.values(), "with so many in front that nobody may take"
            counted = open_claims(queue)
            assert counted["narrow"] <= 1
            assert counted["wide"] <= LIMITS["wide"]
            victims += [worker for worker, said in took.items() if said.startswith("narrow")]  # and who holds the place
            for worker in victims[3:]:
                worker.kill()
            take_back_from_the_dead(queue, AT_ONCE)
            idle = [worker for worker in living if worker not in victims]
            for worker in idle:
                worker.order("end")
            assert {worker.heard() for worker in idle} == {"True"}
            idle += [crew.start(obeying(queue)) for _ in victims]
            first = idle.pop()
            first.order("take")
            assert first.heard().startswith("narrow"), "no death has taken the place away"
            first.order("end")
            assert first.heard() == "True"
            idle.append(first)


# --- order ------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """One take: of which item, and between which two moments of the clock that all processes share."""

    id: str
    begun_ns: int
    ended_ns: int


def draining(queue: Queue) -> Callable[[Line], None]:
    """A worker that drains the queue whenever it is told to, and tells what it took when."""

    def work(line: Line) -> None:
        own = opened(queue)
        taker = Taker(own, Owner("agent", os.getpid()))
        for _ in line.orders():
            taken = []
            begun_ns = time.monotonic_ns()
            while (claim := taker.take()) is not None:
                taken.append(Taken(claim.item.id, begun_ns, time.monotonic_ns()))
                end(own, taker, claim)
                os.sched_yield()
                begun_ns = time.monotonic_ns()
            line.say(json.dumps(taken))

    return work


def drain_together(queue: Queue, processes: int, meanwhile: Callable[[], None]) -> list[list[Taken]]:
    """Drain the queue with so many processes, and once more what was added meanwhile; return what each took."""
    with Crew() as crew:
        workers = [crew.start(draining(queue)) for _ in range(processes)]
        for worker in workers:
            worker.order("drain")
        meanwhile()
        for worker in workers:
            worker.order("drain")
        return [[Taken(*row) for _ in range(2) for row in json.loads(worker.heard())] for worker in workers]


def test_several_processes_take_by_priority_then_age_and_what_is_urgent_next(queue) -> None:
    items = [an_item(f"i{index:04d}", priority=1 + index * 7 % 3) for index in range(1200)]
    queue.add(items)
    urgent: dict[str, int] = {}

    def add_urgent() -> None:
        for index in range(10):
            add(queue, f"urgent-{index}", priority=0)
            urgent[f"urgent-{index}"] = time.monotonic_ns()

    takes = [taken for took in drain_together(queue, 8, add_urgent) for taken in took]
    assert sorted(taken.id for taken in takes) == sorted([item.id for item in items] + list(urgent))
    begun = {taken.id: taken.begun_ns for taken in takes}
    ended = {taken.id: taken.ended_ns for taken in takes}
    earliest_end_ns = time.monotonic_ns()
    for item in sorted(items, key=lambda item: (item.priority, item.id), reverse=True):
        assert begun[item.id] <= earliest_end_ns, f"{item.id} was still there when a later item was taken"
        earliest_end_ns = min(earliest_end_ns, ended[item.id])
    for item_id, added_ns in urgent.items():
        after = [taken for taken in takes if taken.id not in urgent and taken.begun_ns > added_ns]
        assert all(begun[item_id] <= taken.ended_ns for taken in after), f"{item_id} was passed over"


# --- nobody starves ---------------------------------------------------------------------------------------


def test_of_32_that_ask_at_once_each_gets_one_as_long_as_there_is_one_for_each(queue) -> None:
    """How much of the processor a process gets is not ours to say, so its share of a drain tells little; this does."""
    rounds = 12
    queue.add([an_item(f"i{index}", priority=index % 3) for index in range(rounds * CROWD)])
    with Crew() as crew:
        workers = [crew.start(obeying(queue)) for _ in range(CROWD)]
        for _ in range(rounds):  # in the last there is exactly one for each
            for worker in workers:
                worker.order("take")
            assert "nothing" not in {worker.heard() for worker in workers}
            for worker in workers:
                worker.order("end")
            assert {worker.heard() for worker in workers} == {"True"}
        for worker in workers:
            worker.order("take")
        assert {worker.heard() for worker in workers} == {"nothing"}
    assert {chain[-1]["kind"] for chain in read_chains(queue.layout.root).values()} == {"done"}


@pytest.mark.large
@pytest.mark.timeout(600)
def test_the_least_served_of_32_gets_a_third_of_its_share_of_a_long_drain(queue) -> None:
    """On a machine that is busy with something else this says as much of the machine as of the queue."""
    queue.add([an_item(f"i{index}") for index in range(64_000)])
    counts = sorted(len(took) for took in drain_together(queue, CROWD, lambda: None))
    assert counts[0] >= 64_000 / CROWD / 3, counts
