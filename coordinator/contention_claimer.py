"""The claimers of the contention harness: starting, releasing and hearing them. What they do: `contention_child.py`.

All are started once, each with an interpreter of its own, and race or drain when they are told to.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from .contention_child import ANSWER, DRAIN, DRAINED, MOMENT, ORDER, RACE, READY, Log, read_log

_LEAD_NANOSECONDS = 30_000  # for each claimer: about what it takes to wake one
_PATIENCE_SECONDS = 60.0
_SLOWEST_RATE = 10.0  # items a second; the slowest file system that was tried did 56 on a busy machine


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


class Share(NamedTuple):
    """What one claimer took and saw in a drain, by its own log."""

    name: str
    pid: int
    log: Log

    @property
    def completed(self) -> int:
        return sum(take.ended for take in self.log.takes)


class Claimers:
    """Claimer processes, started on entering and ended on leaving. `root` is the queue's, `logs` where they write."""

    def __init__(self, root: Path, logs: Path, count: int, seed: int, taker: str) -> None:
        self._arguments = (str(root), str(seed), taker)
        self._logs = logs
        self._names = [f"claimer-{index}" for index in range(1, count + 1)]
        self._processes: list[subprocess.Popen[bytes]] = []
        self._barrier, self._release = os.pipe()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in _end, when the processes are gone)

    def __enter__(self) -> Claimers:
        try:
            self._processes.extend(self._start(name) for name in self._names)
            self._collect(len(READY), _PATIENCE_SECONDS)  # all have opened the queue
        except BaseException:
            self._end()
            raise
        return self

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        # -P keeps the current directory off the path: from the repository's root it would hide the standard
        # library's queue.
        command = [sys.executable, "-P", "-m", "parallel_loop.coordinator.contention_child"]
        return subprocess.Popen(
            [*command, *self._arguments, name, str(self._barrier), str(self._log(name))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            pass_fds=[self._barrier],
        )

    def _log(self, name: str) -> Path:
        return self._logs / f"{name}.log"

    def race(self) -> list[Outcome]:
        """Let all claimers race for what is in the queue; return what each of them says."""
        self._begin(RACE)
        outcomes = []
        answers = self._collect(ANSWER.size, _PATIENCE_SECONDS)
        for name, process, answer in zip(self._names, self._processes, answers, strict=True):
            won, ended, lost, nanoseconds = ANSWER.unpack(answer)
            outcomes.append(Outcome(name, process.pid, won, ended, won or lost > 0, nanoseconds))
        return outcomes

    def drain(self, items: int) -> tuple[list[Share], float]:
        """Let all claimers take and complete what is in the queue; return their shares and how long it took."""
        start = self._begin(DRAIN, items)
        answers = self._collect(DRAINED.size, _PATIENCE_SECONDS + items / _SLOWEST_RATE)
        last = max(DRAINED.unpack(answer)[1] for answer in answers)
        pids = [process.pid for process in self._processes]
        shares = [Share(name, pid, read_log(self._log(name))) for name, pid in zip(self._names, pids, strict=True)]
        return shares, (last - start) / 1e9

    def _begin(self, what: bytes, items: int = 0) -> int:
        """Let all look at the listing and release them; return the moment of the start."""
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(ORDER.pack(what, items))
            except BrokenPipeError:
                raise self._died(process) from None
        self._collect(len(READY), _PATIENCE_SECONDS)
        start = time.monotonic_ns() + _LEAD_NANOSECONDS * len(self._processes)
        os.write(self._release, MOMENT.pack(start) * len(self._processes))
        return start

    def _collect(self, size: int, patience_seconds: float) -> list[bytes]:
        """Read `size` bytes from every claimer."""
        answers = []
        for process in self._processes:
            assert process.stdout is not None
            answer = b""
            while len(answer) < size:
                ready, _, _ = select.select([process.stdout], [], [], patience_seconds)
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
