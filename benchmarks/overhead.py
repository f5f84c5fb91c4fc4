"""What parallel-loop itself costs: the time of `status`, the overhead of an attempt, an idle coordinator.

Run with `make bench`. Peers in the same run, on the same machine: a bare interpreter and `git status`.
Prints medians; quote ratios, since machines differ.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROUNDS = 15
IDLE_SECONDS = 20.0
ITEMS = 12
PARALLEL_LOOP = [sys.executable, "-P", "-m", "parallel_loop.coordinator"]


def make_repository(path: Path) -> Path:
    git = ["git", "-C", str(path), "-c", "user.name=bench", "-c", "user.email=bench@example.invalid"]
    path.mkdir()
    subprocess.run([*git, "init", "--quiet", "--initial-branch", "main"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "start"], check=True)
    return path


def call(repository: Path, *argv: str, code: int = 0) -> str:
    done = subprocess.run([*PARALLEL_LOOP, *argv], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode != code:
        raise SystemExit(f"{argv}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def time_commands(repository: Path) -> None:
    """Whole processes, in turn, so that a change in the machine's speed meets them all."""
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "git status": ["git", "status", "--porcelain"],
        "parallel-loop status": [*PARALLEL_LOOP, "status"],
        "parallel-loop status --json": [*PARALLEL_LOOP, "status", "--json"],
        "parallel-loop list": [*PARALLEL_LOOP, "list"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            start = time.perf_counter()
            subprocess.run(argv, cwd=repository, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - start)
    print(f"\nwhole process, {ITEMS} items, median of {ROUNDS} (fastest):")
    for name, times in seconds.items():
        print(f"  {name:<28} {statistics.median(times) * 1000:6.0f} ms  ({min(times) * 1000:.0f})")


def measure_attempts(repository: Path) -> None:
    """Attempts of a program that does next to nothing: all that is left is ours."""
    call(repository, "run", "--agents", "1", "--drain")
    rows = [
        json.loads(call(repository, "show", row["id"], "--json"))
        for row in json.loads(call(repository, "list", "--json"))
    ]
    seconds = [event["seconds"] for row in rows for event in row["history"] if event["event"] == "landing"]
    print(f"\none attempt at writing a file of one line, claim to handing over, median of {len(seconds)}:")
    print(f"  {statistics.median(seconds) * 1000:.0f} ms")


def measure_idle(repository: Path, agents: int) -> None:
    run = subprocess.Popen([*PARALLEL_LOOP, "run", "--agents", str(agents)], cwd=repository, stdout=subprocess.DEVNULL)
    try:
        time.sleep(2.0 + agents / 5)  # until all have started
        processes = [psutil.Process(run.pid), *psutil.Process(run.pid).children()]
        before = [sum(process.cpu_times()[:2]) for process in processes]
        time.sleep(IDLE_SECONDS)
        used = [sum(process.cpu_times()[:2]) - then for process, then in zip(processes, before, strict=True)]
        memory = [process.memory_info().rss / 1e6 for process in processes]
    finally:
        run.terminate()
        run.wait()
    share = [100 * seconds / IDLE_SECONDS for seconds in used]
    print(f"\nidle for {IDLE_SECONDS:.0f} s with {agents} agents, % of a core and MB resident:")
    print(f"  coordinator          {share[0]:.2f} %  {memory[0]:.0f} MB")
    print(f"  others (median)      {statistics.median(share[1:]):.2f} %  {statistics.median(memory[1:]):.0f} MB")


def main() -> None:
    print(f"{os.cpu_count()} processors, Python {sys.version.split()[0]}, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        repository = make_repository(Path(folder) / "repository")
        for number in range(ITEMS):
            call(repository, "add", "--command", f"echo {number} > {number}.txt", "--title", f"Write file {number}")
        time_commands(repository)
        measure_attempts(repository)
        for agents in (3, 10):
            measure_idle(repository, agents)


if __name__ == "__main__":
    main()
