"""The connection between a worker and a keeper: nobody else speaks on it, and no word on it is lost or half heard."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.harness import runner
from parallel_loop.harness.keeping import kept as kept_module
from parallel_loop.harness.keeping import tree
from parallel_loop.harness.keeping.bounds import Bounds
from parallel_loop.harness.keeping.kept import Command, Kept
from parallel_loop.harness.keeping.processes import is_keeper
from support.harness import Bench, bench_in, program
from support.waiting import eventually


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench_in(tmp_path, monkeypatch) as bench:
        yield bench


@pytest.fixture
def keepers_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """The ends that keepers were given, each a second time: who holds one can speak as its keeper does."""
    ends: list[socket.socket] = []
    make = socket.socketpair

    def make_and_keep() -> tuple[socket.socket, socket.socket]:
        ours, others = make()
        ends.append(others.dup())
        return ours, others

    monkeypatch.setattr(kept_module.socket, "socketpair", make_and_keep)
    yield ends
    for end in ends:
        end.close()


def start(bench: Bench, command: str) -> Kept:
    return Kept(Command(("/bin/sh", "-c", command), bench.folder, bench.environ, bench.log, None, Bounds()))


def hear_all(kept: Kept) -> None:
    while not kept.is_gone:
        select.select([kept.descriptor], (), ())
        kept.hear()
    kept.close()


def test_a_program_can_neither_speak_for_its_keeper_nor_keep_it_from_noticing_the_end(bench: Bench) -> None:
    assert bench.run(*program("meddler")).describe("it") == "it ended with exit code 3"


@pytest.mark.parametrize("words", [b"\xff\n", b"exit 0\nexit twice\n", b"usage many 1 1\n", b"over memory \xff\n"])
def test_what_no_keeper_says_is_no_success_and_ends_all(
    bench: Bench, keepers_end: list[socket.socket], words: bytes
) -> None:
    def forge() -> bool:
        if (bench.folder / "up").exists():
            with contextlib.suppress(BrokenPipeError):  # it was heard
                keepers_end[0].sendall(words)
        return True

    assert bench.shell("touch up; sleep 600", pulse=forge).describe("it") == "it was ended by signal 9"


def test_half_a_word_of_a_keeper_that_is_killed_is_none(bench: Bench, keepers_end: list[socket.socket]) -> None:
    def say_half() -> bool:
        if (bench.folder / "up").exists() and not (bench.folder / "said").exists():
            keepers_end[0].sendall(b"exit 0")
            keepers_end[0].close()
            (bench.folder / "said").touch()
        return True

    command = "touch up; until test -e said; do sleep 0.02; done; kill -9 $PPID; sleep 600"
    assert bench.shell(command, pulse=say_half).describe("it") == "it was ended by signal 9"


@pytest.mark.parametrize("half", [b"e", b"end 60"])
def test_a_life_line_that_breaks_in_the_middle_of_a_word_ends_all_at_once(bench: Bench, half: bytes) -> None:
    kept = start(bench, "trap '' TERM; touch up; while :; do sleep 0.02; done")
    eventually((bench.folder / "up").exists)
    os.write(kept.descriptor, half)
    with socket.socket(fileno=os.dup(kept.descriptor)) as line:
        line.shutdown(socket.SHUT_WR)
    hear_all(kept)
    assert (bench.mark.living(), kept.returncode, kept.was_lost) == ([], -9, False)


def test_a_worker_that_was_stopped_for_long_hears_how_it_ended(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the keeper says of usage has filled the connection meanwhile."""
    make = socket.socketpair

    def make_full() -> tuple[socket.socket, socket.socket]:
        ours, others = make()
        others.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                others.send(b"usage 1 1 1\n")
        return ours, others

    monkeypatch.setattr(kept_module.socket, "socketpair", make_full)
    kept = start(bench, "touch up; exit 3")
    keeper = next(filter(is_keeper, bench.mark.living()))
    eventually((bench.folder / "up").exists)
    eventually(lambda: tree.children(keeper) == set())
    hear_all(kept)
    assert (kept.returncode, kept.was_lost) == (3, False)


def test_a_program_that_stops_its_keeper_gains_nothing(bench: Bench) -> None:
    assert bench.shell("kill -STOP $PPID; exit 4").describe("it") == "it ended with exit code 4"
    greedy = " ".join(program("greedy", 8_000_000_000, 1_000_000))
    assert bench.shell(f"kill -STOP $PPID; {greedy}", bounds=Bounds(memory_bytes=200_000_000)).ended == "over-limit"
    up = bench.folder / "up"
    ended = bench.shell("kill -STOP $PPID; touch up; sleep 600 & sleep 600", pulse=lambda: not up.exists())
    assert ended.ended == "fenced"


# --- a keeper that is not root --------------------------------------------------------------------------------------


as_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root and setpriv, to have a keeper run as another user",
)


def be_somebody(bench: Bench, monkeypatch: pytest.MonkeyPatch, prefix: str = "") -> None:
    """Have keepers run as somebody who may only read and write what root may."""
    other = "setpriv --reuid=64321 --clear-groups --inh-caps=+dac_override --ambient-caps=+dac_override"
    python = bench.folder / "python"
    python.write_text(f'#!/bin/sh\nexec {prefix} {other} {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(kept_module.sys, "executable", str(python))


@as_root
def test_a_keeper_that_finds_no_room_for_a_process_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no limit for root."""
    be_somebody(bench, monkeypatch, "prlimit --nproc=1")
    with pytest.raises(BlockingIOError):
        bench.shell("exit 0")


@as_root
def test_what_became_another_user_is_not_waited_for_and_is_told_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As what `sudo` starts in the background; all else ends."""
    be_somebody(bench, monkeypatch)
    become = bench.folder / "become"
    shutil.copy(shutil.which("setpriv") or "", become)
    become.chmod(0o4755)
    command = f"{become} --reuid=64322 --clear-groups sh -c 'echo became; exec sleep 600' & sleep 600 & "
    command += "until grep -q became log; do sleep 0.02; done"
    ended = runner.run(bench.job("/bin/sh", "-c", command), bench.orders, lambda _watch: True)
    assert (ended.describe("it"), ended.left) == ("it ended with exit code 0", 1)
    assert ended.why_left.startswith("1 of the processes that it started")
    (left,) = bench.mark.living()
    assert Path(f"/proc/{left}/cmdline").read_bytes() == b"sleep\x00600\x00"
