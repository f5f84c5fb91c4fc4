"""Finished items move into packs: nothing of them is lost, whoever is killed or damages a pack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel_loop.queue import packing, tidying
from parallel_loop.queue.adding import InvalidItem
from parallel_loop.queue.atomic import Unreadable
from parallel_loop.queue.healing import heal
from parallel_loop.queue.records import Entry, Item, Record
from parallel_loop.queue.requests import Refused, retry
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.tidying import tidy
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
    states,
)
from support.steps import Killed, Step, watched

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,6}", fullmatch=True)
HEADER = b'{"items":1,"latest":"","seconds":0,"timed":0}\n'


def counts(queue: Queue) -> dict[str, int]:
    survey = Survey(queue)
    survey.refresh()
    return {state: count for state, count in survey.counts().items() if count}


def test_only_done_items_are_packed_and_all_of_their_history_stays(queue) -> None:
    done = finish(queue, "a", "b", "c")
    add(queue, "waits", after=("b",))
    add(queue, "failed")
    taker = make_taker(queue)
    assert taker.take().item.id == "waits"
    end(queue, taker, taker.take(), "failed")
    before = states(queue)
    assert tidy(queue) == 3
    assert own_files(queue) == ["failed.1", "failed.2", "failed.json", "waits.1", "waits.json"]
    assert {item_id: queue.entry(item_id) for item_id in done} == done
    assert all(queue.is_done(item_id) for item_id in done)
    assert {"a": "done", "b": "done", "c": "done"} | states(queue) == before
    assert counts(queue) == {"done": 3, "working": 1, "failed": 1}
    assert tidy(queue) == 0


def test_what_was_done_lately_may_stay(queue) -> None:
    finish(queue, "old")
    queue.now.advance(60)
    finish(queue, "new")
    assert tidy(queue, older_than_seconds=30) == 1
    assert own_files(queue) == ["new.1", "new.2", "new.json"]


def test_a_packed_item_cannot_be_added_or_retried_and_others_may_wait_for_it(queue) -> None:
    finish(queue, "a")
    tidy(queue)
    with pytest.raises(InvalidItem, match="already an item 'a'"):
        add(queue, "a")
    with pytest.raises(Refused):
        retry(queue, "a")
    add(queue, "next", after=("a",))
    assert queue.add([Item(id="", title="a", added_at="")])[0].id == "a-2"
    assert drain(queue, make_taker(queue)) == ["next", "a-2"]


def steps_of(act: Callable[[], object]) -> list[str]:
    names: list[str] = []
    with watched(lambda step: names.append(step.name)):
        act()
    return names


def dying_at(number: int) -> Callable[[Step], None]:
    seen = 0

    def count(_step: Step) -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            raise Killed

    return count


def prepared(root: Path, most_packs: int) -> tuple[Queue, dict[str, Entry | None]]:
    """Return a durable queue with packs up to the limit, so that the next tidying merges, and items to tidy."""
    queue = Queue(root, durable=True, now=Clock())
    done: dict[str, Entry | None] = {}
    for index in range(most_packs):
        done |= finish(queue, f"p{index}")
        tidy(queue)
    return queue, done | finish(queue, "x", "y")


def test_tidying_that_is_killed_at_any_step_is_finished_by_the_next(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(tidying, "_MOST_PACKS", 2)
    queue, _ = prepared(tmp_path / "whole", 2)
    steps = steps_of(lambda: tidy(queue))
    assert any(name.startswith("tidying.tidy>packing.merge>") for name in steps)
    for number in range(1, len(steps) + 1):
        queue, done = prepared(tmp_path / str(number), 2)
        with pytest.raises(Killed), watched(dying_at(number)):
            tidy(queue)
        assert {item_id: queue.entry(item_id) for item_id in done} == done, steps[number - 1]
        assert counts(queue) == {"done": 4}, steps[number - 1]
        heal(queue, AT_ONCE)
        assert drain(queue, make_taker(queue)) == []
        tidy(queue)
        assert own_files(queue) == []
        assert all(name.endswith(".jsonl") for name in names_in(queue.layout.packs))
        assert {item_id: queue.entry(item_id) for item_id in done} == done
        assert counts(queue) == {"done": 4}


def test_many_packs_become_one(queue, monkeypatch) -> None:
    monkeypatch.setattr(tidying, "_MOST_PACKS", 3)
    done: dict[str, Entry | None] = {}
    for index in range(4):
        done |= finish(queue, f"x{index}", f"y{index}")
        tidy(queue)
    (pack,) = names_in(queue.layout.packs)
    (header,) = queue.packs.headers().values()
    assert (header.items, len(header.replaces)) == (8, 4)
    assert {item_id: queue.entry(item_id) for item_id in done} == done
    assert [line.split('"')[5] for line in (queue.layout.packs / pack).read_text().splitlines()[1:]] == sorted(done)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(IDS, st.integers(0, 3000), max_size=30))
def test_every_item_of_a_pack_is_found_and_nothing_else(tmp_path_factory, prompts) -> None:
    queue = make_queue(tmp_path_factory.mktemp("queue"), Clock())
    done = Record(kind="done", at=START)
    entries = [Entry(an_item(name, added_at=START, prompt="ü" * size), (done,)) for name, size in prompts.items()]
    if entries:
        packing.pack(queue.layout, entries, START, durable=False)
    assert [queue.packs.find(entry.item.id) for entry in entries] == entries
    for name in {"0", "zzz", "m", *(f"{name}x" for name in prompts)} - prompts.keys():
        assert queue.packs.find(name) is None


@pytest.fixture
def damaged(queue) -> Path:
    finish(queue, "a", "b")
    tidy(queue)
    return next(queue.layout.packs.iterdir())


@pytest.mark.parametrize("content", [b"", b"{}\n", b"garbage", b"\x00" * 100, HEADER + b"x", HEADER + b'{"item":{}}'])
def test_a_damaged_pack_is_named_and_stops_no_worker(queue, damaged, content) -> None:
    damaged.write_bytes(content)
    survey = Survey(queue)
    survey.refresh()
    with pytest.raises(Unreadable, match="damaged"):
        queue.entry("a")
    heal(queue, AT_ONCE)
    taker = make_taker(queue)
    assert taker.take() is None
    assert not queue.is_done("a")
    assert damaged.read_bytes() == content


def test_what_is_no_pack_is_named_and_left_alone(queue, damaged) -> None:
    strange = {"README": "mine", "x.jsonl": "{}", ".unfinished": "", "other.unfinished": "x"}
    for name, text in strange.items():
        (queue.layout.packs / name).write_text(text)
    survey = Survey(queue)
    survey.refresh()
    assert sorted(Path(damage.path).name for damage in survey.damage) == sorted(strange)
    heal(queue, AT_ONCE)
    assert {name: (queue.layout.packs / name).read_text() for name in strange} == strange
    assert queue.entry("a").last.kind == "done"
