"""One coordinator per repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from parallel_loop.coordinator.lock import AlreadyRunning, CoordinatorLock, read_holder
from support.waiting import eventually

HOLD = """
import sys
from pathlib import Path
from parallel_loop.coordinator.lock import CoordinatorLock
lock = CoordinatorLock(Path(sys.argv[1]), 4242, 1.5, "boot")
sys.stdin.read()
"""


def test_a_second_coordinator_is_refused_and_told_who_runs(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = CoordinatorLock(path, 4242, 1.5, "boot")
    said = r"pid 4242, since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d.*parallel-loop stop"
    with pytest.raises(AlreadyRunning, match=said) as told:
        CoordinatorLock(path, 1, 1.0, "boot")
    assert told.value.holder == first.holder
    first.close()


def test_the_lock_ends_with_its_process_even_by_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-P", "-c", HOLD, str(path)], stdin=subprocess.PIPE)
    with holder:
        assert eventually(lambda: read_holder(path)).pid == 4242
        holder.send_signal(signal.SIGKILL)
    assert read_holder(path) is None
    CoordinatorLock(path, os.getpid(), 1.0, "boot").close()


def test_nobody_holds_a_lock_that_is_missing_free_or_empty(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert read_holder(path) is None
    CoordinatorLock(path, 1, 1.0, "boot").close()
    assert read_holder(path) is None
    assert path.exists(), "never unlinked: a second holder could lock a file that has no name"


def test_a_holder_that_has_not_said_who_it_is_is_refused_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = CoordinatorLock(path, 1, 1.0, "boot")
    path.write_text("half a li")
    assert read_holder(path) is None
    with pytest.raises(AlreadyRunning, match="not known yet"):
        CoordinatorLock(path, 2, 1.0, "boot")
    lock.close()


def test_readers_that_look_all_the_time_do_not_keep_a_coordinator_from_starting(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            read_holder(path)

    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(5):
            CoordinatorLock(path, 1, 1.0, "boot").close()
    finally:
        over.set()
        for reader in readers:
            reader.join()
