"""One drain: some processes take and complete what one process has put there; then everything is counted.

Guarantees: all processes begin together, behind a barrier, with the system open and what was filled on the disk;
an item counts once however often it was handed out; a drain that takes too long is cut off and says so.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from array import array
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from pathlib import Path

import msgspec
from stores import FORK, Store
from systems import System, number_of

_START_SECONDS = 120.0  # for 32 processes to open their queue
_AGAIN_SECONDS = 0.5  # a cut-off that a library swallowed comes again


class Sample(msgspec.Struct, frozen=True):
    """What one drain came to. `missed` is None when it was cut off; times are of claims, in microseconds."""

    system: str
    durable: bool
    processes: int
    depth: int
    completed: int
    seconds: float
    mean: float
    p50: float
    p99: float
    worst: float
    least_share: float
    duplicates: int
    missed: int | None
    refused: int

    @property
    def rate(self) -> float:
        return self.completed / self.seconds


class Cell(msgspec.Struct, frozen=True):
    """What is varied."""

    durable: bool
    processes: int
    depth: int


class Log(msgspec.Struct):
    """What one process did: the numbers of the items in order, how long each claim took, when it began and ended."""

    started: int
    ended: int
    claimed: list[int]
    completed: list[int]
    nanoseconds: list[int]
    refused: int
    cut_off: bool


class CutOff(BaseException):
    """The time for this drain is over. Not an Exception, so that libraries let it pass."""


def measure(system: System, cell: Cell, store: Store, limit_seconds: float) -> Sample:
    """Fill the system, drain it once, and remove it."""
    with store.filled(system, cell.depth) as folder:
        os.sync()  # what was filled must not be written while others are timed
        logs = _drain(system, folder, cell, limit_seconds)
    return count(system.name, cell, logs, limit_seconds)


def _drain(system: System, folder: Path, cell: Cell, limit_seconds: float) -> list[Log]:
    barrier = FORK.Barrier(cell.processes)
    ends = []
    for _ in range(cell.processes):
        ours, theirs = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_work, args=(system, folder, cell.durable, barrier, limit_seconds, theirs))
        process.start()
        theirs.close()
        ends.append((process, ours))
    logs = []
    for process, pipe in ends:
        try:
            logs.append(msgspec.msgpack.decode(pipe.recv_bytes(), type=Log))
        except EOFError:
            raise SystemExit(f"{system.name}: a process ended before it had drained {cell}") from None
        process.join()
    return logs


def _work(
    system: System, folder: Path, durable: bool, barrier: Barrier, limit_seconds: float, pipe: Connection
) -> None:
    station = system.open(folder, durable)
    claimed: list[str] = []
    nanoseconds, completed = array("q"), array("q")
    refused, cut_off = 0, False
    clock = time.perf_counter_ns
    barrier.wait(_START_SECONDS)
    _cut_off_after(limit_seconds)
    before = started = ended = clock()
    try:
        while (taken := station.take()) is not None:
            nanoseconds.append(clock() - before)
            claimed.append(taken[1])
            if station.complete(taken[0]):
                completed.append(len(claimed) - 1)
            else:
                refused += 1
            before = ended = clock()
        signal.setitimer(signal.ITIMER_REAL, 0)
    except CutOff:
        signal.setitimer(signal.ITIMER_REAL, 0)
        cut_off = True
    numbers = [number_of(payload) for payload in claimed]
    done = [numbers[index] for index in completed]
    pipe.send_bytes(msgspec.msgpack.encode(Log(started, ended, numbers, done, list(nanoseconds), refused, cut_off)))


def _cut_off_after(seconds: float) -> None:
    def cut_off(signum: int, frame: object) -> None:
        raise CutOff

    signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)


def count(name: str, cell: Cell, logs: Sequence[Log], limit_seconds: float) -> Sample:
    """Check exactly-once over all processes, and sum up."""
    handed_out = Counter(number for log in logs for number in log.claimed)
    completed = {number for log in logs for number in log.completed}
    times = sorted(time for log in logs for time in log.nanoseconds) or [int(limit_seconds * 1e9)]
    started = min(log.started for log in logs)
    cut_off = any(log.cut_off for log in logs)
    ended = max(log.ended for log in logs)
    if cut_off:
        ended = max(ended, started + int(limit_seconds * 1e9))
    shares = [len(log.claimed) for log in logs]
    return Sample(
        system=name,
        durable=cell.durable,
        processes=cell.processes,
        depth=cell.depth,
        completed=len(completed),
        seconds=(ended - started) / 1e9,
        mean=statistics.fmean(times) / 1e3,
        p50=times[len(times) // 2] / 1e3,
        p99=times[len(times) * 99 // 100] / 1e3,
        worst=times[-1] / 1e3,
        least_share=min(shares) * len(shares) / (sum(shares) or 1),
        duplicates=sum(handed_out.values()) - len(handed_out),
        missed=None if cut_off else cell.depth - len(completed),
        refused=sum(log.refused for log in logs),
    )
