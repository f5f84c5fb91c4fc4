"""What is measured with one process: adding one by one, a worker's memory, and `parallel-loop status`."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from overhead import PARALLEL_LOOP, call, make_repository
from stores import Store, in_child
from systems import System, make_payload

from parallel_loop.queue.records import Item
from parallel_loop.queue.store import Queue

_MOST_ADDED = 5_000  # in one run; a quick system needs no longer to show its rate
_STATUS_ROUNDS = 5
_MEMORY_SECONDS = 5.0


def add_rate(system: System, durable: bool, store: Store, limit_seconds: float) -> float:
    """Return how many items a second one process adds, one to a call, to an empty queue."""
    with store.filled(system, 0) as folder:
        rate: float = in_child(_add, system, folder, durable, limit_seconds)
    return rate


def _add(system: System, folder: Path, durable: bool, limit_seconds: float) -> float:
    station = system.open(folder, durable)
    added, start = 0, time.perf_counter()
    while added < _MOST_ADDED and time.perf_counter() - start < limit_seconds:
        station.put(make_payload(added))
        added += 1
    return added / (time.perf_counter() - start)


def worker_megabytes(system: System, depth: int, store: Store) -> float:
    """Return the most memory that a fresh process had while it drained a queue of `depth`, or some seconds long."""
    script = Path(__file__).with_name("worker_memory.py")
    with store.filled(system, depth) as folder:
        argv = [sys.executable, str(script), system.name, str(folder), str(_MEMORY_SECONDS)]
        return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def status_milliseconds(root: Path, depth: int) -> float:
    """Return how long `parallel-loop status` takes as a whole process with `depth` items waiting."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        repository = make_repository(Path(folder) / "repository")
        call(repository, "add", "--command", "true", "--title", "first")
        items = [Item(id=f"waiting-{number}", title="t", added_at="") for number in range(depth - 1)]
        in_child(_add_all, repository / ".parallel-loop" / "queue", items)
        seconds = []
        # Whoever installs a package has its bytecode written once, not compiled at each call.
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        for _ in range(_STATUS_ROUNDS):
            start = time.perf_counter()
            subprocess.run(
                [*PARALLEL_LOOP, "status"], cwd=repository, env=environment, stdout=subprocess.DEVNULL, check=True
            )
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


def _add_all(folder: Path, items: list[Item]) -> None:
    Queue(folder, durable=False).add(items)
