"""The racing processes of the contention harness, and the side that starts and releases them.

All claimers are started once, each with an interpreter of its own. For a race each is told to look at the
listing, answers, and waits at the barrier: one pipe that all of them read. The release is one write to it
of the moment of the start; whoever wakes early yields the processor until then, so that also with ten
processes on two cores none is through before the others are awake.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import select
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from ..queue.clock import utc_now
from ..queue.hints import Hint
from ..queue.markers import Owner
from ..queue.records import Record
from ..queue.store import Queue
from ..queue.taking import Claim

_MOMENT = struct.Struct("<Q")  # nanoseconds of the monotonic clock
_ANSWER = struct.Struct("<??BQ")  # won, ended, races lost at the link, nanoseconds of the take
_LEAD_NANOSECONDS = 30_000  # for each claimer: about what it takes to wake one
_SPREAD_NANOSECONDS = 20_000  # around the start, so that not the same claimer comes first every time
_PATIENCE_SECONDS = 60.0
_LOOK = b"?"


class ClaimerDied(Exception):
    """A claimer ended or did not answer; the message has what it said."""


class Outcome(NamedTuple):
    """What one claimer has to say about one race."""

    name: str
    pid: int
    won: bool
    ended: bool
    reached_link: bool
    nanoseconds: int


class RacingTaker(Protocol):
    """What a claimer needs of a taker."""

    lost_links: int

    def peek(self) -> Hint | None: ...
    def take(self) -> Claim | None: ...
    def end(self, claim: Claim, record: Record) -> bool: ...


class Claimers:
    """Claimer processes, started on entering and ended on leaving."""

    def __init__(self, root: Path, count: int, seed: int, taker: str) -> None:
        self._arguments = (str(root), str(seed), taker)
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._barrier, self._release = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end, when the processes are gone)

    def __enter__(self) -> Claimers:
        try:
            for index in range(1, self._count + 1):
                self._processes.append(self._start(index))
            self._collect(1)  # all have opened the queue
        except BaseException:
            self._end()
            raise
        return self

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        # -P keeps the current directory off the path: from the repository's root it would hide the standard
        # library's queue.
        command = [sys.executable, "-P", "-m", "parallel_loop.coordinator.contention_claimer"]
        return subprocess.Popen(
            [*command, *self._arguments, str(index), str(self._barrier)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            pass_fds=[self._barrier],
        )

    def race(self) -> list[Outcome]:
        """Let all claimers race for what is in the queue; return what each of them says."""
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(_LOOK)
            except BrokenPipeError:
                raise self._died(process) from None
        self._collect(1)
        start = time.monotonic_ns() + _LEAD_NANOSECONDS * self._count
        os.write(self._release, _MOMENT.pack(start) * self._count)
        outcomes = []
        answers = self._collect(_ANSWER.size)
        for index, (process, answer) in enumerate(zip(self._processes, answers, strict=True), start=1):
            won, ended, lost, nanoseconds = _ANSWER.unpack(answer)
            outcomes.append(Outcome(f"claimer-{index}", process.pid, won, ended, won or lost > 0, nanoseconds))
        return outcomes

    def _collect(self, size: int) -> list[bytes]:
        """Read `size` bytes from every claimer."""
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            answer = b""
            while len(answer) < size:
                ready, _, _ = select.select([process.stdout], [], [], _PATIENCE_SECONDS)
                more = os.read(process.stdout.fileno(), size - len(answer)) if ready else b""
                if not more:
                    raise self._died(process)
                answer += more
            answers.append(answer)
        return answers

    def _died(self, process: subprocess.Popen[bytes]) -> ClaimerDied:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip()
        state = "does not answer" if process.returncode is None else f"ended with {process.returncode}"
        return ClaimerDied(f"the claimer with pid {process.pid} {state}: {said or 'it said nothing'}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.stdout.close()
        os.close(self._barrier)
        os.close(self._release)
        self._errors.close()


def claim_in_races(taker: RacingTaker, barrier: int, chance: random.Random) -> None:
    """Take part in races until standard input ends."""
    os.write(1, b"!")
    while os.read(0, 1):
        taker.peek()
        os.write(1, b"!")
        (start,) = _MOMENT.unpack(os.read(barrier, _MOMENT.size))
        start += chance.randrange(_SPREAD_NANOSECONDS)
        while time.monotonic_ns() < start:
            os.sched_yield()
        before = taker.lost_links
        began = time.perf_counter_ns()
        claim = taker.take()
        nanoseconds = time.perf_counter_ns() - began
        ended = claim is not None and taker.end(claim, Record(kind="done", at=utc_now(), outcome="done"))
        os.write(1, _ANSWER.pack(claim is not None, ended, min(taker.lost_links - before, 255), nanoseconds))


def main(arguments: list[str]) -> None:
    """Be claimer `index` of the queue in `root`."""
    root, seed, taker_name, index, barrier = arguments
    module, _, name = taker_name.partition(":")
    queue = Queue(Path(root), durable=False)
    taker = getattr(importlib.import_module(module), name)(queue, Owner(f"claimer-{index}", os.getpid()))
    with contextlib.suppress(KeyboardInterrupt):
        claim_in_races(taker, int(barrier), random.Random(f"{seed} {index}"))  # noqa: S311 (not a secret)


if __name__ == "__main__":
    main(sys.argv[1:])
