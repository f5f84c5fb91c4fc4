"""Real processes that race, and are killed with -9 at moments that nobody chose."""

from __future__ import annotations

import random

import pytest

from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.markers import is_owner_alive
from support.queue_checker import check_all_done_once, read_chains
from support.queue_processes import QueueProcess, start
from support.queues import AT_ONCE, an_item, drain, make_queue, make_taker, names_in


@pytest.fixture
def queue(tmp_path):
    return make_queue(tmp_path / "queue")


def test_racing_processes_complete_each_item_exactly_once(queue) -> None:
    items = queue.add([an_item(f"i{index}", priority=index % 3) for index in range(600)])
    workers = [start("work", queue.layout.root, f"agent-{index}") for index in range(4)]
    assert [worker.said() for worker in workers] == ["ready"] * 4
    for worker in workers:
        worker.tell(1000)
    said = [line for worker in workers for line in worker.finish()]
    chains = check_all_done_once(queue.layout.root, {item.id for item in items})
    claims = sum(record["kind"] == "claimed" for chain in chains.values() for record in chain)
    assert sum(line.startswith("took ") for line in said) == claims
    assert sorted(line.removeprefix("done ") for line in said if line.startswith("done ")) == sorted(chains)
    assert not any(line.startswith("lost ") for line in said)
    assert len({record["agent"] for chain in chains.values() for record in chain if record["kind"] == "claimed"}) > 1


def hear(process: QueueProcess, lines: int) -> list[str]:
    """Read up to so many lines: what the process does meanwhile is left to chance."""
    heard = (process.said() for _ in range(lines))
    return [line for line in heard if line is not None]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.large) for seed in range(1, 10))])
def test_workers_and_recoveries_killed_at_random_lose_nothing_and_do_nothing_twice(queue, seed) -> None:
    chance = random.Random(seed)
    items = queue.add([an_item(f"i{index}", after=(f"i{index - 5}",) if index > 4 else ()) for index in range(300)])
    workers = {index: start("work", queue.layout.root, f"agent-{index}", seed) for index in range(3)}
    said: list[str] = []
    holder = start("hold", queue.layout.root, "holder")
    assert holder.said() == "ready"
    holder.tell()
    assert (holder.said() or "").startswith("took ")
    holder.kill()  # the one kill of which it is certain that it meets an open claim
    for kill in range(8):
        for worker in workers.values():
            worker.tell(5)
        victim = chance.randrange(3)
        said += hear(workers[victim], chance.randrange(1, 10))  # of eleven; the others go on meanwhile
        said += workers[victim].kill()
        recoveries = [start("heal", queue.layout.root, f"healer-{kill}-{index}") for index in range(2)]
        hear(recoveries[0], chance.randrange(1, 3))
        recoveries[0].kill()
        take_back_from_the_dead(queue, AT_ONCE)
        hear(recoveries[1], chance.randrange(1, 3))
        recoveries[1].kill()
        workers[victim] = start("work", queue.layout.root, f"agent-{victim}", seed + kill)
    for worker in workers.values():
        said += worker.finish()
    heal(queue, AT_ONCE)
    drain(queue, make_taker(queue))

    chains = check_all_done_once(queue.layout.root, {item.id for item in items})
    assert not any(line.startswith("lost ") for line in said)  # nobody alive ever lost a claim
    told_done = [line for line in said if line.startswith("done ")]
    assert len(told_done) == len(set(told_done))
    assert any(record.get("outcome") == "died" for chain in chains.values() for record in chain)
    assert all(is_owner_alive(path) for path in queue.layout.workers.iterdir())


def test_adding_processes_that_are_killed_leave_whole_imports_or_none(queue) -> None:
    chance = random.Random(7)
    acknowledged: set[str] = set()
    for kill in range(6):
        adders = [start("add", queue.layout.root, f"p{kill}-{index}", kill) for index in range(2)]
        for adder in adders:
            assert adder.said() == "ready"
            acknowledged.update(item_id for line in hear(adder, chance.randrange(1, 12)) for item_id in line.split())
        for adder in adders:
            acknowledged.update(item_id for line in adder.kill() for item_id in line.split())
    heal(queue, AT_ONCE)
    chains = read_chains(queue.layout.root)
    assert acknowledged <= set(chains)
    assert sorted(drain(queue, make_taker(queue))) == sorted(chains)
    assert names_in(queue.layout.imports) == []
    # Everything beyond what was acknowledged belongs to the two imports that a kill interrupted, and is whole.
    for batch in {item_id.rpartition("-")[0] for item_id in set(chains) - acknowledged}:
        indexes = sorted(int(name.rpartition("-")[2]) for name in chains if name.rpartition("-")[0] == batch)
        assert indexes == list(range(len(indexes)))
