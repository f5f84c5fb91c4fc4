"""What a queue with a long history costs: a million finished items, a hundred thousand waiting.

Run with `make bench-size`; it fills 4 GB of disk for ten minutes and is no part of `make bench`. Prints whole processes
(median of five, with their peak memory) at each size, and the mean of a thousand takes.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from overhead import PARALLEL_LOOP, call, make_repository
from stores import in_child

from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Item
from parallel_loop.queue.store import Queue
from parallel_loop.queue.taking import Taker
from parallel_loop.queue.tidying import tidy

_BATCH = 100_000
_ROUNDS = 5
_TAKES = 1_000
COMMANDS = (("status",), ("status", "--json"), ("list", "--state", "failed"), ("show", "done-7"), ("list",), ("tidy",))


def add(folder: Path, name: str, first: int, last: int) -> None:
    items = (
        Item(id=f"{name}-{number}", title=f"the title of item {number}", added_at="") for number in range(first, last)
    )
    Queue(folder, durable=False).add(list(items))


def finish_all(folder: Path) -> None:
    queue = Queue(folder, durable=False)
    taker = Taker(queue, Owner("bench", os.getpid()))
    while (claim := taker.take()) is not None:
        taker.complete(claim)
    taker.close()
    tidy(queue)


def take_some(folder: Path) -> str:
    queue = Queue(folder, durable=False)
    taker = Taker(queue, Owner("bench", os.getpid()))
    start = time.perf_counter()
    for _ in range(_TAKES):
        claim = taker.take()
        assert claim is not None
        taker.complete(claim)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{seconds / _TAKES * 1e6:.0f} µs to take and complete one, {memory:.0f} MB"


def measure(repository: Path) -> Iterator[str]:
    # Whoever installs a package has its bytecode written once, not compiled at each call.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    for command in COMMANDS:
        seconds, memory = [], 0
        for _ in range(_ROUNDS):
            start = time.perf_counter()
            process = subprocess.Popen(
                [*PARALLEL_LOOP, *command],
                cwd=repository,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            seconds.append(time.perf_counter() - start)
            memory = max(memory, usage.ru_maxrss)
        yield f"{' '.join(command):22} {statistics.median(seconds):8.2f} s {memory / 1024:6.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--dir", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="size-", dir=arguments.dir))
    try:
        repository = make_repository(root / "repository")
        call(repository, "init")
        folder = repository / ".parallel-loop" / "queue"
        for first in range(0, arguments.finished, _BATCH):
            start = time.perf_counter()
            in_child(add, folder, "done", first, min(first + _BATCH, arguments.finished))
            in_child(finish_all, folder)
            print(f"{first + _BATCH:,} finished and packed, {time.perf_counter() - start:.0f} s", file=sys.stderr)
        for what in ("nothing waiting", f"{arguments.waiting:,} waiting"):
            print(f"\n{arguments.finished:,} finished, {what}", *measure(repository), sep="\n  ", flush=True)
            if what == "nothing waiting":
                in_child(add, folder, "waiting", 0, arguments.waiting)
        print(" ", in_child(take_some, folder))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
