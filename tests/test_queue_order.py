from __future__ import annotations

import random

import pytest

from parallel_loop.queue import offering
from parallel_loop.queue.clock import later
from parallel_loop.queue.healing import heal
from support.queues import (
    AT_ONCE,
    START,
    add,
    an_item,
    append,
    drain,
    end,
    lose_ready_hints,
    make_taker,
    states,
)
from support.taking import claimed


def test_items_are_taken_by_priority_and_then_by_age(queue) -> None:
    for item_id, priority in [("b-low", 9), ("z-first", 5), ("a-second", 5), ("urgent", 0), ("high", 1)]:
        add(queue, item_id, priority=priority)
    assert drain(queue, make_taker(queue)) == ["urgent", "high", "z-first", "a-second", "b-low"]


def test_an_urgent_item_added_while_3000_wait_is_the_next_to_be_taken(queue) -> None:
    queue.add([an_item(f"item-{index:04d}") for index in range(3000)])
    taker = make_taker(queue)
    for index in range(1200):  # across the end of a bucket
        claim = claimed(taker)
        assert claim.item.id == f"item-{index:04d}"
        end(queue, taker, claim)
    add(queue, "urgent", priority=0)
    claim = claimed(taker)
    assert claim.item.id == "urgent"
    end(queue, taker, claim)
    assert drain(queue, taker) == [f"item-{index:04d}" for index in range(1200, 3000)]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("waiting", [10_000, pytest.param(100_000, marks=pytest.mark.large)])
def test_an_urgent_item_is_taken_next_however_many_wait(queue, waiting) -> None:
    queue.add([an_item(f"item-{index:06d}", priority=5 + index % 2) for index in range(waiting)])
    one, other = make_taker(queue), make_taker(queue, "agent-2")
    for taker in (one, other, one):
        assert taker.take().item.priority == 5
    add(queue, "urgent", priority=0)
    add(queue, "soon", priority=1)
    assert [taker.take().item.id for taker in (other, one)] == ["urgent", "soon"]
    assert other.take().item.id == "item-000006"


def test_a_retried_item_keeps_its_age_even_in_a_full_bucket(queue, monkeypatch) -> None:
    monkeypatch.setattr(offering, "BUCKET_SIZE", 3)
    taker = make_taker(queue)
    queue.add([an_item(f"i{index}") for index in range(8)])
    first, second = taker.take(), taker.take()
    assert first is not None
    assert second is not None
    end(queue, taker, second, "released")
    end(queue, taker, first, "released")
    add(queue, "i8")
    assert drain(queue, taker) == [f"i{index}" for index in range(9)]


def test_items_that_come_back_in_any_order_are_taken_by_age(queue, monkeypatch) -> None:
    monkeypatch.setattr(offering, "BUCKET_SIZE", 3)
    queue.add([an_item("i0", role="closed"), *(an_item(f"i{index}") for index in range(1, 8))])
    taker = make_taker(queue, wip={"closed": 0})
    claims = {claim.item.id: claim for claim in iter(taker.take, None)}
    for item_id in ("i7", "i6", "i3", "i5", "i1", "i2", "i4"):  # all into the one bucket that is left
        end(queue, taker, claims[item_id], "released")
    assert drain(queue, make_taker(queue)) == [f"i{index}" for index in range(8)]


def test_items_of_one_import_keep_the_order_of_the_list(queue) -> None:
    queue.add([an_item(name) for name in ("c", "a", "b")])
    assert drain(queue, make_taker(queue)) == ["c", "a", "b"]


def test_a_taker_sees_what_is_added_after_it_found_nothing(queue) -> None:
    taker = make_taker(queue)
    assert taker.take() is None
    add(queue, "late")
    assert drain(queue, taker) == ["late"]


def test_peeking_tells_what_is_taken_next_and_takes_nothing(queue) -> None:
    add(queue, "a")
    add(queue, "b")
    taker = make_taker(queue)
    for _ in range(2):
        hint = taker.peek()
        assert hint is not None
        assert hint.id == "a"
    assert drain(queue, taker) == ["a", "b"]
    assert taker.peek() is None


def test_dependencies_are_done_before_what_waits_for_them(queue) -> None:
    add(queue, "base", priority=9)
    sides = [an_item(name, after=("base",)) for name in ("left", "right")]
    queue.add([an_item("top", after=("left", "right"), priority=0), *sides])
    assert states(queue) == {"top": "blocked", "left": "blocked", "right": "blocked", "base": "ready"}
    assert drain(queue, make_taker(queue)) == ["base", "left", "right", "top"]


