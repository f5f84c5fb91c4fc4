"""Buckets of ready hints: what is offered is never lost with its bucket, whoever removes that and whenever."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from parallel_loop.queue import offering
from parallel_loop.queue.buckets import Bucket, append, live_lines, read_text
from support.forks import Crew, Line
from support.queues import Clock, add, an_item, drain, end, make_queue, make_taker

ONE = "5~2026-01-01T000000.000001Z~one~1~"
TWO = "5~2026-01-01T000000.000002Z~two~1~"
LINES = 300


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "bucket")


@pytest.fixture
def queue(tmp_path: Path):
    return make_queue(tmp_path / "queue", Clock())


def test_lines_are_read_in_order_and_not_again_once_they_are_struck(path: str) -> None:
    assert append(path, [TWO, ONE])
    bucket = Bucket(path)
    assert bucket.names == [TWO, ONE]
    bucket.strike(ONE)
    assert Bucket(path).names == [TWO]
    assert read_text(path) == f"{TWO}\n-{ONE[1:]}\n"


def test_a_bucket_goes_when_its_last_line_was_struck_and_not_before(path: str) -> None:
    append(path, [ONE, TWO])
    bucket = Bucket(path)
    bucket.strike(ONE)
    bucket.remove_if_done()
    assert Bucket(path).names == [TWO]
    bucket.strike(TWO)
    bucket.remove_if_done()
    assert not Path(path).exists()
    bucket.remove_if_done()
    assert Bucket(path).names == []


def test_a_line_that_was_appended_since_it_was_read_keeps_the_bucket(path: str) -> None:
    append(path, [ONE])
    bucket = Bucket(path)
    bucket.strike(ONE)
    append(path, [TWO])
    bucket.remove_if_done()
    assert list(live_lines(read_text(path))) == [TWO]


def test_who_opened_a_bucket_that_is_removed_then_does_not_append_to_it(path: str, monkeypatch) -> None:
    append(path, [ONE])
    Bucket(path).strike(ONE)
    real = fcntl.flock

    def remove_first(descriptor: int, how: int) -> None:
        if how & fcntl.LOCK_SH:
            monkeypatch.setattr(fcntl, "flock", real)
            Bucket(path).remove_if_done()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    assert not append(path, [TWO])
    assert not Path(path).exists()
    assert append(path, [TWO])
    assert list(live_lines(read_text(path))) == [TWO]


def test_a_bucket_is_not_removed_while_somebody_appends_and_nobody_waits(path: str) -> None:
    append(path, [ONE])
    bucket = Bucket(path)
    bucket.strike(ONE)
    with Path(path).open() as appending:
        fcntl.flock(appending, fcntl.LOCK_SH)
        bucket.remove_if_done()
        assert Path(path).exists()


def test_what_belongs_into_a_bucket_that_a_stopped_process_is_removing_goes_beside_it(queue) -> None:
    queue.add([an_item("a"), an_item("b"), an_item("c", after=("a",))])
    taker = make_taker(queue)
    first = taker.take()
    (name,) = (queue.layout.ready / "5").iterdir()
    with name.open() as removing:
        fcntl.flock(removing, fcntl.LOCK_EX)
        end(queue, taker, first)
        assert len(list((queue.layout.ready / "5").iterdir())) == 2
    assert drain(queue, taker) == ["b", "c"]


@pytest.mark.parametrize("tail", ["5~2026-01-01T000000.000002Z~two~1~buil", "x", "-"])
def test_a_line_that_a_full_disk_cut_off_is_no_hint_and_stays_alone(path: str, tail: str) -> None:
    append(path, [ONE])
    with Path(path).open("a") as file:
        file.write(tail)
    assert not append(path, [TWO])
    bucket = Bucket(path)
    assert ONE in bucket.names
    bucket.strike(ONE)
    bucket.remove_if_done()
    assert read_text(path).endswith(f"\n{tail}")


def test_an_append_of_which_only_a_part_fits_is_an_error(path: str, monkeypatch) -> None:
    append(path, [ONE])
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:5]))
    with pytest.raises(OSError, match="No space left"):
        append(path, [TWO])


@pytest.mark.parametrize("text", ["notes\n", "- one\n- two\n", "\n", "-\n", "x", "\0" * 200])
def test_what_holds_other_lines_is_no_bucket_and_is_left_alone(queue, text: str) -> None:
    queue.layout.ready.joinpath("5").mkdir()
    foreign = queue.layout.ready / "5" / "2026-01-01T000000.000000Z"
    foreign.write_text(text)
    add(queue, "a")
    taker = make_taker(queue)
    assert drain(queue, taker) == ["a"]
    taker.close()
    assert foreign.read_text() == text


def test_a_line_is_struck_only_where_it_still_is(path: str) -> None:
    append(path, [ONE])
    bucket = Bucket(path)
    bucket.close()
    Path(path).unlink()
    append(path, [TWO])
    bucket.strike(ONE)
    assert list(live_lines(read_text(path))) == [TWO]


def test_one_bucket_of_a_taker_is_open_at_a_time(queue, monkeypatch) -> None:
    monkeypatch.setattr(offering, "BUCKET_SIZE", 1)
    queue.add([an_item(f"i{index}", role="closed") for index in range(30)])
    taker = make_taker(queue, wip={"closed": 0})
    before = len(list(Path("/dev/fd").iterdir()))
    assert taker.take() is None
    assert len(list(Path("/dev/fd").iterdir())) <= before + 1


def test_an_item_that_was_announced_and_not_claimed_is_found(queue, monkeypatch) -> None:
    queue.add([an_item("a"), an_item("b")])
    one, other = make_taker(queue), make_taker(queue, "agent-2")
    other.peek()

    def full(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(queue.chain, "claim", full)
        with pytest.raises(OSError, match="No space left"):
            one.take()
    assert sorted(drain(queue, other)) == ["a", "b"]


def test_of_what_some_append_while_others_strike_and_remove_nothing_is_lost(tmp_path: Path) -> None:
    folder, seen, through = tmp_path / "buckets", tmp_path / "seen", tmp_path / "through"
    folder.mkdir()
    seen.mkdir()

    def append_many(line: Line) -> None:
        for name in line.orders():
            for number in range(LINES):
                while not append(str(folder / str(number % 3)), [f"{name}~{number}"]):
                    pass

    def strike_all(_: Line) -> None:
        while not through.exists() or any(folder.iterdir()):
            for bucket in [Bucket(str(path)) for path in folder.iterdir()]:
                for name in bucket.names:
                    (seen / name).touch()
                    bucket.strike(name)
                bucket.remove_if_done()

    with Crew() as crew:
        appending = [crew.start(append_many) for _ in range(2)]
        striking = [crew.start(strike_all) for _ in range(2)]
        for name, child in zip("ab", appending, strict=True):
            child.order(name)
        assert [child.finish() for child in appending] == [0, 0]
        through.touch()
        assert [child.finish() for child in striking] == [0, 0]
    assert len(list(seen.iterdir())) == 2 * LINES
