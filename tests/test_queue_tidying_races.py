"""Finished items are packed while others take, end, look, import and heal: none comes back, none is overlooked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from parallel_loop.queue import atomic, packing, store, tidying
from parallel_loop.queue.atomic import Unreadable
from parallel_loop.queue.healing import heal
from parallel_loop.queue.packs import Header, Packs
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.queue.tidying import tidy
from support.queue_checker import read_chains
from support.queues import (
    AT_ONCE,
    START,
    Clock,
    add,
    an_item,
    drain,
    end,
    finish,
    make_queue,
    make_taker,
    names_in,
    own_files,
)
from support.steps import Killed, Step, watched


def test_a_stale_listing_does_not_bring_a_packed_item_back(queue) -> None:
    add(queue, "a")
    late, other = make_taker(queue, "late"), make_taker(queue, "other")
    assert late.peek().id == "a"
    drain(queue, other)
    tidy(queue)
    assert late.take() is None  # its link succeeded, for the number was free again
    assert late.lost_links == 0
    assert own_files(queue) == []
    assert queue.entry("a").last.kind == "done"


@pytest.mark.parametrize("how", [end, lambda _queue, taker, claim: taker.complete(claim)])
def test_a_worker_that_wakes_up_after_its_item_was_packed_can_end_nothing(queue, how) -> None:
    add(queue, "a")
    late: Taker = make_taker(queue, "late")
    stale: Claim = late.take()
    assert queue.append(stale.entry, Record(kind="released", at=queue.now()))  # as if its death was misjudged
    drain(queue, make_taker(queue, "other"))
    tidy(queue)
    assert not late.holds(stale)
    assert not how(queue, late, stale)
    assert own_files(queue) == []
    assert [record.kind for record in queue.entry("a").records] == ["claimed", "released", "claimed", "done"]


def test_a_reader_that_is_overtaken_by_tidying_finds_the_item_in_its_pack(queue, monkeypatch) -> None:
    done = finish(queue, "a")
    real = queue.chain.read_named_item

    def tidy_meanwhile(item_id: str) -> Item | None:
        item = real(item_id)
        monkeypatch.undo()
        tidy(queue)
        return item

    monkeypatch.setattr(queue.chain, "read_named_item", tidy_meanwhile)
    assert queue.entry("a") == done["a"]


def test_a_look_that_is_overtaken_by_a_merge_looks_again(queue, monkeypatch) -> None:
    done = finish(queue, "a")
    tidy(queue)
    real = Packs.look
    seen: list[dict[Path, Header]] = []

    def merge_meanwhile(packs: Packs) -> tuple[dict[Path, Header], list[Unreadable]]:
        headers, unreadable = real(packs)
        seen.append(headers)
        if len(seen) == 1:
            packing.merge(queue.layout, headers, queue.now(), durable=False)
        return headers, unreadable

    monkeypatch.setattr(Packs, "look", merge_meanwhile)
    assert queue.entry("a") == done["a"]
    assert len(seen) == 2


def test_a_number_is_free_again_only_when_the_item_is_gone(queue) -> None:
    """At no step of a tidying is there an item without all of the records that it had."""
    finish(queue, "a", "b")

    def look(_step: Step) -> None:
        read_chains_of_items_that_are_there(queue)

    with watched(look):
        tidy(queue)


def read_chains_of_items_that_are_there(queue: Queue) -> None:
    there = {path.stem for path in queue.layout.items.glob("*/*.json")}
    for item_id in there:
        assert {f"{item_id}.1", f"{item_id}.2"} <= set(own_files(queue))
    if not own_files(queue):
        assert read_chains(queue.layout.root) == {}


@pytest.mark.parametrize("how", [end, lambda _queue, taker, claim: taker.complete(claim)])
def test_a_worker_whose_outcome_was_packed_before_it_looked_is_told_that_it_counts(queue, monkeypatch, how) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    claim = taker.take()
    real = atomic.link_once

    def link_then_tidy(source: str, target: str) -> bool:
        won = real(source, target)
        if target == queue.layout.record("a", 2):
            monkeypatch.undo()
            assert tidy(queue) == 1
        return won

    monkeypatch.setattr(atomic, "link_once", link_then_tidy)
    assert how(queue, taker, claim)
    assert own_files(queue) == []
    assert queue.is_done("a")


def test_an_import_that_is_finished_late_does_not_bring_back_what_was_packed(queue, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(store, "remove", lambda path: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            queue.add([an_item("a"), an_item("b")])
    monkeypatch.setattr(Queue, "_finish_import", lambda *_: None)  # nobody adds until both are done and packed
    assert drain(queue, make_taker(queue)) == ["a", "b"]
    assert tidy(queue) == 2
    monkeypatch.undo()
    heal(queue, AT_ONCE)
    assert names_in(queue.layout.imports) == []
    assert own_files(queue) == []
    assert drain(queue, make_taker(queue)) == []


class Overtaking:
    """Does `act` before the first step for which `when` says so."""

    def __init__(self, when: Callable[[Step], bool], act: Callable[[], object]) -> None:
        self._when = when
        self._act = act
        self.done = False

    def __call__(self, step: Step) -> None:
        if not self.done and self._when(step):
            self.done = True
            self._act()


def test_a_look_that_is_overtaken_by_a_merge_at_any_of_its_steps_finds_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tidying, "_MOST_PACKS", 1)

    def merge(queue: Queue) -> None:
        finish(queue, "b")
        assert tidy(queue) == 1

    for number in itertools.count():
        queue = make_queue(tmp_path / str(number), Clock())
        done = finish(queue, "a")
        tidy(queue)
        steps = itertools.count()
        overtake = Overtaking(lambda _, steps=steps, number=number: next(steps) == number, partial(merge, queue))
        with watched(overtake, looks=True):
            assert queue.entry("a") == done["a"]
            survey = Survey(queue)
            survey.refresh()
            assert survey.counts()["done"] >= 1
            assert survey.done.done_since(START) <= 2
            assert "a" in {entry.item.id for entry in survey.all_entries(packed=True)}
        if not overtake.done:
            break
    assert number > 8


def test_the_place_of_a_worker_that_was_killed_after_claiming_a_packed_item_is_free(queue) -> None:
    add(queue, "a", role="narrow")
    late = make_taker(queue, "late", {"narrow": 1})
    assert late.peek().id == "a"
    drain(queue, make_taker(queue, "other"))
    tidy(queue)
    with pytest.raises(Killed), watched(dying_before("chain.withdraw>hints.remove:unlink")):
        late.take()
    late.close()
    assert own_files(queue) == ["a.1"]
    heal(queue, AT_ONCE)
    add(queue, "b", role="narrow")
    assert drain(queue, make_taker(queue, "next", {"narrow": 1})) == ["b"]


def dying_before(name: str) -> Callable[[Step], None]:
    def look(step: Step) -> None:
        if step.name.endswith(name):
            raise Killed

    return look


@pytest.mark.parametrize("overtaken", ["hints._make_folder:stat", "hints.mark_dependent>hints._name"])
def test_healing_that_is_overtaken_by_tidying_goes_on(queue, overtaken) -> None:
    """The item that another waits for is packed while its folder of notes is being written to."""
    finish(queue, "a")
    add(queue, "b", after=("a",))
    overtake = Overtaking(lambda step: overtaken in step.name, lambda: tidy(queue))
    with watched(overtake, looks=True):
        heal(queue, AT_ONCE)
    assert overtake.done
    assert own_files(queue) == ["b.json"]
    assert drain(queue, make_taker(queue)) == ["b"]


def test_healing_goes_on_when_an_item_that_it_has_read_is_done_and_packed(queue) -> None:
    finish(queue, "a")
    add(queue, "b", after=("a",))

    def finish_and_tidy() -> None:
        assert drain(queue, make_taker(queue)) == ["b"]
        assert tidy(queue) == 2

    overtake = Overtaking(lambda step: "mark_dependent>hints._name" in step.name, finish_and_tidy)
    with watched(overtake):
        heal(queue, AT_ONCE)
    assert overtake.done
    assert own_files(queue) == []
    assert drain(queue, make_taker(queue)) == []
