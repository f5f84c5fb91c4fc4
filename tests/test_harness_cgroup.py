"""Control groups: real ones where this machine lets us make them, and what the kernel says in files otherwise."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from parallel_loop.harness.identity import boot_id
from parallel_loop.harness.keeping import cgroup, containment, tree
from parallel_loop.harness.keeping.bounds import Bounds
from parallel_loop.harness.keeping.cgroup import Cgroup
from parallel_loop.harness.keeping.containment import Containment, end_groups, find_out, held, let_go
from parallel_loop.harness.state import StateDirectory
from support.harness import keeper_of, program
from support.keeping import start_holder
from support.waiting import eventually


@pytest.fixture
def base(state: StateDirectory) -> Iterator[Path]:
    """The folder of control groups of a repository, as a coordinator makes it."""
    group = cgroup.own_group()
    if group is None or not cgroup.is_delegated(group):
        pytest.skip("needs a control group (version 2) below which this user may make others")
    found = find_out(state)
    if not found.base:
        pytest.skip("needs cgroup.kill, which came with Linux 5.14, and a group that takes others below it")
    yield Path(found.base)
    for left in cgroup.groups_below(found.base):
        left.remove()
    Path(found.base).rmdir()


def start_daemon(told: Path, group: str) -> subprocess.Popen[bytes]:
    """Start a command that leaves a daemon behind and goes on; the daemon writes its id into `told`."""
    command = f"{' '.join(program('scrubbed', told))}; sleep 600"
    holder = start_holder(told.parent, "/bin/sh", "-c", command, group=group)
    eventually(told.exists)
    return holder


def inside(group: Path) -> list[str]:
    return (group / "cgroup.procs").read_text().split()


def test_a_command_runs_in_a_group_of_its_own_that_is_gone_afterwards(state: StateDirectory, base: Path) -> None:
    agent = state.agent("agent-1")
    with held(state, agent, Bounds()) as bounds:
        group = Path(bounds.group)
        assert group.parent == base
        holder = start_daemon(state.root / "up", bounds.group)
        eventually((state.root / "up").exists)
        assert (state.root / "up").read_text() in inside(group)
        assert str(keeper_of(holder.pid)) not in inside(group), "the keeper is none of the command"
    assert not group.exists()
    holder.kill()
    holder.wait()


def test_a_group_ends_with_all_in_it_though_worker_and_keeper_are_killed(state: StateDirectory, base: Path) -> None:
    """Not even a daemon with an environment of its own is left when a coordinator begins."""
    for name in ("agent-1", "agent-1.4711", "agent-2.4711"):
        pid = "" if "." in name else ".1"
        group = Cgroup.make(f"{base}/{name}{pid}.0", memory_bytes=0, processes=0, cores=0)
        assert group is not None
        holder = start_daemon(state.root / name, group.path)
        eventually((state.root / name).exists)
        os.kill(keeper_of(holder.pid), signal.SIGKILL)
        holder.kill()
        holder.wait()
    end_groups(state, {"agent-1.4711", "agent-3"})
    assert {left.path.rpartition("/")[2] for left in cgroup.groups_below(str(base))} == {
        "agent-1.1.0",
        "agent-2.4711.0",
    }
    end_groups(state, {"agent-1", "agent-2"})
    assert cgroup.groups_below(str(base)) == []
    for name in ("agent-1", "agent-1.4711", "agent-2.4711"):
        assert tree.look_at(int((state.root / name).read_text())) is None


def test_groups_that_a_command_made_inside_its_own_go_with_it_and_the_folder_goes_last(
    state: StateDirectory, base: Path
) -> None:
    with held(state, state.agent("agent-1"), Bounds()) as bounds:
        (Path(bounds.group) / "inner" / "deep").mkdir(parents=True)
        let_go(state)
        assert base.exists(), "something may run there"
    assert not Path(bounds.group).exists()
    let_go(state)
    assert not base.exists()
    base.mkdir()


def test_groups_of_another_boot_are_nobodys(state: StateDirectory, base: Path) -> None:
    group = Cgroup.make(f"{base}/agent-1.1.0", memory_bytes=0, processes=0, cores=0)
    assert group is not None
    written = state.containment.read_text()
    state.containment.write_text(written.replace(boot_id(), "another boot"))
    end_groups(state, {"agent-1"})
    assert Path(group.path).exists()
    with held(state, state.agent("agent-1"), Bounds()) as bounds:
        assert bounds.group == ""
    group.remove()


def test_groups_of_the_original_are_not_those_of_a_copy(state: StateDirectory, base: Path, tmp_path: Path) -> None:
    copy = StateDirectory(tmp_path / "copy")
    copy.create()
    copy.containment.write_bytes(state.containment.read_bytes())
    group = Cgroup.make(f"{base}/agent-1.1.0", memory_bytes=0, processes=0, cores=0)
    assert group is not None
    end_groups(copy, {"agent-1"})
    assert Path(group.path).exists()
    with held(copy, copy.agent("agent-1"), Bounds()) as bounds:
        assert bounds.group == ""
    group.remove()


def test_what_the_kernel_enforced_is_told(tmp_path: Path) -> None:
    group = Cgroup(str(tmp_path))
    assert group.excess() is None
    for name, text in {"memory.events": "low 0\noom 0\noom_kill 0\n", "pids.events": "max 0\n"}.items():
        (tmp_path / name).write_text(text)
    assert group.excess() is None
    (tmp_path / "pids.events").write_text("max 3\n")
    (tmp_path / "pids.max").write_text("500\n")
    assert group.excess() == ("processes", 500)
    (tmp_path / "memory.events").write_text("low 0\noom 1\noom_kill 2\noom_group_kill 1\n")
    (tmp_path / "memory.max").write_text("4000000000\n")
    assert group.excess() == ("memory", 4_000_000_000)
    (tmp_path / "memory.peak").write_text("4000100000\n")
    assert group.excess() == ("memory", 4_000_100_000)


def test_limits_are_written_as_the_kernel_reads_them(tmp_path: Path) -> None:
    made = Cgroup.make(str(tmp_path / "a"), memory_bytes=10**9, processes=50, cores=1.5)
    assert made is not None
    assert {path.name: path.read_text() for path in (tmp_path / "a").iterdir()} == {
        "memory.max": "1000000000", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "50",
        "cpu.max": "150000 100000",
    }  # fmt: skip
    assert Cgroup.make(str(tmp_path / "a"), memory_bytes=0, processes=0, cores=0) is None, "there is one"
    made = Cgroup.make(str(tmp_path / "b"), memory_bytes=0, processes=0, cores=0)
    assert made is not None
    assert (tmp_path / "b" / "memory.max").read_text() == (tmp_path / "b" / "pids.max").read_text() == "max"
    assert (tmp_path / "b" / "cpu.max").read_text() == "max 100000"


@pytest.mark.parametrize(
    ("own", "mounts", "path"),
    [
        ("0::/user.slice/a b\n", "30 25 0:26 / /groups rw - cgroup2 cgroup2 rw", "/groups/user.slice/a b"),
        ("9:name=systemd:/\n0::/\n", "36 32 0:31 / /groups/unified rw shared:1 - cgroup2 x rw", "/groups/unified"),
        ("0::/docker/1/in\n", "1 1 0:1 /docker/1 /groups rw - cgroup2 x rw", "/groups/in"),
        ("0::/elsewhere\n", "1 1 0:1 /docker/1 /groups rw - cgroup2 x rw", None),
        ("8:pids:/\n", "1 1 0:1 / /groups rw - cgroup2 x rw", None),
        ("0::/\n", "1 1 0:1 / /groups/pids rw - cgroup x rw", None),
    ],
)  # fmt: skip
def test_the_own_group_is_found(monkeypatch: pytest.MonkeyPatch, own: str, mounts: str, path: str | None) -> None:
    texts = {"/proc/self/cgroup": own, "/proc/self/mountinfo": mounts}
    monkeypatch.setattr(cgroup, "_read", lambda name: texts[name])
    assert cgroup.own_group() == path


def test_without_a_group_of_ours_there_is_none_and_all_goes_on(
    state: StateDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroup, "own_group", lambda: None)
    assert find_out(state) == Containment(boot_id())
    assert containment.what_there_is().describe() == "keepers"
    with held(state, state.agent("agent-1"), Bounds(cpus=(0,))) as bounds:
        assert bounds == Bounds(cpus=(0,))


def test_what_is_said_of_it() -> None:
    assert Containment("b", "/base").describe() == "keepers and control groups"
    assert Containment("b", "/base", ("memory", "cpu")).describe() == "keepers and control groups with memory, cpu"
