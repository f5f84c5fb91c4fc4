"""What the queue asks of a file system: the trials can fail, and a link is believed only as far as it can be seen."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from pathlib import Path

import pytest

from parallel_loop.queue import atomic, probe
from parallel_loop.queue.adding import InvalidItem
from parallel_loop.queue.atomic import NoHardLinks, Unsuitable
from parallel_loop.queue.store import Queue
from support.queues import add, an_item, drain, make_queue, make_taker, names_in, states

HONEST_LINK = os.link
LOST_ANSWERS = (errno.EIO, errno.ESTALE, errno.EEXIST, errno.ETIMEDOUT)


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def require(path: Path, *, durable: bool = False) -> None:
    (path / "a").mkdir(exist_ok=True)
    (path / "b").mkdir(exist_ok=True)
    try:
        probe.require(path / "a", path / "b", durable=durable)
    finally:
        assert names_in(path / "a") == names_in(path / "b") == []


def failed(path: Path) -> set[str]:
    trials = probe.examine(path)
    assert names_in(path) == []
    assert all("; " in trial.detail for trial in trials if not trial.works)
    return {trial.name for trial in trials if not trial.works}


def copy_instead(source, target):
    if os.path.lexists(target):
        raise error(errno.EEXIST)
    shutil.copyfile(source, target)


def link_over(source, target):
    Path(target).unlink(missing_ok=True)
    HONEST_LINK(source, target)


class LocksByName:
    """File locks that belong to the name by which a file was opened, as on bindfs, mergerfs and ntfs-3g."""

    def __init__(self) -> None:
        self._holders: dict[str, set[int]] = {}

    def __call__(self, descriptor: int, operation: int) -> None:
        holders = self._holders.setdefault(str(Path(f"/proc/self/fd/{descriptor}").readlink()), set())
        if operation & fcntl.LOCK_UN:
            holders.discard(descriptor)
        elif holders - {descriptor}:
            raise BlockingIOError
        else:
            holders.add(descriptor)


def test_this_file_system_has_all_that_is_needed(tmp_path) -> None:
    assert failed(tmp_path) == set()
    require(tmp_path, durable=True)


@pytest.mark.skipif(
    not os.access("/dev/shm", os.W_OK), reason="needs /dev/shm, a file system in memory; macOS has none"
)
def test_a_file_system_in_memory_has_all_that_is_needed(tmp_path_factory) -> None:
    folder = Path("/dev/shm") / f"parallel-loop-test-{os.getpid()}"
    folder.mkdir()
    try:
        assert failed(folder) == set()
        queue = make_queue(folder / "queue")
        queue.add([an_item(f"i{index}") for index in range(20)])
        assert len(drain(queue, make_taker(queue))) == 20
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (lambda *_: (_ for _ in ()).throw(error(errno.EPERM)), "has no hard links"),
        (lambda *_: (_ for _ in ()).throw(error(errno.EXDEV)), "has no hard links"),
        (copy_instead, "known as one file"),
        (link_over, "a second time"),
    ],
)
def test_links_that_are_not_exclusive_hard_links_are_refused(tmp_path, monkeypatch, link, said) -> None:
    monkeypatch.setattr(atomic.os, "link", link)
    with pytest.raises(Unsuitable, match=said):
        require(tmp_path)
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    assert "hard links" in failed(tmp_path)


@pytest.mark.parametrize(
    ("flock", "said"),
    [
        (lambda *_: None, "one lock to two holders"),
        (lambda *_: (_ for _ in ()).throw(error(errno.ENOLCK)), "has no file locks"),
        (LocksByName(), "through its other hard links"),
    ],
)
def test_locks_that_do_not_tell_who_lives_are_refused(tmp_path, monkeypatch, flock, said) -> None:
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(Unsuitable, match=said):
        require(tmp_path)
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(tmp_path / "b")
    assert failed(tmp_path) == {"locks"}


def test_locks_as_nfs_has_them_are_enough(tmp_path, monkeypatch) -> None:
    honest = fcntl.flock

    def as_on_nfs(descriptor, operation):
        writable = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE in {os.O_WRONLY, os.O_RDWR}
        if operation & fcntl.LOCK_EX and not writable:
            raise error(errno.EBADF)
        honest(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    assert failed(tmp_path) == set()
    queue = make_queue(tmp_path / "queue")
    queue.add([an_item("a"), an_item("b", role="limited")])
    assert drain(queue, make_taker(queue, wip={"limited": 1})) == ["a", "b"]


def test_a_lock_that_stays_after_it_was_given_up_is_refused(tmp_path, monkeypatch) -> None:
    real = fcntl.flock
    monkeypatch.setattr(fcntl, "flock", lambda at, how: None if how & fcntl.LOCK_UN else real(at, how))
    with pytest.raises(Unsuitable, match="was given up"):
        require(tmp_path)


def test_flushing_is_asked_for_only_where_it_is_promised(tmp_path, monkeypatch) -> None:
    def refuse(_descriptor):
        raise error(errno.EINVAL)

    monkeypatch.setattr(atomic.os, "fsync", refuse)
    require(tmp_path)
    with pytest.raises(Unsuitable, match="power cut would lose"):
        require(tmp_path, durable=True)


@pytest.mark.parametrize("operation", ["link", "fsync", "open"])
def test_a_full_disk_is_not_mistaken_for_an_unsuitable_one(tmp_path, monkeypatch, operation) -> None:
    real = getattr(os, operation)

    def full(*arguments, **options):
        if operation == "open" and not arguments[1] & os.O_CREAT:
            return real(*arguments, **options)
        raise error(errno.ENOSPC)

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, operation, full)
        with pytest.raises(OSError, match="No space left"):
            require(tmp_path, durable=True)


def test_symbolic_links_that_are_followed_are_seen(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "O_NOFOLLOW", 0)
    assert failed(tmp_path) == {"symlinks"}


def test_a_queue_is_tried_when_it_is_made_and_not_again(tmp_path, monkeypatch) -> None:
    queue = Queue(tmp_path / "queue", durable=False)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "link", lambda *_: (_ for _ in ()).throw(error(errno.EOPNOTSUPP)))
        with pytest.raises(NoHardLinks):
            queue.create()
        assert not queue.layout.format.exists()
        with pytest.raises(NoHardLinks):
            queue.add([an_item("a")])
    queue.create()
    monkeypatch.setattr(probe, "require", lambda *_, **__: pytest.fail("tried again"))
    queue.create()
    add(Queue(tmp_path / "queue", durable=False), "a")
    assert names_in(queue.layout.drafts) == []


# --- whether a link was made is seen, not believed ------------------------------------------------------------------


@pytest.mark.parametrize("number", LOST_ANSWERS)
def test_a_link_whose_answer_was_lost_counts_in_every_operation(tmp_path, monkeypatch, number) -> None:
    queue = make_queue(tmp_path / "queue")

    def make_and_complain(source, target):
        HONEST_LINK(source, target)
        raise error(number)

    monkeypatch.setattr(atomic.os, "link", make_and_complain)
    add(queue, "first")
    queue.add([an_item("a"), an_item("b", after=("a",))])
    assert drain(queue, make_taker(queue)) == ["first", "a", "b"]
    assert set(states(queue).values()) == {"done"}


@pytest.mark.parametrize("number", LOST_ANSWERS)
def test_a_link_that_was_not_made_does_not_count(tmp_path, monkeypatch, number) -> None:
    (tmp_path / "source").touch()

    def only_complain(*_):
        raise error(number)

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "link", only_complain)
        for taken in (False, True):
            if taken:
                (tmp_path / "target").touch()
            if number == errno.EEXIST:
                assert not atomic.link_once(tmp_path / "source", tmp_path / "target")
            else:
                with pytest.raises(OSError, match=os.strerror(number)):
                    atomic.link_once(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "source").stat().st_nlink == 1
    assert not atomic.link_once(tmp_path / "source", tmp_path / "target")
    assert atomic.link_once(tmp_path / "source", tmp_path / "other")


def test_a_link_that_failed_for_another_reason_leaves_the_item_to_be_taken(tmp_path, monkeypatch) -> None:
    queue = make_queue(tmp_path / "queue")
    add(queue, "a")
    taker = make_taker(queue)
    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "link", lambda *_: (_ for _ in ()).throw(error(errno.ESTALE)))
        with pytest.raises(OSError, match="Stale"):
            taker.take()
    assert states(queue) == {"a": "ready"}
    assert drain(queue, taker) == ["a"]


def test_what_only_a_user_may_not_link_is_not_blamed_on_the_file_system(tmp_path, monkeypatch) -> None:
    (tmp_path / "of another").touch()
    monkeypatch.setattr(atomic.os, "link", lambda *_: (_ for _ in ()).throw(error(errno.EPERM)))
    with pytest.raises(NoHardLinks):
        atomic.link_once(tmp_path / "of another", tmp_path / "target")
    monkeypatch.setattr(atomic.os, "geteuid", lambda: 4711)
    with pytest.raises(PermissionError):
        atomic.link_once(tmp_path / "of another", tmp_path / "target")
    with pytest.raises(NoHardLinks):  # what was made just now is ours, whatever its owner is called
        require(tmp_path)


# --- names that differ only in case -------------------------------------------------------------------------------


def test_ids_that_differ_only_in_case_are_two_items_where_names_do(tmp_path) -> None:
    queue = make_queue(tmp_path / "queue")
    queue.add([an_item("A"), an_item("a")])
    assert sorted(drain(queue, make_taker(queue))) == ["A", "a"]


@pytest.fixture
def blind_to_case(tmp_path, monkeypatch):
    """Let every path below `tmp_path` lead to what is there under the same letters, as on APFS and in NTFS folders."""
    honest_listing = os.listdir

    def seen(path):
        if not isinstance(path, str | Path) or not Path(path).is_relative_to(tmp_path):
            return path
        found = str(tmp_path)
        for part in Path(path).relative_to(tmp_path).parts:
            names = honest_listing(found) if Path(found).is_dir() else []
            found += "/" + next((name for name in names if name.lower() == part.lower()), part)
        return found

    def blind(operation):
        honest = getattr(os, operation)
        return lambda *arguments, **options: honest(*map(seen, arguments), **options)

    for operation in ("access", "link", "open", "lstat", "mkdir", "listdir", "unlink", "rename", "replace", "rmdir"):
        monkeypatch.setattr(os, operation, blind(operation))


def test_ids_that_differ_only_in_case_are_refused_where_they_are_one_name(tmp_path, blind_to_case) -> None:
    (names,) = (trial for trial in probe.examine(tmp_path) if trial.name == "names")
    assert "ids must differ in more than case" in names.detail
    queue = make_queue(tmp_path / "queue")
    add(queue, "Fix")
    with pytest.raises(InvalidItem, match="already an item 'fix'"):
        add(queue, "fix")
    with pytest.raises(InvalidItem, match="'b' and 'B' are one name on this file system") as refusal:
        queue.add([an_item("a"), an_item("B"), an_item("b")])
    assert refusal.value.index == 2
    queue.add([an_item("a"), an_item("B", after=("Fix",))])
    assert drain(queue, make_taker(queue)) == ["Fix", "a", "B"]
    assert set(states(queue)) == {"Fix", "a", "B"}


def test_a_file_system_that_does_not_keep_names_is_refused(tmp_path, monkeypatch) -> None:
    honest = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: [name.lower() for name in honest(path)])
    assert failed(tmp_path) == {"names"}
    queue = Queue(tmp_path / "queue", durable=False)
    with pytest.raises(Unsuitable, match="does not keep names as they were given"):
        queue.create()
    assert not queue.layout.format.exists()
