"""What a keeper keeps: all of it ends with the command, with the worker, and at a limit; nobody notices it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parallel_loop.harness import runner
from parallel_loop.harness.configuration.config import load_config
from parallel_loop.harness.keeping.bounds import Bounds, bounds_of, processors_for
from parallel_loop.queue.records import Item
from support.harness import Bench, bench_in, program
from support.keeping import start_holder
from support.waiting import eventually

MISBEHAVIOURS = {
    "plain": "sleep 600 & touch {up}; wait",
    "ignores what can be ignored": " ".join(program("stubborn", "{up}")),
    "other sessions": " ".join(program("parent")) + "; touch {up}; sleep 600",
    "a daemon": " ".join(program("daemon", "{up}")) + "; sleep 600",
    "a daemon without our environment": " ".join(program("scrubbed", "{up}")) + "; sleep 600",
    "forks and ends all the time": " ".join(program("hopper", "{up}", "sessions")),
}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with bench_in(tmp_path, monkeypatch) as bench:
        yield bench


# --- the end of the worker ------------------------------------------------------------------------------------------


def in_folder(folder: Path) -> list[int]:
    """What runs in the folder, or has been started with a path below it, whatever its environment."""
    found = []
    for process in psutil.process_iter():
        try:
            here = process.cwd() == str(folder) or any(str(folder) in argument for argument in process.cmdline())
            if here and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("kind", MISBEHAVIOURS)
def test_all_of_it_ends_when_the_worker_is_killed(tmp_path: Path, kind: str) -> None:
    """Nobody else is there to end it: as when the coordinator is killed with the worker."""
    folder = tmp_path / "work"
    folder.mkdir()
    command = MISBEHAVIOURS[kind].replace("{up}", str(folder / "up"))
    holder = start_holder(folder, "/bin/sh", "-c", command)
    eventually((folder / "up").exists)
    holder.kill()
    holder.wait()
    eventually(lambda: in_folder(folder) == [], 5.0)


def test_a_keeper_that_is_killed_leaves_all_to_the_worker(bench: Bench) -> None:
    daemon = " ".join(program("scrubbed", bench.folder / "pid"))
    ended = bench.shell(f"{daemon}; until [ -e pid ]; do :; done; kill -9 $PPID; sleep 600")
    assert ended.describe("it") == "it was ended by signal 9"
    assert not Path(f"/proc/{(bench.folder / 'pid').read_text()}").exists()


def test_a_keeper_that_does_not_answer_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "UNHEARD_SECONDS", 0.1)
    command = "trap '' TERM; touch up; while :; do kill -STOP $PPID; done"  # it is woken now and then
    assert bench.shell(command, pulse=lambda: not (bench.folder / "up").exists()).ended == "fenced"


def test_who_asks_the_keeper_to_end_asks_for_the_end_of_the_command(bench: Bench) -> None:
    assert bench.shell("kill $PPID; sleep 600").describe("it") == "it was ended by signal 15"


# --- the command notices nothing ------------------------------------------------------------------------------------


def test_a_command_finds_what_it_was_given_and_nothing_of_the_keeper(bench: Bench) -> None:
    code = """
