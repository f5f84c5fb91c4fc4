"""Workers that find no room: what they wait for, that no attempt is lost, and that the work is not done again."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.harness.heart import Heart
from parallel_loop.harness.job import Run
from parallel_loop.harness.keeping.bounds import Bounds
from parallel_loop.harness.keeping.kept import Command, Kept
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.outcome import Evidence, judge
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.room import Complaint
from parallel_loop.harness.shortage import Lack
from parallel_loop.harness.state import read_heartbeat
from parallel_loop.queue import atomic
from parallel_loop.queue.healing import take_back_from_the_dead
from parallel_loop.queue.records import Entry, Item, Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.taking import Taker
from support.harness import Workshop, make_workshop, spare_others
from support.queues import START
from support.runs import events, happened
from support.shortage import LACK, NO_SPACE, lacking


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    spare_others(monkeypatch)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    return make_workshop(tmp_path / "repo", "checks: ['test -e a']\n")


def test_nothing_is_taken_while_there_is_no_room_and_that_is_told_once(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.worker()
    with monkeypatch.context() as patch:
        lacking(patch, LACK)
        assert [worker.work_once() for _ in range(5)] == [False] * 5
        beat = read_heartbeat(shop.project.state.agent("agent-1"))
    assert beat is not None
    assert beat.hindrance == LACK
    assert shop.entry("one").records == ()
    assert worker.work_once()
    worker.close()
    assert shop.last("one").kind == "landing"
    told = [event["event"] for event in events(shop.project)]
    assert told == ["hindered", "unhindered", "claimed", "landing"]
    beat = read_heartbeat(shop.project.state.agent("agent-1"))
    assert beat is not None
    assert beat.hindrance is None


def test_a_history_without_room_is_told_as_soon_as_there_is_some(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = Complaint(shop.project, "agent-1")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "append_line", lambda *_: (_ for _ in ()).throw(NO_SPACE))
        assert not complaint.tell(LACK)
    assert not complaint.tell(Lack("something else by now", "x"))
    assert not complaint.tell(LACK)
    assert complaint.tell(None)
    assert not complaint.tell(None)
    assert [(event["event"], event["why"]) for event in events(shop.project)] == [
        ("hindered", LACK.why),
        ("unhindered", LACK.why),
    ]


def test_a_program_that_fails_for_want_of_room_costs_no_attempt_the_first_time(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("one", "exit 1", max_attempts=3)
    worker = shop.worker()
    for _ in range(3):
        lacking(monkeypatch, None, LACK, None)  # before it is taken; at the end of the program; from then on
        assert worker.work_once()
    worker.close()
    ends = [(record.outcome, record.counted) for record in shop.entry("one").records[1::2]]
    assert ends == [("no-room", False), ("no-room", True), ("no-room", True)], (
        "it may be the program that fills the disk"
    )
    assert PauseFile(shop.project).look() == (), "that says nothing of the program"
    assert "exit code 1" in (shop.last("one").why or "")
    assert LACK.why in (shop.last("one").why or "")


def test_a_check_that_fails_for_want_of_room_is_run_again_and_the_work_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare_others(monkeypatch)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    check = tmp_path / "ran"
    shop = make_workshop(tmp_path / "repo", f"checks: ['echo >> {check}; test $(wc -l < {check}) -gt 1']\n")
    lacking(monkeypatch, None, LACK, None)
    assert shop.work("one", "echo 1 > a; echo once >> ../program").kind == "landing"
    assert (shop.project.worktrees / "program").read_text() == "once\n"
    assert check.read_text() == "\n\n"


def test_a_program_that_cannot_be_started_for_want_of_room_costs_no_attempt(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("parallel_loop.harness.runner.Kept", refuse)
    monkeypatch.setattr("parallel_loop.harness.room._FIRST_BREATH_SECONDS", 0.0)
    record = shop.work("one", "true")
    assert (record.outcome, record.counted) == ("no-room", False)


def test_a_command_that_cannot_be_started_for_want_of_descriptors_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    before = set(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("parallel_loop.harness.keeping.kept.open_log", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            Kept(Command(("true",), tmp_path, {}, tmp_path / "log", None, Bounds()))
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_who_finds_no_room_waits_ever_longer_unless_there_is_more(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = shop.worker()
    room, now, free = worker._room, [0.0], [100]

    def wait(seconds: float, *_: int) -> None:
        now[0] += seconds

    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 1.0)
    monkeypatch.setattr("parallel_loop.harness.room.time.monotonic", lambda: now[0])
    monkeypatch.setattr(room, "_free_bytes", lambda: free[0])
    monkeypatch.setattr(room.orders, "wait", wait)
    breaths = []
    for _ in range(6):
        start = now[0]
        room.take_a_breath(lambda: False)
        breaths.append(now[0] - start)
    assert breaths == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    start = now[0]
    room.take_a_breath(lambda: bool(free.__setitem__(0, free[0] + 500_000)))
    assert now[0] - start <= 2.0, "more became free"
    room.breathe_freely()
    start = now[0]
    room.take_a_breath(lambda: False)
    assert now[0] - start == 5.0
    worker.close()


def test_want_of_room_at_taking_does_not_end_a_worker(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.worker()
    read, refusals = atomic.read_file, iter([OSError(errno.EMFILE, "x")] * 2)
    publish = atomic.publish

    def read_file(path: str, *arguments: int) -> bytes | None:
        if str(path).endswith("one.json"):
            for refusal in refusals:
                raise refusal
        return read(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "read_file", read_file)
        patch.setattr(atomic, "publish", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EMFILE, "x")))
        assert not worker.work_once()
    assert [record.kind for record in shop.entry("one").records] == ["claimed"]
    assert atomic.publish is publish
    assert worker.work_once()
    worker.close()
    assert [record.kind for record in shop.entry("one").records] == ["claimed", "released", "claimed", "landing"]
    assert not shop.entry("one").records[1].counted


def test_a_heartbeat_goes_on_in_place_where_no_file_can_be_made(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = shop.project.state.agent("agent-1")
    agent.create()
    heart = Heart(agent, 5.0)
    heart.tell("working", item="a-long-name-of-an-item")
    monkeypatch.setattr(atomic, "replace_file", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "x")))
    before = agent.heartbeat.stat().st_ino
    for state, lack in (("idle", LACK), ("ending", None)):
        heart.tell(state, item=None, hindrance=lack)
        beat = read_heartbeat(agent)
        assert beat is not None
        assert (beat.state, beat.item, beat.hindrance) == (state, None, lack)
    assert agent.heartbeat.stat().st_ino == before
    agent.heartbeat.rename(agent.heartbeat.with_name("moved"))
    agent.heartbeat.write_bytes(b"{}")
    heart.tell("idle")
    assert agent.heartbeat.stat().st_mtime < 1e9, "another file has the name by now: its time tells of the beat"


def test_who_is_to_stop_throws_off_ballast_to_give_its_item_back(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast, publish = shop.project.state.agent("agent-1").ballast, atomic.publish
    orders = Orders()

    def full(*arguments: Any, **options: Any) -> bool:
        if ballast.exists():
            orders.stop()
            raise NO_SPACE
        return publish(*arguments, **options)

    shop.add("one", "true")
    worker = shop.worker(orders=orders)
    assert ballast.stat().st_blocks * 512 >= 65_536
    monkeypatch.setattr(atomic, "publish", full)
    assert worker.work_once()
    worker.close()
    assert shop.last("one").kind == "done"
    assert not ballast.exists()
    shop.worker().close()
    assert ballast.exists()


def test_the_second_time_in_a_row_an_attempt_without_room_counts() -> None:
    evidence = Evidence(
        at=START, agent="agent-1", started_at=START, seconds=1.0, branch="b", log="l", error="disk full", shortage=True
    )
    claim, before = (
        Record(kind="claimed", at=START),
        Record(kind="released", at=START, outcome="no-room", counted=False),
    )
    item = Item(id="one", title="One", added_at=START)
    policy = RetryPolicy(3, 1.0, 2.0, 10.0)
    for run, counted in ((None, False), (Run("exited", 1.0, 1), True)):
        record = judge(replace(evidence, run=run), Entry(item, (claim, before, claim)), policy, "auto")
        assert record is not None
        assert (record.outcome, record.counted) == ("no-room", counted)


def test_a_record_that_finds_no_room_is_written_when_there_is_some(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, tries = atomic.publish, []

    def without_room(private: Path, target: str, data: bytes, *, durable: bool) -> bool:
        if str(target).endswith("one.2"):
            tries.append(target)
            if len(tries) < 4:
                raise NO_SPACE
        return publish(private, target, data, durable=durable)

    monkeypatch.setattr(atomic, "publish", without_room)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    assert shop.work("one", "echo 1 >> a; echo once >> ../ran").kind == "landing"
    assert len(tries) == 4
    assert (shop.project.worktrees / "ran").read_text() == "once\n", "the work is not done again"
    assert len(happened(shop.project, "cannot-record")) == 1


def stopping_when_asked_to_wait() -> Orders:
    orders = Orders()
    orders.wait = lambda *_: orders.stop()  # type: ignore[method-assign]
    return orders


def test_who_is_to_stop_at_once_does_not_wait_for_room(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add("one", "true")
    worker = shop.worker(orders=stopping_when_asked_to_wait())
    monkeypatch.setattr("parallel_loop.harness.attempt.Attempt.make", lambda _: Record(kind="done", at="x"))
    monkeypatch.setattr(Taker, "end", lambda *_: (_ for _ in ()).throw(NO_SPACE))
    with pytest.raises(OSError, match="No space left"):
        worker.work_once()
    worker.close()
    assert [entry.item.id for entry in take_back_from_the_dead(shop.project.queue, shop.project.retry)] == ["one"]


def test_a_claim_that_is_lost_while_waiting_for_room_is_abandoned(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled_meanwhile(*_: object) -> bool:
        shop.project.queue.append(shop.entry("one"), Record(kind="cancelled", at=shop.project.queue.now()))
        raise NO_SPACE

    monkeypatch.setattr(Taker, "end", cancelled_meanwhile)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    assert shop.work("one", "echo 1 > a").kind == "cancelled"
    assert len(happened(shop.project, "abandoned")) == 1