def test_two_dependencies_that_finish_at_once_release_the_dependent(queue, monkeypatch) -> None:
    queue.add([an_item("left"), an_item("right"), an_item("top", after=("left", "right"))])
    one, other = make_taker(queue), make_taker(queue, "agent-2")
    left, right = one.take(), other.take()
    refresh = queue.refresh_hints
    queue.refresh_hints = lambda _entry: None  # each is stopped between its record and the look at dependents
    end(queue, one, left)
    end(queue, other, right)
    del queue.refresh_hints
    for name in ("left", "right"):
        refresh(queue.entry(name))
    assert drain(queue, one) == ["top"]


@pytest.mark.parametrize("kind", ["failed", "cancelled", "waiting", "landing"])
def test_a_dependency_that_is_not_done_keeps_the_item_blocked(queue, kind) -> None:
    add(queue, "base")
    add(queue, "top", after=("base",))
    taker = make_taker(queue)
    end(queue, taker, taker.take(), kind)
    assert taker.take() is None
    assert states(queue)["top"] == "blocked"


def test_a_failed_dependency_that_is_retried_and_done_releases_the_item(queue) -> None:
    add(queue, "base")
    add(queue, "top", after=("base",))
    taker = make_taker(queue)
    end(queue, taker, taker.take(), "failed")
    append(queue, "base", "retried")
    assert drain(queue, taker) == ["base", "top"]


def test_an_item_added_after_its_dependency_was_done_is_takable_at_once(queue) -> None:
    add(queue, "base")
    taker = make_taker(queue)
    drain(queue, taker)
    add(queue, "top", after=("base",))
    assert drain(queue, taker) == ["top"]


def test_a_delayed_item_is_taken_when_it_is_due_and_not_before(queue, clock) -> None:
    add(queue, "a")
    taker, other = make_taker(queue), make_taker(queue, "agent-2")
    claim = taker.take()
    assert other.take() is None  # it has looked at what is delayed, and there was nothing
    end(queue, taker, claim, "released", not_before="2026-01-01T00:01:00.000000Z")
    assert states(queue) == {"a": "delayed"}
    assert taker.take() is None
    assert other.take() is None
    clock.advance(59.9)
    assert other.take() is None
    clock.advance(0.1)
    assert states(queue) == {"a": "ready"}
    again = other.take()
    assert again is not None
    assert again.attempt == 2


def test_of_many_delayed_items_all_that_are_due_are_taken_in_order_and_no_other(queue, clock) -> None:
    chance = random.Random(1)
    queue.add([an_item(f"i{index:02d}", priority=index % 3) for index in range(60)])
    taker, other = make_taker(queue), make_taker(queue, "agent-2")
    due = {}
    for claim in list(iter(taker.take, None)):
        due[claim.item.id] = later(START, 3600 + 10 * chance.randrange(10))
        end(queue, taker, claim, "released", not_before=due[claim.item.id])
    clock.advance(3595)  # five seconds off whatever is due, as each look at the clock takes a millisecond
    taken = set()
    while len(taken) < len(due):
        clock.advance(10 * chance.randrange(3))
        now = queue.now()
        expected = sorted(
            (name for name in due if due[name] <= now and name not in taken), key=lambda n: (int(n[1:]) % 3, n)
        )
        assert [claim.item.id for claim in iter(chance.choice([taker, other]).take, None)] == expected
        taken.update(expected)


def test_each_delayed_item_comes_at_its_own_time(queue, clock) -> None:
    for name, minute in (("later", 2), ("sooner", 1)):
        add(queue, name)
        taker = make_taker(queue)
        end(queue, taker, taker.take(), "released", not_before=f"2026-01-01T00:0{minute}:00.000000Z")
    taker = make_taker(queue)
    assert taker.take() is None
    clock.advance(60)
    assert drain(queue, taker) == ["sooner"]
    clock.advance(60)
    assert drain(queue, taker) == ["later"]


def test_a_due_item_is_found_by_another_taker_than_the_one_that_promoted_it(queue, clock) -> None:
    add(queue, "delayed", priority=0)
    taker, other = make_taker(queue), make_taker(queue, "agent-2")
    end(queue, taker, taker.take(), "released", not_before="2026-01-01T00:01:00.000000Z")
    add(queue, "first")
    add(queue, "second")
    assert other.take().item.id == "first"
    clock.advance(60)
    queue.promote_due()
    assert other.take().item.id == "delayed"


def test_heal_keeps_the_order_after_all_hints_are_gone(queue) -> None:
    queue.add([an_item(f"i{index}", priority=index % 2) for index in range(6)])
    lose_ready_hints(queue)
    taker = make_taker(queue)
    assert taker.take() is None
    heal(queue, AT_ONCE)
    assert drain(queue, taker) == ["i0", "i2", "i4", "i1", "i3", "i5"]
