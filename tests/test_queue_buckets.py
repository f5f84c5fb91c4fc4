"""Buckets of ready hints: what is offered is never lost with its bucket, whoever removes that and whenever."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from parallel_loop.queue import buckets, offering, store
from parallel_loop.queue.buckets import Bucket, append, live_lines, read_text
from parallel_loop.queue.foreign import foreign_hints
from parallel_loop.queue.healing import heal
from parallel_loop.queue.held import HeldNote
from parallel_loop.queue.ready import paths_of_buckets
from parallel_loop.queue.wip import Place
from support.forks import Crew, Line
from support.queues import (
    AT_ONCE,
    Clock,
    add,
    an_item,
    drain,
    end,
    lose_ready_hints,
    make_queue,
    make_taker,
    without_privileges,
)

ONE = "5~2026-01-01T000000.000001Z~one~1~"
TWO = "5~2026-01-01T000000.000002Z~two~1~"
LINES = 300


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "bucket")


def test_lines_are_read_in_order_and_not_again_once_they_are_struck(path: str) -> None:
    assert append(path, [TWO, ONE])
    bucket = Bucket(path)
    assert bucket.names == [TWO, ONE]
    bucket.strike(ONE)
    assert Bucket(path).names == [TWO]
    assert read_text(path) == f"{TWO}\n-{ONE[1:]}\n"


def test_only_the_end_of_a_line_ends_it(path: str) -> None:
    Path(path).write_bytes(f"{ONE}\x0b\n{TWO}\x1e\n".encode())
    assert offering._read_tail(path) == (2, "2026-01-01T000000.000002Z")


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
                while not append(str(folder / str(number % 3)), [f"5~2026~{name}-{number}~1~"]):
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


# --- what an attack found -----------------------------------------------------------------------------


def test_heal_fills_buckets_no_further_than_adding_does(queue) -> None:
    queue.add([an_item(f"i{index}") for index in range(1000)])
    lose_ready_hints(queue)
    heal(queue, AT_ONCE)
    assert max(Path(path).read_text().count("\n") for path in paths_of_buckets(queue.layout)) <= offering.BUCKET_SIZE
    assert drain(queue, make_taker(queue)) == [f"i{index}" for index in range(1000)]


def test_a_bucket_does_not_grow_beyond_what_is_read(path: str, monkeypatch) -> None:
    append(path, [ONE])
    monkeypatch.setattr(buckets, "_LIMIT_BYTES", len(ONE) + 10)
    assert not append(path, [TWO])
    assert Bucket(path).names == [ONE]


def test_a_bucket_that_another_user_wrote_gets_a_neighbour_and_its_items_are_taken(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    tmp_path.chmod(0o777)
    with without_privileges():
        queue = make_queue(tmp_path / "queue", Clock())
        queue.add([an_item("a"), an_item("b", after=("a",))])
        (bucket,) = paths_of_buckets(queue.layout)
        Path(bucket).chmod(0o444)
        add(queue, "c")
        heal(queue, AT_ONCE)
        assert [damage.problem for damage in foreign_hints(queue.layout)] == ["cannot be written to by this user"]
        assert sorted(drain(queue, make_taker(queue))) == ["a", "b", "c"]


@pytest.mark.parametrize("number", [1, 3])
def test_a_line_with_an_endless_id_stops_nobody(queue, number: int) -> None:
    add(queue, "a")
    (queue.layout.ready / "5" / "0").write_text(
        "".join(f"5~2020~{'x' * size}~{number}~\n" for size in (101, 256, 5000))
    )
    assert drain(queue, make_taker(queue)) == ["a"]


def test_an_item_that_is_delayed_while_another_taker_promotes_is_found_when_it_is_due(queue) -> None:
    add(queue, "a")
    one, other = make_taker(queue), make_taker(queue, "agent-2")
    claim, promote = one.take(), queue.promote_due

    def promote_and_be_overtaken():
        found = promote()
        queue.promote_due = promote
        end(queue, one, claim, "released", not_before="2026-01-01T00:01:00.000000Z")
        return found

    queue.promote_due = promote_and_be_overtaken
    assert other.take() is None
    assert other.next_due is not None
    queue.now.advance(120)
    assert other.take().item.id == "a"


def test_a_line_is_not_struck_in_a_file_that_was_opened_since(path: str) -> None:
    append(path, [ONE, TWO])
    mine, his = Bucket(path), Bucket(path)
    mine.close()
    for name in (ONE, TWO):
        his.strike(name)
    his.remove_if_done()
    other = TWO.replace("two", "new")
    append(path, [ONE.replace("~1~", "~3~"), other])
    mine.strike(ONE)
    mine.strike(TWO)
    assert other in live_lines(read_text(path))


def test_a_bucket_that_has_another_name_elsewhere_is_removed_for_who_appends(path: str, monkeypatch) -> None:
    append(path, [ONE])
    Path(f"{path}.backup").hardlink_to(path)
    real = fcntl.flock

    def remove_first(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", real)
        bucket = Bucket(path)
        bucket.strike(ONE)
        bucket.remove_if_done()
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", remove_first)
    assert not append(path, [TWO])


def test_who_looks_whether_a_bucket_is_done_locks_no_other(path: str, monkeypatch) -> None:
    append(path, [ONE])
    monkeypatch.setattr(fcntl, "flock", lambda *_: pytest.fail("there is a live line in it"))
    Bucket(path).remove_if_done()


def test_what_comes_back_beside_a_bucket_that_cannot_be_had_keeps_its_order(queue) -> None:
    queue.add([an_item(name) for name in "abcd"])
    taker = make_taker(queue)
    claims = [taker.take() for _ in "abc"]
    (path,) = paths_of_buckets(queue.layout)
    with Path(path).open() as removing:
        fcntl.flock(removing, fcntl.LOCK_EX)
        with queue.hints.many():
            for claim in reversed(claims):
                end(queue, taker, claim, "released")
    assert drain(queue, taker)[:3] == ["d", "a", "b"]


@pytest.mark.parametrize("wip", [{}, {"builder": 1}])
@pytest.mark.parametrize("step", ["note", "occupy", "read"])
def test_a_take_that_fails_for_want_of_room_leaves_nothing_behind(queue, monkeypatch, wip, step: str) -> None:
    queue.add([an_item("a", role="builder"), an_item("b", role="builder")])
    taker = make_taker(queue, wip=wip)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    owner, name = {
        "note": (HeldNote, "note"),
        "occupy": (Place, "occupy"),
        "read": (queue.chain, "read_named_item"),
    }[step]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        if step != "occupy" or wip:
            with pytest.raises(OSError, match="No space left"):
                taker.take()
    assert sorted(drain(queue, taker)) == ["a", "b"]
    assert queue.entry("a").counted_attempts == 0


@pytest.mark.parametrize("what", ["a link", "a dangling link", "a file"])
def test_nothing_is_written_behind_something_else_that_has_a_priority_s_name(queue, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    if what == "a link":
        outside.mkdir()
    add(queue, "a", priority=1)
    add(queue, "b")
    taker = make_taker(queue)
    end(queue, taker, taker.take(), "released", not_before="2026-01-01T00:01:00.000000Z")
    for path in paths_of_buckets(queue.layout):
        if "/1/" in path:
            Path(path).unlink()
    folder = queue.layout.ready / "1"
    folder.rmdir()
    folder.write_text("") if what == "a file" else folder.symlink_to(outside)
    queue.now.advance(120)
    assert drain(queue, taker) == ["b"]
    add(queue, "c", priority=1)
    assert not outside.exists() or list(outside.iterdir()) == []
    folder.unlink()
    taker.look_again()
    assert drain(queue, taker) == ["a"], "it stayed delayed until there was a place for it"


def test_who_adds_waits_for_another_and_not_for_ever(queue, monkeypatch) -> None:
    monkeypatch.setattr(store, "_PATIENCE_SECONDS", 0.05)
    add(queue, "a")
    with queue.layout.add_lock.open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="is one of yours stopped"):
            add(queue, "b")
        heal(queue, AT_ONCE)
    add(queue, "b")
    assert drain(queue, make_taker(queue)) == ["a", "b"]