import json, os, signal
fields = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
print(json.dumps({
    "environ": dict(line.split("=", 1) for line in open("/proc/self/environ").read().split("\\0") if line),
    "descriptors": sorted(map(int, os.listdir("/proc/self/fd")))[:-1],
    "ignored": [n for n in (1, 2, 3, 10, 12, 15, 17) if int(fields["SigIgn"], 16) >> n - 1 & 1],
    "blocked": int(fields["SigBlk"], 16), "leads": os.getsid(0) == os.getpid(),
}))
"""
    assert bench.run(sys.executable, "-I", "-S", "-c", code).ok
    seen = json.loads(bench.log.read_text())
    own_locale = {key: seen["environ"].pop(key) for key in ("LC_CTYPE",) if key in seen["environ"]}
    assert own_locale in ({}, {"LC_CTYPE": "C.UTF-8"}), "this program is Python itself"
    assert seen == {
        "environ": bench.environ | {"PWD": str(bench.folder)}, "descriptors": [0, 1, 2], "leads": True,
        "ignored": [], "blocked": 0,
    }  # fmt: skip


def test_the_locale_is_left_as_it_was(bench: Bench) -> None:
    assert bench.shell("env; env | grep LC_CTYPE && exit 1; exit 0").ok


def test_a_program_is_the_first_to_go_when_memory_is_short(bench: Bench) -> None:
    assert bench.shell("cat /proc/self/oom_score_adj").ok
    assert bench.log.read_text() == "500\n"


# --- limits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [1_000_000, 100_000_000])
def test_who_takes_too_much_memory_is_ended_and_told_how_much(bench: Bench, piece: int) -> None:
    ended = bench.run(*program("greedy", 8_000_000_000, piece), bounds=Bounds(memory_bytes=200_000_000))
    said = re.fullmatch(
        r"it was stopped after [\d.]+ m?s: it used ([\d.]+) ([MG]B) of memory, its limit is 200 MB \(limits.memory\)",
        ended.describe("it"),
    )
    assert said is not None, ended.describe("it")
    assert ended.ended == "over-limit"
    assert not ended.ok


def test_memory_of_all_processes_counts_and_what_they_share_counts_once(bench: Bench) -> None:
    crowd = program("crowd", 5, "shared", 100_000_000)
    assert bench.run(*crowd, bounds=Bounds(memory_bytes=300_000_000)).ok
    greedy = " ".join(program("greedy", 90_000_000, 1_000_000))
    each = f"{greedy} & {greedy} & {greedy} & wait"
    assert bench.shell(each, bounds=Bounds(memory_bytes=200_000_000)).ended == "over-limit"


def test_who_starts_too_many_processes_is_ended_with_all_of_them(bench: Bench) -> None:
    ended = bench.run(*program("crowd", 500, "stay"), bounds=Bounds(processes=100))
    assert ended.ended == "over-limit"
    assert re.search(r"it ran \d+ processes at once, its limit is 100 \(limits.processes\)", ended.describe("it"))
    assert bench.run(*program("crowd", 50), bounds=Bounds(processes=100)).ok


def test_a_worktree_may_grow_only_so_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parallel_loop.harness.watch._FIRST_SECONDS", 0.0)
    ended = bench.shell("head -c 30000000 /dev/zero > big; sleep 600", bounds=Bounds(worktree_bytes=20_000_000))
    assert "it made its worktree 30.0 MB large, its limit is 20.0 MB (limits.worktree)" in ended.describe("it")


def test_a_ceiling_of_processor_time_holds_for_all_that_is_started(bench: Bench) -> None:
    (cpu,) = {max(os.sched_getaffinity(0))}
    assert bench.shell("nproc; (setsid nproc) | cat", bounds=Bounds(cpus=(cpu,))).ok
    assert bench.log.read_text() == "1\n1\n"


def test_each_agent_has_processors_of_its_own_as_long_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3, 5, 7, 8, 9})
    assert [processors_for(2.0, number) for number in range(4)] == [(2, 3), (5, 7), (8, 9), (2, 3)]
    assert processors_for(0.5, 1) == (3,)
    assert processors_for(3.2, 1) == (2, 3, 8, 9)
    assert processors_for(6.0, 1) == processors_for(0.0, 1) == ()


def test_a_role_has_limits_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "parallel-loop.yaml"
    path.write_text(
        "limits: {memory: 1GB, processes: 7, worktree: 1GB}\n"
        "roles: {big: {memory: 8GB, cpu: 50%, processes: 900, worktree: 2GB}, small: {}}\n"
    )
    config = load_config(path, {})
    item = Item(id="a", title="a", added_at="", role="big")
    found = bounds_of(config, item, 0)
    assert (found.memory_bytes, found.processes, found.worktree_bytes, found.cores) == (8 * 10**9, 900, 2 * 10**9, 0.5)
    assert [found.key_of("memory"), found.key_of("time")] == ["roles.big.memory", "limits.time"]
    for role in ("small", None, "gone"):
        found = bounds_of(config, Item(id="a", title="a", added_at="", role=role), 0)
        assert (found.memory_bytes, found.processes, found.worktree_bytes, found.cores) == (10**9, 7, 10**9, 0.0)
        assert found.key_of("memory") == "limits.memory"


# --- hung is not slow -----------------------------------------------------------------------------------------------


def test_a_program_frozen_in_a_read_is_ended(bench: Bench) -> None:
    ended = bench.shell("mkfifo never; read line < never", no_progress_seconds=0.6)
    assert (ended.ended, ended.ok) == ("stalled", False)
    assert "printed nothing, used no processor time and changed no file (health.no_progress)" in ended.describe("it")


def test_who_computes_in_silence_is_left_alone(bench: Bench) -> None:
    code = "import time\nwhile time.process_time() < 2: pass"
    assert bench.run(sys.executable, "-I", "-S", "-c", code, no_progress_seconds=0.6).ok


def test_who_said_that_it_waits_is_left_alone(bench: Bench) -> None:
    wait = bench.folder / "wait"
    said = f"echo 1h > {wait}; sleep 2"
    assert bench.shell(said, no_progress_seconds=0.6, wait_file=wait).ok
    assert bench.shell("echo soon > wait; sleep 600", no_progress_seconds=0.6, wait_file=wait).ended == "stalled"


def test_who_prints_the_same_for_ever_is_ended(bench: Bench) -> None:
    loop = "while :; do echo trying again; echo failed; {extra} done"
    ended = bench.shell(loop.format(extra=""), no_progress_seconds=0.6)
    assert (ended.ended, "the same lines over and over" in ended.describe("it")) == ("looping", True)


def test_who_prints_something_new_now_and_then_is_left_alone(bench: Bench) -> None:
    same = "yes | head -600"
    assert bench.shell(f"for n in 1 2 3 4 5 6 7 8; do {same}; echo $n; sleep 0.2; done", no_progress_seconds=1.2).ok
