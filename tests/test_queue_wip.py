from __future__ import annotations

import pytest

from parallel_loop.queue import taking
from parallel_loop.queue.healing import take_back_from_the_dead
from parallel_loop.queue.wip import enter
from support.queue_checker import read_chains
from support.queue_processes import start
from support.queues import AT_ONCE, add, an_item, append, end, make_queue, make_taker

LIMIT = {"builder": 1}


@pytest.fixture
def queue(tmp_path):
    return make_queue(tmp_path / "queue")


def test_an_item_of_a_full_role_is_passed_over_for_the_next(queue) -> None:
    queue.add([an_item("b1", role="builder"), an_item("b2", role="builder"), an_item("free")])
    one, other = make_taker(queue, "agent-1", LIMIT), make_taker(queue, "agent-2", LIMIT)
    claim = one.take()
    assert claim.item.id == "b1"
    assert other.take().item.id == "free"
    assert other.take() is None
    end(queue, one, claim)
    assert other.take().item.id == "b2"


def test_who_passes_over_a_full_role_hides_its_items_from_nobody(queue) -> None:
    queue.add([an_item(name, role="builder", priority=0) for name in ("h0", "h1")])
    queue.add([an_item("e0"), an_item("e1"), an_item("b1", role="builder"), an_item("f0"), an_item("f1")])
    one, other, third, fourth = (make_taker(queue, f"agent-{index}", LIMIT) for index in range(4))
    holding = one.take()
    assert [taker.take().item.id for taker in (third, fourth, other)] == ["e0", "e1", "f0"]
    end(queue, one, holding)
    end(queue, one, one.take())
    assert third.take().item.id == "b1", "e1 is lost to it, so it looks how far the others have come"
    assert third.lost_links == 1


def test_a_role_without_a_limit_has_none(queue) -> None:
    queue.add([an_item(f"i{index}", role="tester") for index in range(5)])
    taker = make_taker(queue, wip=LIMIT)
    assert len(list(iter(taker.take, None))) == 5


def test_a_limit_of_nothing_lets_nothing_through(queue) -> None:
    add(queue, "a", role="builder")
    assert make_taker(queue, wip={"builder": 0}).take() is None


def test_a_dead_workers_place_is_free_only_after_its_claim_was_taken_back(queue) -> None:
    queue.add([an_item("b1", role="builder"), an_item("b2", role="builder", priority=0)])
    dead, other = make_taker(queue, "agent-1", LIMIT), make_taker(queue, "agent-2", LIMIT)
    assert dead.take().item.id == "b2"
    dead.close()
    assert other.take() is None
    take_back_from_the_dead(queue, AT_ONCE)
    assert other.take().item.id == "b2"


def test_who_dies_before_its_claim_leaves_no_place_taken_by_the_claim_that_another_made(queue) -> None:
    queue.add([an_item("b1", role="builder"), an_item("b2", role="builder")])
    place = enter(queue.layout.wip, "builder", 2, queue.chain.is_claim_open)
    place.occupy("b1", 1, "agent-1.1")
    other, third = make_taker(queue, "agent-2", {"builder": 2}), make_taker(queue, "agent-3", {"builder": 2})
    assert other.take().item.id == "b1"
    place.abandon()  # killed
    assert third.take().item.id == "b2"
    third.close()
    assert make_taker(queue, "agent-4", {"builder": 2}).take() is None, "that one did make its claim"


def test_a_cancelled_claim_keeps_its_place_until_its_worker_lets_go(queue) -> None:
    queue.add([an_item("b1", role="builder"), an_item("b2", role="builder")])
    one, other = make_taker(queue, "agent-1", LIMIT), make_taker(queue, "agent-2", LIMIT)
    claim = one.take()
    append(queue, "b1", "cancelled")
    assert other.take() is None
    heard = queue.bell.heard()
    one.forget(claim)
    assert queue.bell.heard() != heard  # for whoever waits because the role was full
    assert other.take().item.id == "b2"


def test_a_taker_that_takes_a_cancelled_and_retried_item_again_gives_both_places_back(queue) -> None:
    add(queue, "b1", role="builder")
    taker = make_taker(queue, wip={"builder": 2})
    first = taker.take()
    append(queue, "b1", "cancelled")
    append(queue, "b1", "retried")
    second = taker.take()
    assert (first.attempt, second.attempt) == (1, 2)
    assert not end(queue, taker, first)
    assert end(queue, taker, second)
    queue.add([an_item("b2", role="builder"), an_item("b3", role="builder")])
    assert [claim.item.id for claim in iter(make_taker(queue, "agent-2", {"builder": 2}).take, None)] == ["b2", "b3"]


def test_a_failing_link_gives_the_place_back(queue, monkeypatch) -> None:
    add(queue, "b1", role="builder")
    taker = make_taker(queue, wip=LIMIT)

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(taking.Taker, "_link", full)
        with pytest.raises(OSError, match="No space"):
            taker.take()
    assert make_taker(queue, "agent-2", LIMIT).take().item.id == "b1"


def test_a_full_role_is_asked_once_however_many_of_its_items_wait(queue, monkeypatch) -> None:
    queue.add([an_item(f"i{index}", role="builder") for index in range(200)])
    holder, other = make_taker(queue, "agent-1", LIMIT), make_taker(queue, "agent-2", LIMIT)
    holder.take()
    real, asked = taking.enter, []
    monkeypatch.setattr(taking, "enter", lambda *args: asked.append(args) or real(*args))
    assert other.take() is None
    assert len(asked) == 1


def test_a_limit_holds_exactly_among_racing_processes_and_kills(queue) -> None:
    queue.add([an_item(f"i{index}", role="limited") for index in range(8)])
    workers = [start("hold", queue.layout.root, f"agent-{index}") for index in range(5)]
    for worker in workers:
        assert worker.said() == "ready"
    for worker in workers:
        worker.tell()
    took = [worker.said() for worker in workers]
    assert took.count("nothing") == 3
    holders = [worker for worker, said in zip(workers, took, strict=True) if said != "nothing"]
    holders[0].kill()
    late = make_taker(queue, "late", {"limited": 2})
    assert late.take() is None
    assert len(take_back_from_the_dead(queue, AT_ONCE)) == 1
    assert late.take() is not None
    assert make_taker(queue, "later", {"limited": 2}).take() is None
    for worker in workers:
        worker.finish()
    last = [chain[-1]["kind"] for chain in read_chains(queue.layout.root).values() if chain]
    assert last.count("claimed") == 1
