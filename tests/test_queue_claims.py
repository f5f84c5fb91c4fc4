"""Who wins when several records compete for one number, and what the losers are told."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.queue import atomic
from parallel_loop.queue.healing import take_back, take_back_from_the_dead
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import NotAllowed
from support.queue_checker import read_chains
from support.queues import (
    AT_ONCE,
    START,
    add,
    an_item,
    append,
    drain,
    end,
    make_taker,
    record,
    states,
)
from support.taking import claimed


def kinds(queue, item_id: str) -> list[str]:
    return [record["kind"] for record in read_chains(queue.layout.root)[item_id]]


def test_an_item_is_taken_by_one_of_two(queue) -> None:
    add(queue, "only")
    one, other = make_taker(queue), make_taker(queue, "agent-2")
    assert other.peek() is not None
    claim = claimed(one)
    assert (claim.item.id, claim.attempt) == ("only", 1)
    assert other.take() is None
    assert other.lost_links == 1  # it had listed the item, and lost at the link itself
    assert one.holds(claim)
    assert end(queue, one, claim)
    assert kinds(queue, "only") == ["claimed", "done"]


def test_what_a_taker_passes_over_is_left_to_others_and_asked_for_again(queue) -> None:
    queue.add([an_item(name) for name in ("a", "b", "c", "d")])
    Path(queue.layout.item("b")).write_text("nonsense")
    asked: list[tuple[str, bool]] = []

    def passes_over(item_id: str, read: Callable[[], Item | None]) -> bool:
        item = read()
        asked.append((item_id, item is not None and item.id == item_id))
        return item_id in {"a", "d"}

    one, other = make_taker(queue), make_taker(queue, "agent-2")
    assert one.take(passes_over).item.id == "c"
    assert asked == [("a", True), ("b", False), ("a", True), ("c", True)], "what nobody can read is set aside meanwhile"
    assert one.take(passes_over) is None
    assert other.take().item.id == "a"
    assert one.take().item.id == "d", "of the last take nothing is left"


def test_the_claim_names_its_worker(queue) -> None:
    add(queue, "a")
    make_taker(queue, "agent-7").take()
    (claim,) = read_chains(queue.layout.root)["a"]
    assert (claim["agent"], claim["pid"]) == ("agent-7", os.getpid())


def test_a_stale_hint_does_not_give_a_taker_the_same_claim_twice(queue) -> None:
    add(queue, "a")
    before = queue.entry("a")
    taker = make_taker(queue)
    assert taker.take() is not None
    queue.refresh_hints(before)  # as a recovery does that read the item just before the claim
    assert taker.take() is None
    assert make_taker(queue, "agent-2").take() is None


def test_a_worker_whose_claim_was_taken_back_can_end_nothing(queue) -> None:
    add(queue, "a")
    late, other = make_taker(queue), make_taker(queue, "agent-2")
    stale = late.take()
    late._marker.close()  # dead, as far as others can tell
    assert [entry.item.id for entry in take_back_from_the_dead(queue, AT_ONCE)] == ["a"]
    assert not late.holds(stale)
    fresh = other.take()
    assert fresh.attempt == 2
    for kind in ("done", "failed", "released", "landing", "waiting"):
        assert not end(queue, late, stale, kind)
    assert other.holds(fresh)
    assert end(queue, other, fresh)
    assert kinds(queue, "a") == ["claimed", "released", "claimed", "done"]


def test_a_claim_whose_owner_lives_is_not_taken_back(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    claim = taker.take()
    assert take_back_from_the_dead(queue, AT_ONCE) == []
    assert not take_back(queue, claim.entry, AT_ONCE)
    assert taker.holds(claim)


def test_cancelling_fences_off_the_worker(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    claim = taker.take()
    assert append(queue, "a", "cancelled")
    assert not taker.holds(claim)
    assert not end(queue, taker, claim)
    assert taker.take() is None
    assert states(queue) == {"a": "cancelled"}


def test_of_a_cancel_and_a_claim_one_happens(queue) -> None:
    add(queue, "a")
    add(queue, "b")
    taker = make_taker(queue)
    assert taker.peek() is not None
    unclaimed = queue.entry("b")
    assert append(queue, "a", "cancelled")
    claim = taker.take()
    assert claim.item.id == "b"
    assert not queue.append(unclaimed, record(queue, "cancelled"))
    assert (kinds(queue, "a"), kinds(queue, "b")) == (["cancelled"], ["claimed"])


def test_a_retried_item_is_takable_with_all_its_attempts(queue) -> None:
    policy = RetryPolicy(attempts=2, first_seconds=0.0)
    add(queue, "a")
    taker = make_taker(queue)
    for _ in range(2):
        claim = taker.take()
        taker.end(claim, policy.after_failure(claim.entry, record(queue, "failed")))
    assert states(queue) == {"a": "failed"}
    assert append(queue, "a", "retried")
    claim = taker.take()
    assert claim.attempt == 3
    assert policy.after_failure(claim.entry, record(queue, "failed")).kind == "released"


def test_two_commands_at_once_on_one_item_are_told_who_was_first(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    end(queue, taker, taker.take(), "failed")
    seen = queue.entry("a")
    assert queue.append(seen, record(queue, "retried"))
    assert not queue.append(seen, record(queue, "cancelled"))
    assert not queue.append(seen, record(queue, "retried"))
    assert drain(queue, taker) == ["a"]


def test_an_answered_item_goes_on_and_the_answer_is_in_its_history(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    end(queue, taker, taker.take(), "waiting", why="which one?")
    assert taker.take() is None
    assert append(queue, "a", "answered", text="the blue one")
    claim = taker.take()
    assert [record.text for record in claim.entry.records if record.text] == ["the blue one"]


def test_landing_ends_in_done_or_in_another_attempt(queue) -> None:
    for item_id in ("good", "bad"):
        add(queue, item_id)
    taker = make_taker(queue)
    for _ in range(2):
        assert end(queue, taker, taker.take(), "landing")
    assert queue.hints.landing() == ["good", "bad"]
    landing = queue.entry("good")
    assert append(queue, "good", "done")
    assert append(queue, "bad", "released", why="conflict")
    assert not queue.append(landing, record(queue, "released"))  # a second lander that is late
    for item_id in ("good", "bad"):
        queue.hints.unmark_landing(item_id)
    assert queue.hints.landing() == []
    assert taker.take().item.id == "bad"


def test_nothing_follows_done_and_only_a_taker_claims(queue) -> None:
    add(queue, "a")
    with pytest.raises(NotAllowed):
        append(queue, "a", "claimed")
    drain(queue, make_taker(queue))
    with pytest.raises(NotAllowed, match=r"'a': 'retried' cannot be recorded after 'done'"):
        append(queue, "a", "retried")


def test_a_planted_ready_hint_does_not_make_an_ended_item_takable(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    drain(queue, taker)
    name = "5~2026-01-01T000000.000001Z~a~{}~\n"
    bucket = queue.layout.ready / "5" / "2026-01-01T000000.000000Z"
    bucket.write_text("".join(name.format(number) for number in (1, 2, 3, 4, 0, -1, "../../a")))
    queue.bell.ring_all()
    assert taker.take() is None
    assert kinds(queue, "a") == ["claimed", "done"]


def test_a_hint_without_an_item_leaves_that_id_usable(queue) -> None:
    add(queue, "a")
    Path(queue.layout.item("a")).unlink()  # a power cut lost it, and kept the hint
    taker = make_taker(queue)
    assert taker.take() is None
    add(queue, "a")
    assert drain(queue, taker) == ["a"]


def test_a_text_that_is_not_unicode_does_not_lose_an_outcome(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    assert end(queue, taker, taker.take(), "failed", why="no file \udcff")
    assert queue.entry("a").last.why == "no file ?"


def test_a_marker_with_too_many_links_is_renewed_and_its_claims_stay_alive(queue, monkeypatch) -> None:
    queue.add([an_item("a"), an_item("b")])
    taker = make_taker(queue)
    first = taker.take()
    link, refused = os.link, []

    def refuse_once(source, target, **more):
        if str(source).startswith(str(queue.layout.workers)) and not refused:
            refused.append(target)
            raise OSError(errno.EMLINK, "Too many links")
        link(source, target, **more)

    monkeypatch.setattr(atomic.os, "link", refuse_once)
    second = taker.take()
    assert second.item.id == "b"
    assert take_back_from_the_dead(queue, AT_ONCE) == []
    taker.close()
    assert {entry.item.id for entry in take_back_from_the_dead(queue, AT_ONCE)} == {first.item.id, second.item.id}


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 10.0), (2, 20.0), (3, 40.0), (5, 160.0), (6, 300.0), (100, 300.0), (5000, 300.0)]
)
def test_each_failure_doubles_the_delay_up_to_the_longest(failures, seconds) -> None:
    assert RetryPolicy().delay_seconds(failures) == seconds


@pytest.mark.parametrize(
    ("max_attempts", "expected"),
    [(1, ["failed"]), (2, ["released", "failed"]), (None, ["released", "released", "failed"])],
)
def test_an_item_fails_for_good_at_its_own_limit_or_that_of_the_policy(queue, max_attempts, expected) -> None:
    policy = RetryPolicy(attempts=3, first_seconds=0.0)
    add(queue, "a", max_attempts=max_attempts)
    taker = make_taker(queue)
    found = []
    while (claim := taker.take()) is not None:
        ending = policy.after_failure(claim.entry, record(queue, "failed", outcome="check-failed"))
        assert ending.outcome == "check-failed"
        found.append(ending.kind)
        taker.end(claim, ending)
    assert found == expected


def test_an_interrupted_attempt_costs_the_item_none(queue) -> None:
    policy = RetryPolicy(attempts=1)
    add(queue, "a")
    taker = make_taker(queue)
    end(queue, taker, taker.take(), "released", counted=False)
    claim = taker.take()
    assert claim.entry.counted_attempts == 0
    assert policy.after_failure(claim.entry, Record(kind="failed", at=START)).kind == "failed"
