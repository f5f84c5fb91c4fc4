"""What waiting costs: how soon an idle worker has claimed what was added, and what it uses while there is nothing.

Run with `make bench`, or `python benchmarks/waking.py ADDS IDLE_SECONDS` for longer. Real runs in throw-away
repositories, read from outside: times of the queue's own records, processor time and context switches of the kernel.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import psutil

from parallel_loop.harness.project import Project
from parallel_loop.harness.state import living_worker
from parallel_loop.queue.records import Item, Record

ROOT = Path(__file__).resolve().parent.parent
RUN = ["-P", "-m", "parallel_loop.coordinator", "run"]
RINGS = 100


class Use(NamedTuple):
    """What a process has used so far; that of children which have ended is in it."""

    cpu_seconds: float
    waits: int

    def __sub__(self, other: object) -> Use:
        assert isinstance(other, Use)
        return Use(self.cpu_seconds - other.cpu_seconds, self.waits - other.waits)


def use_of(pid: int) -> Use:
    """Nanoseconds where the kernel counts them (a clock tick is a fiftieth of what is to be measured)."""
    nanoseconds = waits = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((task / "schedstat").read_text().split()[0])
        status = (task / "status").read_text()
        waits += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    children = psutil.Process(pid).cpu_times()
    return Use(nanoseconds / 1e9 + children.children_user + children.children_system, waits)


@contextlib.contextmanager
def running(folder: Path, argv: list[str], agents: int) -> Iterator[tuple[Project, dict[str, list[int]]]]:
    """A run in a new repository, once all of it is idle: the project, and process ids by what they are."""
    git = ["git", "-C", str(folder), "-c", "user.name=bench", "-c", "user.email=bench@example.invalid"]
    folder.mkdir()
    subprocess.run([*git, "init", "--quiet", "--initial-branch", "main"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "start"], check=True)
    run = subprocess.Popen([sys.executable, *argv], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        project = Project.open(folder)
        found: dict[str, list[int]] = {}
        while len(found.get("worker", [])) < agents:
            time.sleep(0.2)
            found["worker"] = idle_workers(project)
        if found["worker"] == [run.pid]:
            yield project, {"loop": [run.pid]}
        else:
            others = {child.pid for child in psutil.Process(run.pid).children()} - {*found["worker"]}
            yield project, {"coordinator": [run.pid], "lander": sorted(others), **found}
    finally:
        run.terminate()
        run.wait()


def idle_workers(project: Project) -> list[int]:
    """The process ids of the workers that say they have nothing to do."""
    beats = [living_worker(project.state.agent(name)) for name in project.state.agent_names()]
    return [beat.pid for beat in beats if beat is not None and beat.state == "idle"]


def wake_latencies(project: Project, agents: int, adds: int) -> list[float]:
    """Seconds from the return of `add` to the claim: the time that the taker noted when its record was there."""
    seconds = []
    for number in range(adds):
        while len(idle_workers(project)) < agents:  # its record can be seen before it is flushed
            time.sleep(0.02)
        time.sleep(random.uniform(0.1, 0.4))  # at no certain point of a period
        item = Item(id=f"wake-{number}", title="wake", added_at="", command="true")
        project.queue.add([item])
        returned = datetime.now(UTC)
        ended = _end_of(project, item.id)
        assert ended.started_at is not None
        seconds.append((datetime.fromisoformat(ended.started_at) - returned).total_seconds())
    return seconds


def _end_of(project: Project, item_id: str) -> Record:
    while True:
        entry = project.queue.entry(item_id)
        if entry is not None and len(entry.records) > 1:
            return entry.records[1]
        time.sleep(0.02)


def measure_latency(folder: Path, name: str, argv: list[str], agents: int, adds: int) -> None:
    with running(folder, argv, agents) as (project, _):
        found = sorted(1000 * seconds for seconds in wake_latencies(project, agents, adds))
    p99 = found[min(len(found) - 1, round(0.99 * len(found)))]
    print(f"  {name:<24} p50 {statistics.median(found):7.2f}   p99 {p99:7.2f}   most {found[-1]:7.2f}", flush=True)


def measure_idle(folder: Path, name: str, argv: list[str], agents: int, seconds: float) -> None:
    print(f"  {name}")
    with running(folder, argv, agents) as (_, processes):
        time.sleep(2.0)  # what starting leaves to do
        before = {pid: use_of(pid) for pids in processes.values() for pid in pids}
        time.sleep(seconds)
        used = {pid: use_of(pid) - then for pid, then in before.items()}
    for what, pids in processes.items():
        cpu = sum(used[pid].cpu_seconds for pid in pids) / len(pids) / seconds
        waits = sum(used[pid].waits for pid in pids) / len(pids) / seconds
        print(f"    {what:<22} {100 * cpu:7.3f} % of a core   {waits:6.1f} waits/s", flush=True)


def measure_herd(folder: Path, agents: int) -> None:
    """What one ring costs all idle workers together, without the item that one of them would then take."""
    with running(folder, [*RUN, "--agents", str(agents)], agents) as (project, processes):
        bell = project.queue.bell
        time.sleep(2.0)
        used = []
        for rings in (0, RINGS):  # the same time without rings is what waiting costs anyway
            before = {pid: use_of(pid) for pid in processes["worker"]}
            for number in range(RINGS):
                time.sleep(0.05)
                if number < rings:
                    bell.ring(5)
                    bell.ring()
            time.sleep(0.2)
            used.append(sum((use_of(pid) - then).cpu_seconds for pid, then in before.items()))
    print(f"  {agents:>3} idle workers {1e6 * (used[1] - used[0]) / RINGS:8.0f} µs", flush=True)


def main() -> None:
    adds, idle_seconds = int(sys.argv[1]), float(sys.argv[2])
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    parallel, alone = [*RUN, "--agents"], [str(ROOT / "loop.py")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"\nadd returned to claimed, an idle worker, {adds} adds, ms:")
        measure_latency(folder / "a", "run --agents 1", [*parallel, "1"], 1, adds)
        measure_latency(folder / "b", "run --agents 10", [*parallel, "10"], 10, adds)
        measure_latency(folder / "c", "single-agent loop", alone, 1, adds)
        print(f"\nidle for {idle_seconds:.0f} s, children included, each:")
        measure_idle(folder / "d", "run --agents 3", [*parallel, "3"], 3, idle_seconds)
        measure_idle(folder / "e", "single-agent loop", alone, 1, idle_seconds)
        print("\nprocessor time of all idle workers for each ring:")
        for agents in (3, 10, 32):
            measure_herd(folder / f"herd-{agents}", agents)


if __name__ == "__main__":
    main()
