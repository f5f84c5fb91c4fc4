from __future__ import annotations

import pytest

from parallel_loop.queue.requests import NoSuchItem, Refused, answer, approve, cancel, land, reject, retry
from parallel_loop.queue.store import Queue
from support.queues import add, drain, end, make_taker, states


@pytest.fixture
def taker(queue):
    return make_taker(queue)


def test_a_request_about_an_unknown_item_says_so(queue) -> None:
    for request in (cancel, retry, approve):
        with pytest.raises(NoSuchItem, match="there is no item 'nowhere'"):
            request(queue, "nowhere")
    with pytest.raises(NoSuchItem):
        answer(queue, "../../nowhere", "text")


def test_a_request_that_does_not_fit_the_state_is_refused_and_changes_nothing(queue, taker) -> None:
    add(queue, "a")
    for request in (retry, approve, lambda queue, item_id: answer(queue, item_id, "text")):
        with pytest.raises(Refused, match="a is ready"):
            request(queue, "a")
    drain(queue, taker)
    for request in (cancel, retry, approve):
        with pytest.raises(Refused, match="done"):
            request(queue, "a")
    assert len(queue.entry("a").records) == 2


def test_a_delayed_item_can_be_retried_at_once(queue, taker) -> None:
    add(queue, "a")
    end(queue, taker, taker.take(), "released", not_before="2026-01-01T01:00:00.000000Z")
    assert taker.take() is None
    retry(queue, "a")
    assert drain(queue, taker) == ["a"]
    queue.now.advance(7200)
    assert taker.take() is None


def test_a_reviewed_item_lands_with_the_branch_of_its_attempt(queue, taker) -> None:
    add(queue, "reviewed")
    add(queue, "asking")
    end(queue, taker, taker.take(), "waiting", outcome="review", branch="b", commit="c")
    end(queue, taker, taker.take(), "waiting", outcome="asked", why="which?")
    approve(queue, "reviewed")
    with pytest.raises(Refused, match="for an answer, not for review"):
        approve(queue, "asking")
    answer(queue, "asking", "this one")
    assert states(queue) == {"reviewed": "landing", "asking": "ready"}
    assert (queue.entry("reviewed").last.branch, queue.entry("reviewed").last.commit) == ("b", "c")


def test_a_request_that_loses_a_race_looks_again(queue, taker, monkeypatch) -> None:
    add(queue, "a")
    real = Queue.entry

    def claimed_meanwhile(self, item_id):
        entry = real(self, item_id)
        monkeypatch.undo()
        assert taker.take() is not None
        return entry

    monkeypatch.setattr(Queue, "entry", claimed_meanwhile)
    cancel(queue, "a")
    assert [record.kind for record in queue.entry("a").records] == ["claimed", "cancelled"]


def test_a_failed_item_can_be_dismissed_and_asked_for_again(queue, taker) -> None:
    add(queue, "a")
    end(queue, taker, taker.take(), "failed")
    cancel(queue, "a")
    assert states(queue) == {"a": "cancelled"}
    retry(queue, "a")
    assert drain(queue, taker) == ["a"]


def test_what_was_left_on_its_branch_lands_or_goes_back_to_work_when_a_person_says_so(queue, taker) -> None:
    for name in ("lands", "approved", "rejected"):
        add(queue, name)
        end(queue, taker, taker.take(), "waiting", outcome="unlanded", branch="b", commit="c")
    land(queue, ["lands"])
    land(queue, ["lands"])  # a second time changes nothing
    approve(queue, "approved")
    reject(queue, "rejected", "not like this")
    assert states(queue) == {"lands": "landing", "approved": "landing", "rejected": "ready"}
    assert [record.kind for record in queue.entry("lands").records] == ["claimed", "waiting", "landing"]
    assert (queue.entry("lands").last.branch, queue.entry("lands").last.commit) == ("b", "c")


def test_landing_several_is_refused_as_a_whole(queue, taker) -> None:
    outcomes = {"left": "unlanded", "looked-at": "review", "asking": "asked"}
    for name, outcome in outcomes.items():
        add(queue, name)
        end(queue, taker, taker.take(), "waiting", outcome=outcome, branch="b", commit="c")
    add(queue, "new")
    for refused, said in (("looked-at", "approve"), ("asking", "answer"), ("new", "ready")):
        with pytest.raises(Refused, match=said):
            land(queue, ["left", refused])
    with pytest.raises(NoSuchItem):
        land(queue, ["left", "nobody"])
    with pytest.raises(Refused, match="answer asking"):
        reject(queue, "asking", "no")
    assert states(queue) == {"left": "waiting", "looked-at": "waiting", "asking": "waiting", "new": "ready"}
