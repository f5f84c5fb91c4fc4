"""What others put into the queue's directory, and what the file system refuses."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from parallel_loop.queue import atomic
from parallel_loop.queue.atomic import NoHardLinks, Unreadable
from parallel_loop.queue.bell import Bell
from parallel_loop.queue.healing import heal
from parallel_loop.queue.store import NewerFormat, Queue
from parallel_loop.queue.survey import Survey
from support.queues import (
    AT_ONCE,
    START,
    add,
    an_item,
    append,
    drain,
    end,
    lose_ready_hints,
    make_queue,
    make_taker,
    names_in,
    states,
    without_privileges,
)

SECRET = "a secret"
FOREIGN = {
    "a link": lambda path, outside: path.symlink_to(outside),
    "a dangling link": lambda path, outside: path.symlink_to(outside / "nowhere"),
    "a directory": lambda path, _: path.mkdir(),
    "a pipe": lambda path, _: os.mkfifo(path),
    "garbage": lambda path, _: path.write_bytes(b"\xff\x00garbage"),
    "nothing": lambda path, _: path.touch(),
    "half a file": lambda path, _: path.write_text('{"id": "bad", "ti'),
    "deep nesting": lambda path, _: path.write_text("[" * 100_000),
    "a newer version": lambda path, _: path.write_text(
        f'{{"id": "bad", "title": "t", "added_at": "{START}", "version": 99, "kind": "teleported", "at": "{START}"}}'
    ),
    "another item": lambda path, _: path.write_text(
        f'{{"id": "other", "title": "t", "added_at": "{START}", "kind": "?", "at": "{START}"}}'
    ),
    "hostile times": lambda path, _: path.write_text(
        '{"id": "bad", "title": "t", "added_at": "../../x", "kind": "done", "at": "../../x"}'
    ),
    "an enormous file": lambda path, _: (path.touch(), os.truncate(path, 2**40)),
}


@pytest.fixture
def queue(tmp_path):
    return make_queue(tmp_path / "queue")


def put(queue: Queue, path: Path, what: str) -> Path:
    outside = queue.layout.root.parent / "outside.json"
    outside.write_text(SECRET)
    path.unlink(missing_ok=True)
    FOREIGN[what](path, outside)
    return outside


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize("place", ["item", "record"])
def test_a_foreign_file_stops_nobody_and_is_named_and_left_alone(queue, what, place) -> None:
    queue.add([an_item("bad"), an_item("good"), an_item("behind", after=("bad",))])
    taker = make_taker(queue)
    if place == "record":
        end(queue, taker, taker.take(), "released")
    path = Path(queue.layout.item("bad") if place == "item" else queue.layout.record("bad", 2))
    outside = put(queue, path, what)
    status = path.lstat()

    heal(queue, AT_ONCE)
    taker.look_again()
    assert drain(queue, taker) == ["good"]
    add(queue, "more", after=("good",))
    assert drain(queue, make_taker(queue)) == ["more"]
    survey = Survey(queue)
    for _ in range(2):
        survey.refresh()
        assert [damage.path for damage in survey.damage] == [str(path)]
    with pytest.raises(Unreadable, match="bad"):
        queue.entry("bad")
    assert (path.lstat().st_ino, path.lstat().st_size) == (status.st_ino, status.st_size)
    assert outside.read_text() == SECRET


def test_strange_names_among_the_items_are_named_and_left_alone(queue) -> None:
    add(queue, "a")
    folder = next(queue.layout.items.iterdir())
    (folder / "README").write_text("mine")
    (queue.layout.items / "notes.txt").write_text("mine")
    (folder / "orphan.1").write_text("{}")
    heal(queue, AT_ONCE)
    survey = Survey(queue)
    survey.refresh()
    assert [(damage.path, damage.problem) for damage in survey.damage] == [
        (queue.layout.item("orphan"), "is missing, although there are records of this item"),
        (str(queue.layout.items / "notes.txt"), "is none of the queue's files"),
        (str(folder / "README"), "is none of the queue's files"),
    ]
    assert drain(queue, make_taker(queue)) == ["a"]
    assert (folder / "README").read_text() == "mine"


def test_links_in_place_of_our_own_files_are_not_written_through(queue, tmp_path) -> None:
    victim = tmp_path / "victim"
    victim.write_text(SECRET)
    (queue.layout.wip / "builder.1").symlink_to(victim)
    (queue.layout.root / "bell").symlink_to(victim)
    add_lock = queue.layout.add_lock
    add_lock.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic link"):
        add(queue, "a")
    add_lock.unlink()
    Bell(queue.layout.bell).ring()
    queue.layout.bell.unlink()
    queue.add([an_item("a", role="builder"), an_item("b", role="builder")])
    assert make_taker(queue, wip={"builder": 1}).take() is not None
    assert make_taker(queue, wip={"builder": 1}).take() is None, "the place of the next name is the only one"
    assert victim.read_text() == SECRET


@pytest.mark.parametrize("text", ["../../outside", "", "a/b", "a\0b", "x" * 300, "-rf", "nowhere"])
def test_asking_for_an_id_that_cannot_be_finds_nothing(queue, text) -> None:
    assert queue.entry(text) is None
    assert not queue.chain.has_item(text)


def test_foreign_names_among_the_hints_are_passed_over(queue) -> None:
    names = ("notes", "5~x", "a~b~c~d~e", "5~2026-01-01T000000.000000Z~ghost~1~", "1~2~3", "- a list", "~", "")
    bucket = queue.layout.ready / "5" / "0"
    bucket.parent.mkdir(parents=True)
    bucket.write_text("\n".join(names))
    for folder in (queue.layout.workers, queue.layout.delayed, queue.layout.landing):
        for name in filter(None, names):
            (folder / name).touch()
    add(queue, "a")
    assert drain(queue, make_taker(queue)) == ["a"]
    heal(queue, AT_ONCE)
    assert states(queue) == {"a": "done"}
    assert "notes" in names_in(queue.layout.delayed)
    assert bucket.read_text() == "\n".join(names)


def test_a_queue_of_a_newer_version_is_refused(queue) -> None:
    queue.layout.format.write_text('{"version": 2}')
    with pytest.raises(NewerFormat, match="has format 2, this program knows 1"):
        Queue(queue.layout.root)


def test_a_queue_that_cannot_be_written_can_be_read(tmp_path) -> None:
    root = tmp_path / "queue"
    queue = make_queue(root)
    queue.add([an_item("a"), an_item("b")])
    taker = make_taker(queue)
    end(queue, taker, taker.take())
    for folder in [tmp_path, *tmp_path.parents][:4]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with without_privileges():
            reader = Queue(root)
            assert states(reader) == {"a": "done", "b": "ready"}
            assert reader.entry("a").last.kind == "done"
            with pytest.raises(PermissionError, match="queue"):
                add(reader, "c")
            with pytest.raises(PermissionError, match="queue"):
                append(reader, "b", "cancelled")
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert states(queue) == {"a": "done", "b": "ready"}


def test_a_file_that_may_not_be_read_is_named(queue) -> None:
    add(queue, "a")
    path = Path(queue.layout.item("a"))
    path.chmod(0)
    for folder in [queue.layout.root, *queue.layout.root.parents][:4]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    with without_privileges(), pytest.raises(Unreadable, match="Permission denied"):
        queue.entry("a")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_hard_links_is_named_and_nothing_is_left(queue, monkeypatch, number) -> None:
    def refuse(*_args, **_more):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "link", refuse)
        with pytest.raises(NoHardLinks, match="has no hard links") as refusal:
            add(queue, "a")
    assert str(queue.layout.items) in str(refusal.value)
    assert names_in(queue.layout.drafts) == []
    assert states(queue) == {}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMLINK, errno.EIO, errno.EROFS])
def test_a_link_that_fails_otherwise_raises_what_the_system_says(queue, monkeypatch, number) -> None:
    add(queue, "a")

    def refuse(*_args, **_more):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "link", refuse)
        for change in (lambda: add(queue, "b"), lambda: append(queue, "a", "cancelled"), lambda: make_taker(queue)):
            with pytest.raises(OSError, match=os.strerror(number)):
                change()
    assert names_in(queue.layout.drafts) == names_in(queue.layout.workers) == []
    assert drain(queue, make_taker(queue)) == ["a"]


def test_a_link_that_was_made_although_an_error_is_reported_counts(queue, monkeypatch) -> None:
    real = os.link

    def make_and_complain(source, target):
        real(source, target)
        raise OSError(errno.EIO, "the server answered too late")

    monkeypatch.setattr(atomic.os, "link", make_and_complain)
    add(queue, "a")
    assert drain(queue, make_taker(queue)) == ["a"]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_replaced_file_keeps_its_old_content_when_anything_fails(tmp_path, monkeypatch, step) -> None:
    path = tmp_path / "status.json"
    atomic.replace_file(path, b"old", durable=True)

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, step, full)
        with pytest.raises(OSError, match="No space"):
            atomic.replace_file(path, b"new", durable=True)
    assert names_in(tmp_path) == ["status.json"]
    assert path.read_bytes() == b"old"


def test_a_short_write_is_continued(tmp_path, monkeypatch) -> None:
    real = os.write
    monkeypatch.setattr(atomic.os, "write", lambda descriptor, data: real(descriptor, data[:3]))
    atomic.replace_file(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_short_read_is_continued(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    real = os.read
    monkeypatch.setattr(atomic.os, "read", lambda descriptor, size: real(descriptor, min(size, 4)))
    assert atomic.read_file(tmp_path / "file") == b"0123456789"


def test_appended_lines_stay_whole(tmp_path) -> None:
    for line in (b"one", b"two\n"):
        atomic.append_line(tmp_path / "events", line)
    assert (tmp_path / "events").read_bytes() == b"one\ntwo\n"


def test_a_marker_that_cannot_be_opened_counts_as_alive(queue, monkeypatch) -> None:
    add(queue, "a")
    taker = make_taker(queue)
    claim = taker.take()
    taker.close()
    from parallel_loop.queue.healing import take_back
    from parallel_loop.queue.markers import is_owner_alive

    real = os.open

    def refuse(path, flags, mode=0o777, **more):
        if str(path).endswith("/a.1"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert not take_back(queue, claim.entry, AT_ONCE)
    assert take_back(queue, claim.entry, AT_ONCE)
    assert not is_owner_alive(queue.layout.workers / "nobody")


def test_a_survey_reads_only_what_is_new(queue, monkeypatch) -> None:
    queue.add([an_item(f"i{index}") for index in range(20)])
    survey = Survey(queue)
    survey.refresh()
    assert survey.counts()["ready"] == 20
    reads = []
    real = atomic.read_file
    monkeypatch.setattr(atomic, "read_file", lambda path, *more: reads.append(path) or real(path, *more))
    taker = make_taker(queue)
    end(queue, taker, taker.take())
    reads.clear()
    survey.refresh()
    names = {Path(path).name for path in reads if "/items/" in str(path)}
    assert names == {"i0.json", "i0.1", "i0.2", "i0.3"}
    assert (survey.counts()["ready"], survey.counts()["done"]) == (19, 1)
    assert survey.is_done("i0")
    assert survey.get("nowhere") is None


def test_a_survey_lists_a_folder_again_until_its_time_of_change_is_settled(queue) -> None:
    add(queue, "a")
    folder = next(queue.layout.items.iterdir())
    survey = Survey(queue)
    os.utime(folder, (0, 0))
    survey.refresh()
    assert survey.counts()["ready"] == 1
    append(queue, "a", "cancelled")
    os.utime(folder, (0, 0))  # the same time in spite of a change, which only a test can make
    survey.refresh()
    assert survey.counts()["ready"] == 1
    os.utime(folder)  # now: another change may leave it the same
    survey.refresh()
    assert survey.counts()["cancelled"] == 1


def test_a_survey_notices_that_a_damaged_file_was_mended_in_place(queue) -> None:
    add(queue, "a")
    folder = next(queue.layout.items.iterdir())
    path = Path(queue.layout.item("a"))
    whole = path.read_text()
    lose_ready_hints(queue)  # whom a hint calls ready is not read before it is taken
    path.write_text("garbage")
    survey = Survey(queue)
    os.utime(folder, (0, 0))
    survey.refresh()
    assert [damage.path for damage in survey.damage] == [str(path)]
    path.write_text(whole)
    survey.refresh()
    assert survey.damage == []
    assert survey.counts()["ready"] == 1


def test_a_survey_of_no_queue_is_empty(tmp_path) -> None:
    survey = Survey(Queue(tmp_path / "queue"))
    survey.refresh()
    assert survey.entries() == []
    assert set(survey.counts().values()) == {0}
    assert not (tmp_path / "queue").exists()
