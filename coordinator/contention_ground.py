"""Where the contention harness plays: a new queue in a directory of its own, and what is right for one item there."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..queue.atomic import Unreadable
from ..queue.probe import Trial
from ..queue.store import Queue
from . import file_system

TAKER = "parallel_loop.queue.taking:Taker"


class Latency(msgspec.Struct, frozen=True):
    """How long calls of `take` lasted, in microseconds."""

    p50_us: float
    p99_us: float
    worst_us: float


class Violation(msgspec.Struct, frozen=True):
    """An item that went wrong; `iteration` is that of its race, in a drain its place in the queue, from 1."""

    iteration: int
    item: str
    winners: tuple[str, ...]
    problem: str


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What races and drains both have to show."""

    claimers: int
    seed: int
    seconds: float
    violations: tuple[Violation, ...]
    kept: str | None
    directory: str
    file_system: str
    probed: tuple[Trial, ...]


class Winner(NamedTuple):
    """A claimer that says that it took an item."""

    name: str
    pid: int
    ended: bool


class Ground:
    """The directory of one run: the queue, the claimers' logs beside it, and what the file system can do."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.queue = Queue(root / "queue", durable=False)
        self.queue.create()
        self.file_system = file_system.type_of(root)
        self.probed = tuple(file_system.examine(root))
        self.violations: list[Violation] = []

    @property
    def kept(self) -> str | None:
        """Where the files are to be looked at, None when there is nothing to see."""
        return _text(self.root) if self.violations else None

    @property
    def directory(self) -> str:
        return _text(self.root.parent)

    def judge(self, iteration: int, item_id: str, winners: Sequence[Winner]) -> str | None:
        """Note and return what is wrong with an item, None when one claimer took it and its records say so."""
        problem = self._problem(item_id, winners)
        if problem is not None:
            names = tuple(winner.name for winner in winners)
            self.violations.append(Violation(iteration, item_id, names, problem))
        return problem

    def _problem(self, item_id: str, winners: Sequence[Winner]) -> str | None:
        if len(winners) != 1:
            return f"{len(winners)} winners instead of 1"
        (winner,) = winners
        if not winner.ended:
            return "the winner could not end its attempt"
        try:
            entry = self.queue.entry(item_id)
        except Unreadable as error:
            return str(error)
        kinds = [record.kind for record in entry.records] if entry else []
        if entry is None or kinds != ["claimed", "done"]:
            return f"the records say {', '.join(kinds) or 'nothing'} instead of claimed, done"
        if entry.records[0].pid != winner.pid:
            return f"{winner.name} (pid {winner.pid}) won, but the claim names pid {entry.records[0].pid}"
        return None


@contextmanager
def prepared(directory: Path) -> Iterator[Ground]:
    """Make a queue in a new directory below `directory`; it is removed at the end unless there were violations.

    Raises NoHardLinks, Unsuitable or OSError for what the directory cannot do.
    """
    directory.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="contention-", dir=directory))
    ground: Ground | None = None
    try:
        ground = Ground(root)
        yield ground
    finally:
        if ground is None or not ground.violations:
            shutil.rmtree(root, ignore_errors=True)


def _text(path: Path) -> str:
    """A path may hold bytes that are no UTF-8, which JSON has no way to say."""
    return os.fsencode(path).decode(errors="backslashreplace")


def latency(nanoseconds: Iterable[int]) -> Latency:
    ordered = sorted(nanoseconds)
    if not ordered:
        return Latency(0.0, 0.0, 0.0)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] / 1000 for share in (0.50, 0.99))
    return Latency(p50, p99, ordered[-1] / 1000)
