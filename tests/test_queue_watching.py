"""Waiting for the bell: told by the kernel, never late, and by looking where the kernel does not tell."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.queue import watching
from parallel_loop.queue.bell import DELAYED, Bell
from parallel_loop.queue.clock import seconds_until
from parallel_loop.queue.hint import file_time
from parallel_loop.queue.watching import POLL_SECONDS, BellWatch, Source
from support.queues import START

RING = """
import sys
from pathlib import Path
from parallel_loop.queue.bell import Bell
Bell(Path(sys.argv[1])).ring(5)
"""


@pytest.fixture
def bell(tmp_path: Path) -> Iterator[Bell]:
    with contextlib.closing(Bell(tmp_path / "bell")) as bell:
        yield bell


@pytest.fixture
def watch(bell: Bell) -> Iterator[BellWatch]:
    with contextlib.closing(BellWatch(bell)) as watch:
        assert watch.way != "polling"
        yield watch


def told(watch: BellWatch, seconds: float = 0.0) -> bool:
    assert watch.descriptors
    return bool(select.select(watch.descriptors, (), (), seconds)[0])


def descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_every_ring_after_a_drain_is_told_until_the_next(bell: Bell, watch: BellWatch) -> None:
    assert not told(watch)
    for which in (0, 5, DELAYED):
        bell.ring(which)
        bell.ring()
        assert told(watch)
        watch.drain()
        assert not told(watch)
    bell.ring_all()
    assert told(watch)
    assert watch.at_most(3600.0) == 3600.0


def test_a_ring_by_another_process_ends_the_wait(bell: Bell, watch: BellWatch) -> None:
    with subprocess.Popen([sys.executable, "-P", "-c", RING, bell.path]) as other:
        assert told(watch, 60.0)
    assert other.returncode == 0


def test_every_waiting_process_is_told_and_looking_is_no_ring(bell: Bell, watch: BellWatch) -> None:
    with contextlib.closing(BellWatch(bell)) as second:
        bell.ring()
        watch.drain()
        bell.heard()
        assert not told(watch)
        assert told(second)


def test_a_million_rings_that_nobody_drains_are_one_thing_to_hear(bell: Bell, watch: BellWatch) -> None:
    for _ in range(20_000):  # more than the kernel keeps for one process (fs.inotify.max_queued_events)
        bell.ring()
    watch.drain()
    assert not told(watch)


def test_a_bell_that_is_removed_is_looked_for_and_not_made_again(bell: Bell, watch: BellWatch) -> None:
    path = Path(bell.path)
    path.unlink()
    assert told(watch), "the removal itself is told"
    watch.drain()
    assert not path.exists(), "somebody may be removing the whole directory"
    assert watch.at_most(3600.0) == POLL_SECONDS
    with contextlib.closing(Bell(path)) as new:
        watch.drain()
        assert watch.at_most(3600.0) == 3600.0
        before = bell.heard()
        new.ring()
        assert told(watch)
        assert bell.heard() != before


def test_a_bell_that_is_replaced_is_followed_at_once(bell: Bell, watch: BellWatch, tmp_path: Path) -> None:
    with contextlib.closing(Bell(tmp_path / "other")) as other:
        (tmp_path / "other").rename(bell.path)
        assert told(watch)
        watch.drain()
        watch.drain()  # the end of the old watch is told, too
        assert not told(watch)
        other.ring()
        assert told(watch)
        assert bell.heard() == other.heard()


def test_a_removed_directory_stays_removed(tmp_path: Path) -> None:
    folder = tmp_path / "queue"
    folder.mkdir()
    with contextlib.closing(Bell(folder / "bell")) as bell, contextlib.closing(BellWatch(bell)) as watch:
        shutil.rmtree(folder)
        for _ in range(3):
            watch.drain()
        assert not folder.exists()
        assert watch.at_most(3600.0) == POLL_SECONDS


def test_a_link_in_place_of_the_bell_is_not_followed(bell: Bell, watch: BellWatch, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    Path(bell.path).unlink()
    Path(bell.path).symlink_to(victim)
    watch.drain()
    bell.ring()
    assert victim.read_text() == "mine"
    assert watch.at_most(3600.0) == POLL_SECONDS


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(3):
        bell = Bell(tmp_path / "bell")
        watch = BellWatch(bell)
        (tmp_path / "bell").unlink()
        watch.drain()
        Bell(tmp_path / "bell").close()
        watch.drain()
        watch.close()
        watch.close()
        bell.close()
    assert descriptors() == before


# --- where the kernel does not tell -----------------------------------------------------------------------------------


class Silent:
    """Watches, and tells of a ring only when the test says so."""

    name = "silent"

    def __init__(self, refusal: OSError | None = None) -> None:
        self.descriptor, self._writer = os.pipe()
        self.refusal = refusal
        self.tells = False
        self.closed = False

    def follow(self, path: str, descriptor: int) -> None:
        if self.refusal is not None:
            raise self.refusal

    def drain(self) -> bool:
        return self.tells

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._writer)
        self.closed = True


def test_without_instances_one_looks_often_and_the_reason_is_kept(bell: Bell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Source:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(watching, "kernel_source", refuse)
    watch = BellWatch(bell)
    assert (watch.way, list(watch.descriptors), watch.at_most(3600.0)) == ("polling", [], POLL_SECONDS)
    assert watch.at_most(0.01) == 0.01
    assert watch.refusal is not None
    assert watch.refusal.errno == errno.EMFILE
    watch.drain()
    watch.close()


def test_without_watches_the_instance_is_given_back(bell: Bell) -> None:
    source = Silent(OSError(errno.ENOSPC, "No space left on device"))
    watch = BellWatch(bell, lambda: source)
    assert (watch.way, source.closed) == ("polling", True)


def test_a_new_bell_that_cannot_be_watched_ends_the_trust(bell: Bell) -> None:
    source = Silent()
    watch = BellWatch(bell, lambda: source)
    Path(bell.path).unlink()
    Bell(Path(bell.path)).close()
    source.refusal = OSError(errno.ENOSPC, "No space left on device")
    watch.drain()
    assert (watch.way, source.closed) == ("polling", True)


def test_a_ring_that_is_told_of_late_is_doubted_for_a_moment_only(bell: Bell) -> None:
    now, source = [0.0], Silent()
    with contextlib.closing(BellWatch(bell, lambda: source, lambda: now[0])) as watch:
        bell.ring()
        watch.drain()
        assert watch.at_most(3600.0) == POLL_SECONDS
        now[0] += POLL_SECONDS / 2
        watch.drain()
        assert watch.way == "silent"
        now[0] += POLL_SECONDS
        source.tells = True
        watch.drain()
        assert (watch.way, watch.at_most(3600.0)) == ("silent", 3600.0)


def test_a_source_that_does_not_tell_of_a_ring_is_given_up(bell: Bell) -> None:
    now, source = [0.0], Silent()
    watch = BellWatch(bell, lambda: source, lambda: now[0])
    watch.drain()
    now[0] += 3600.0
    watch.drain()
    assert watch.way == "silent", "nobody rang"
    bell.ring()
    watch.drain()
    now[0] += 2 * POLL_SECONDS
    watch.drain()
    assert (watch.way, source.closed, watch.refusal) == ("polling", True, None)


# --- when something becomes due ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2026-01-01T00:01:30.250000Z", 90.25),
        (START, 0.0),
        ("2025-12-31T00:00:00.000000Z", 0.0),
        (None, float("inf")),
        ("", float("inf")),
        ("rubbish", float("inf")),
        ("2026-01-01", float("inf")),
    ],
)
def test_the_time_until_a_moment(moment: str | None, seconds: float) -> None:
    assert seconds_until(moment, START) == seconds
    assert seconds_until(moment and file_time(moment), START) == seconds


# --- the limits of the kernel itself ----------------------------------------------------------------------------------

WAY = """
import sys
from pathlib import Path
from parallel_loop.queue.bell import Bell
from parallel_loop.queue.watching import BellWatch
watch = BellWatch(Bell(Path(sys.argv[1])))
print(watch.way, watch.refusal.errno)
"""


@pytest.mark.parametrize(("limit", "number"), [("instances", errno.EMFILE), ("watches", errno.ENOSPC)])
def test_a_user_who_has_no_more_of_inotify_polls(tmp_path: Path, limit: str, number: int) -> None:
    command = f'echo 0 > /proc/sys/user/max_inotify_{limit} && exec "$@"'
    in_a_namespace = ["unshare", "--user", "--map-root-user", "sh", "-c", command, "sh"]
    if (
        sys.platform != "linux"
        or subprocess.run([*in_a_namespace, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("needs a user namespace of Linux: only in one can a test have limits of inotify of its own")
    argv = [*in_a_namespace, sys.executable, "-P", "-c", WAY, str(tmp_path / "bell")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"polling {number}\n", "")
