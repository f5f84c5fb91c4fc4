"""Room to work in: what is measured, and what a worker does while there is too little of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.coordinator.aggregate import agent_status
from parallel_loop.coordinator.attention import attention
from parallel_loop.coordinator.snapshot import AgentStatus
from parallel_loop.harness import floors, room
from parallel_loop.harness.configuration.settings import Floors
from parallel_loop.harness.floors import lack_under, levels
from parallel_loop.harness.group_memory import left_in_groups
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.shortage import Lack
from parallel_loop.harness.state import Heartbeat, read_heartbeat
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.watching import BellWatch
from support.harness import Workshop, make_workshop

MB = 1_000_000


# --- what is measured -------------------------------------------------------------------------------------


def test_this_machine_tells_how_much_there_is(tmp_path: Path) -> None:
    memory, disk, gone = levels(Floors(), {"state": tmp_path, "worktrees": tmp_path / "gone"})
    assert memory.free_bytes is not None
    assert 10 * MB < memory.free_bytes < 1 << 50
    assert disk.free_bytes is not None
    assert 10 * MB < disk.free_bytes < 1 << 60
    assert gone.free_bytes is not None, "it is made on the same disk when it is needed"
    assert 10 * MB < gone.free_bytes < 1 << 60


def test_what_is_short_is_named_with_its_key(tmp_path: Path) -> None:
    huge = 10**18
    short = lack_under(Floors(memory_bytes=huge, disk_bytes=0), {"state": tmp_path})
    assert short is not None
    assert short.why.startswith("memory: ")
    assert short.why.endswith("`floors: memory:` asks for 1000000000.0 GB")
    short = lack_under(Floors(memory_bytes=0, disk_bytes=huge), {"state": tmp_path})
    assert short is not None
    assert short.why.startswith("disk of the state: ")
    assert lack_under(Floors(memory_bytes=0, disk_bytes=0), {"state": tmp_path}) is None
    assert lack_under(Floors(memory_bytes=MB, disk_bytes=MB), {"state": tmp_path}) is None


def test_a_system_that_does_not_tell_has_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(floors, "left_in_groups", lambda: None)
    for content in (None, b"", b"MemTotal: 5 kB\n", b"MemAvailable:\n", b"MemAvailable: many kB\n"):
        path = tmp_path / "meminfo"
        if content is not None:
            path.write_bytes(content)
        (memory,) = levels(Floors(), {}, memory=path)
        assert memory.free_bytes is None
        assert not memory.is_short
    path.write_bytes(b"MemTotal: 9 kB\nMemAvailable:     5 kB\n")
    assert next(levels(Floors(), {}, memory=path)).free_bytes == 5 * 1024
    monkeypatch.setattr(floors, "left_in_groups", lambda: 4096)
    assert next(levels(Floors(), {}, memory=path)).free_bytes == 4096


def group(folder: Path, limit: str, usage: int, stat: str, *, version: int = 2) -> None:
    names = ("memory.max", "memory.current") if version == 2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(stat)


@pytest.mark.parametrize(
    ("own", "inner", "outer", "left"),
    [
        ("0::/a/b\n", "max", "max", None),
        ("0::/a/b\n", str(300 * MB), "max", 300 - 250 + 90),
        ("0::/a/b\n", "max", str(300 * MB), 300 - 250 + 90),
        ("0::/a/b\n", str(400 * MB), str(300 * MB), 300 - 250 + 90),
        ("0::/a/b\n", str(100 * MB), "max", 0),
        ("5:cpu:/x\n0::/elsewhere/in/a/container\n", str(300 * MB), "max", None),
        ("", str(300 * MB), "max", None),
        ("nonsense\n", str(300 * MB), "max", None),
    ],
)
def test_the_tightest_limit_around_us_counts_and_caches_do_not(
    tmp_path: Path, own: str, inner: str, outer: str, left: int | None
) -> None:
    (tmp_path / "own").write_text(own)
    stat = f"anon 5\ninactive_file {50 * MB}\nactive_file {30 * MB}\nslab_reclaimable {10 * MB}\nshmem 7\n"
    group(tmp_path / "mount" / "a", outer, 250 * MB, stat)
    group(tmp_path / "mount" / "a" / "b", inner, 250 * MB, stat)
    expected = None if left is None else left * MB
    assert left_in_groups(tmp_path / "own", tmp_path / "mount") == expected


def test_cgroup_version_1_and_a_container_whose_outermost_group_is_ours(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("4:memory:/docker/abc\n0::/\n")
    stat = f"total_inactive_file {50 * MB}\ninactive_file 1\n"
    group(tmp_path / "mount" / "memory", str(300 * MB), 250 * MB, stat, version=1)
    assert left_in_groups(tmp_path / "own", tmp_path / "mount") == 100 * MB
    group(tmp_path / "mount" / "memory", "9223372036854771712", 250 * MB, stat, version=1)
    assert left_in_groups(tmp_path / "own", tmp_path / "mount") is None


# --- what follows -----------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path, alone: None, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    monkeypatch.setattr(room, "ROOM_SECONDS", 0.02)
    return make_workshop(tmp_path / "r", "floors: {memory: 0, disk: 900MB}\n")


def beat(shop: Workshop) -> Heartbeat:
    found = read_heartbeat(shop.project.state.agent("agent-1"))
    assert found is not None
    return found


def why(shop: Workshop) -> str | None:
    lack = beat(shop).hindrance
    return None if lack is None else lack.why


def free(megabytes: int) -> Callable[[Path], int]:
    return lambda _folder: megabytes * MB


def test_nothing_is_claimed_under_a_floor_and_it_goes_on_by_itself(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("one", "echo 1 > a")
    looked: list[int] = []

    def grows(_folder: Path) -> int:
        looked.append(899 if len(looked) < 12 else 900)
        return looked[-1] * MB

    orders = Orders()
    planned: list[float] = []
    wait = orders.wait_for_ring
    monkeypatch.setattr(orders, "wait_for_ring", lambda on, seconds: planned.append(seconds) or wait(on, seconds))
    with (
        contextlib.closing(shop.worker(orders=orders)) as worker,
        contextlib.closing(BellWatch(shop.project.queue.bell)) as watch,
    ):
        monkeypatch.setattr(floors, "_free_disk", grows)
        assert not worker.work_once()
        assert worker.is_held
        assert beat(shop).state == "held"
        said = "disk of the worktrees: 899 MB free, `floors: disk:` asks for 900 MB"
        assert (why(shop), beat(shop).item) == (said, None)
        since = beat(shop).since
        orders.paused = True
        assert not worker.work_once()
        orders.paused = False
        assert shop.entry("one").records == ()
        while not worker.work_once():
            assert (beat(shop).since, why(shop)) == (since, said), "told once"
            worker.wait(watch)  # nothing rings: it looks again by itself
        assert max(planned) <= 0.02
        assert looked[:13] == [899] * 12 + [900]
        assert shop.last("one").kind == "landing"
        assert not worker.work_once()
        assert (beat(shop).state, why(shop), beat(shop).done) == ("idle", None, 1)


def test_another_thing_that_runs_short_is_told(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    with contextlib.closing(shop.worker()) as worker:
        monkeypatch.setattr(floors, "_free_disk", lambda folder: 0 if folder == shop.project.state.root else 10**12)
        assert not worker.work_once()
        assert (why(shop) or "").startswith("disk of the state: 0 B free")
        monkeypatch.setattr(floors, "_free_disk", free(5))
        assert not worker.work_once()
        assert (why(shop) or "").startswith("disk of the worktrees: 5.0 MB free")
        monkeypatch.setattr(floors, "_free_disk", free(1000))
        assert not worker.work_once()
        assert (beat(shop).state, why(shop)) == ("idle", None)


def test_however_many_are_held_it_is_said_once(shop: Workshop) -> None:
    def held(free: str) -> AgentStatus:
        lack = Lack(f"memory: {free} free", "free -m")
        seen = Heartbeat(
            agent="agent-1", pid=1, process_start=1.0, boot="b", at="", beat=0.0, state="held", hindrance=lack
        )
        return agent_status(seen, health="well")

    agents = [held("5 MB"), held("6 MB")]
    assert [(agent.health, agent.state, agent.note) for agent in agents] == [
        ("no-room", "held", "memory: 5 MB free"),
        ("no-room", "held", "memory: 6 MB free"),
    ]
    (need,) = attention([], Survey(shop.project.queue), agents, None)
    assert need.why.startswith("agent-1, agent-1: memory: 5 MB free; ")
    assert need.next == "free -m"
    assert attention([], Survey(shop.project.queue), [], None) == ()
