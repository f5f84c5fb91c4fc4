"""What a kill leaves behind, and that the next who comes finishes it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from parallel_loop.queue import healing, hints
from parallel_loop.queue.buckets import Bucket
from parallel_loop.queue.healing import heal, take_back_from_the_dead
from parallel_loop.queue.layout import FOLDERS
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.store import Queue
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Taker
from support.queue_checker import read_chains
from support.queues import (
    AT_ONCE,
    START,
    add,
    an_item,
    drain,
    end,
    lose_ready_hints,
    make_taker,
    names_in,
    ready_lines,
    states,
)
from support.steps import Killed


def die(*_args: object, **_more: object) -> None:
    raise Killed


def die_at_once(taker: Taker) -> None:
    """Close what a kill closes; the names stay."""
    for descriptor in (*taker._marker._descriptors, taker._marker.note._descriptor):
        os.close(descriptor)
    taker._marker._descriptors.clear()


def test_healing_a_new_queue_finds_nothing_to_do(tmp_path) -> None:
    assert heal(Queue(tmp_path / "state" / "queue", durable=False), AT_ONCE) == []


def test_all_but_the_items_can_be_deleted(queue) -> None:
    queue.add([an_item("ready"), an_item("delayed"), an_item("base", priority=0), an_item("blocked", after=("base",))])
    add(queue, "landing", priority=0)
    taker = make_taker(queue)
    base = taker.take()
    end(queue, taker, taker.take(), "landing")
    end(queue, taker, taker.take(), "done")
    end(queue, taker, taker.take(), "released", not_before="2026-01-01T00:01:00.000000Z")
    add(queue, "again")
    before = states(queue)
    assert set(before.values()) == {"working", "landing", "done", "delayed", "blocked", "ready"}
    for folder in FOLDERS:
        if folder not in {"items", "workers"}:
            shutil.rmtree(queue.layout.root / folder)
    heal(queue, AT_ONCE)
    assert states(queue) == before
    assert queue.hints.landing() == ["landing"]
    end(queue, taker, base)
    assert drain(queue, taker) == ["blocked", "again"]
    queue.now.advance(60)
    assert drain(queue, taker) == ["delayed"]


def test_a_running_taker_sees_what_was_healed(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    lose_ready_hints(queue)
    assert taker.take() is None
    heal(queue, AT_ONCE)
    assert drain(queue, taker) == ["a"]


def test_a_worker_killed_right_after_its_claim_is_found(queue, monkeypatch) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "strike", die)
        with pytest.raises(Killed):
            taker.take()
    taker.close()
    assert [entry.item.id for entry in take_back_from_the_dead(queue, AT_ONCE)] == ["a"]
    assert drain(queue, make_taker(queue)) == ["a"]


@pytest.mark.parametrize(("kind", "expected"), [("released", ["a", "top"]), ("done", ["top"])])
def test_a_worker_killed_between_its_last_record_and_the_hints_is_finished(queue, monkeypatch, kind, expected) -> None:
    add(queue, "a")
    add(queue, "top", after=("a",))
    taker, other = make_taker(queue), make_taker(queue, "agent-2")
    claim = taker.take()
    with monkeypatch.context() as patch:
        patch.setattr(Queue, "refresh_hints", die)
        with pytest.raises(Killed):
            end(queue, taker, claim, kind)
    taker.close()
    assert other.take() is None
    assert take_back_from_the_dead(queue, AT_ONCE) == []
    assert drain(queue, other) == expected


def test_a_landing_that_was_killed_before_its_hint_is_found_by_heal(queue, monkeypatch) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    claim = taker.take()
    monkeypatch.setattr(hints.Hints, "mark_landing", die)
    with pytest.raises(Killed):
        end(queue, taker, claim, "landing")
    monkeypatch.undo()
    assert queue.hints.landing() == []
    heal(queue, AT_ONCE)
    assert queue.hints.landing() == ["a"]


@pytest.mark.parametrize("kills", [1, 2, 3])
def test_a_recovery_that_is_killed_is_finished_by_the_next(queue, monkeypatch, kills) -> None:
    queue.add([an_item(f"i{index}") for index in range(3)])
    taker = make_taker(queue)
    for _ in range(3):
        taker.take()
    taker.close()
    real, calls = Queue.refresh_hints, []

    def die_at_times(self, entry, **more):
        calls.append(entry)
        if len(calls) <= kills:
            raise Killed
        real(self, entry, **more)

    monkeypatch.setattr(Queue, "refresh_hints", die_at_times)
    for _ in range(kills):
        with pytest.raises(Killed):
            take_back_from_the_dead(queue, AT_ONCE)
    take_back_from_the_dead(queue, AT_ONCE)
    assert sorted(drain(queue, make_taker(queue))) == ["i0", "i1", "i2"]
    chains = read_chains(queue.layout.root)
    assert all(chain[1]["outcome"] == "died" and len(chain) == 4 for chain in chains.values())


def test_two_recoveries_at_once_take_back_once(queue, monkeypatch) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    taker.take()
    taker.close()
    real, inner = healing.is_owner_alive, []

    def recover_also(marker):
        monkeypatch.setattr(healing, "is_owner_alive", real)
        inner.extend(take_back_from_the_dead(queue, AT_ONCE))
        return real(marker)

    monkeypatch.setattr(healing, "is_owner_alive", recover_also)
    outer = take_back_from_the_dead(queue, AT_ONCE)
    assert (len(inner), len(outer)) == (1, 0)
    assert [record["kind"] for record in read_chains(queue.layout.root)["a"]] == ["claimed", "released"]


def test_an_item_that_kills_its_workers_fails_in_the_end(queue) -> None:
    policy = RetryPolicy(attempts=2, first_seconds=0.0)
    add(queue, "deadly")
    for _ in range(2):
        taker = make_taker(queue, "agent-3")
        assert taker.take() is not None
        taker.close()
        take_back_from_the_dead(queue, policy)
    assert states(queue) == {"deadly": "failed"}
    assert f"agent-3 (pid {os.getpid()}) died" in queue.entry("deadly").last.why


def test_workers_that_die_one_after_the_other_leave_nothing_that_adds_up(queue) -> None:
    survey = Survey(queue)
    for item_id in ("a", "b", "c"):
        add(queue, item_id)
        dead = make_taker(queue)
        assert dead.take() is not None
        survey.refresh()
        die_at_once(dead)
        assert len(take_back_from_the_dead(queue, AT_ONCE)) == 1
        assert names_in(queue.layout.workers) == []
        survey.refresh()
        assert not [path for path in survey._foreign._known if str(queue.layout.workers) in path]
    assert set(states(queue).values()) == {"ready"}


def test_only_what_the_dead_left_is_tidied(queue) -> None:
    alive, dead = make_taker(queue), make_taker(queue)
    die_at_once(dead)
    drafts, workers = queue.layout.drafts, queue.layout.workers
    (workers / "README").touch()
    (workers / "link.1.00000000.json").symlink_to("/etc/passwd")
    (drafts / "notes").touch()
    nobody = 2**22 + 1  # above the largest process id
    for name in (f"{nobody}-1-1", f"{nobody}-1-2", f"{os.getpid()}-1-3"):
        (drafts / name).touch()
    for name in ("notes", f"{nobody}-1-1", f"{os.getpid()}-1-3"):
        os.utime(drafts / name, (0, 0))
    heal(queue, AT_ONCE)
    kept = [alive._marker.path.name, alive._marker.note.path.name]
    assert names_in(workers) == sorted([*kept, "README", "link.1.00000000.json"])
    assert names_in(drafts) == sorted(["notes", f"{nobody}-1-2", f"{os.getpid()}-1-3"])


def test_the_process_of_another_user_counts_as_running(monkeypatch) -> None:
    monkeypatch.setattr(healing.os, "kill", lambda _pid, _signal: (_ for _ in ()).throw(PermissionError()))
    assert healing._is_running(1)


def test_stale_ready_names_are_tidied_by_whoever_loses_on_them_twice(queue) -> None:
    add(queue, "a")
    before = queue.entry("a")
    taker = make_taker(queue)
    drain(queue, taker)
    other = make_taker(queue, "agent-2")
    queue.refresh_hints(before)
    for _ in range(2):
        queue.bell.ring_all()
        assert other.take() is None
    assert ready_lines(queue) == []


def test_a_hint_that_is_lost_to_a_full_disk_does_not_lose_the_outcome(queue, monkeypatch) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    claim = taker.take()

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Queue, "refresh_hints", full)
        assert end(queue, taker, claim, "released")
        (item,) = queue.add([an_item("b")])
    assert states(queue) == {"a": "ready", "b": "ready"}
    heal(queue, AT_ONCE)
    assert drain(queue, taker) == ["a", item.id]


def test_items_of_the_dead_wait_for_their_delay(queue) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    taker.take()
    taker.close()
    take_back_from_the_dead(queue, RetryPolicy(first_seconds=10.0))
    assert states(queue) == {"a": "delayed"}
    assert queue.entry("a").last.not_before > START
    queue.now.advance(11)
    assert drain(queue, make_taker(queue)) == ["a"]
    assert Path(queue.layout.item("a")).exists()
