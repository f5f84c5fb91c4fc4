"""Where the contention harness plays: a new queue in a directory of its own, and what is right for one item there."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..queue.atomic import Unreadable, Unsuitable
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

    def judge(
        self, iteration: int, item_id: str, winners: Sequence[Winner], late: Sequence[Winner] | None = None
    ) -> str | None:
        """Note and return what is wrong with an item, None when one claimer took it and its records say so.

        `late`: who took it before, when the first attempt was ended by somebody else.
        """
        problem = self._problem(item_id, winners) if late is None else self._late_problem(item_id, winners, late)
        if problem is not None:
            names = tuple(winner.name for winner in [*(late or ()), *winners])
            self.violations.append(Violation(iteration, item_id, names, problem))
        return problem

    def _late_problem(self, item_id: str, winners: Sequence[Winner], late: Sequence[Winner]) -> str | None:
        if len(late) != 1:
            return f"{len(late)} winners of the first attempt instead of 1"
        if late[0].ended:
            return "an attempt was ended that somebody else had ended before"
        return self._problem(item_id, winners, late)

    def _problem(self, item_id: str, winners: Sequence[Winner], late: Sequence[Winner] = ()) -> str | None:
        if len(winners) != 1:
            return f"{len(winners)} winners instead of 1"
        (winner,) = winners
        if not winner.ended:
            return "the winner could not end its attempt"
        try:
            entry = self.queue.entry(item_id)
        except Unreadable as error:
            return str(error)
        records = entry.records if entry else ()
        expected = [*("claimed", "cancelled", "retried") * len(late), "claimed", "done"]
        if (kinds := [record.kind for record in records]) != expected:
            return f"the records say {', '.join(kinds) or 'nothing'} instead of {', '.join(expected)}"
        claims = [record for record in records if record.kind == "claimed"]
        for claimer, claim in zip([*late, winner], claims, strict=True):
            if (claim.pid, claim.agent) != (claimer.pid, claimer.name):
                return f"{claimer.name} (pid {claimer.pid}) won, but the claim names pid {claim.pid} ({claim.agent})"
        return None


@contextmanager
def prepared(directory: Path) -> Iterator[Ground]:
    """Make a queue in a new directory below `directory`; it is removed at the end unless there were violations.

    Raises NoHardLinks, Unsuitable or OSError for what the directory cannot do.
    """
    directory.mkdir(parents=True, exist_ok=True)
    try:
        root = Path(tempfile.mkdtemp(prefix="contention-", dir=directory))
    except FileNotFoundError:  # what /proc says of a new directory, though it is there
        raise Unsuitable(directory, "takes no new directories") from None
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
    p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] / 1000 for share in (0.50, 0.99))  # nearest rank
    return Latency(p50, p99, ordered[-1] / 1000)
