"""Running one command to its end: with a deadline, with its output in a file, and with nothing left behind.

Guarantees: when `run` returns, no process that the command started is alive, whatever it forked.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .orders import Orders
from .processes import end_descendants, exit_descriptor

POLITE_SECONDS = 10.0  # between SIGTERM and SIGKILL for a program that has to end before it is done
LEFTOVER_SECONDS = 1.0  # the same for what a program left running when it ended by itself
_LOOK_SECONDS = 0.25  # how soon a cancelled item is noticed; also how soon an exit is, without pidfd
_MAX_LOG_BYTES = 20_000_000
_TAIL_BYTES = 8192
_TAIL_LINES = 20

Ended = Literal["exited", "timed-out", "stopped", "fenced", "not-started"]


@dataclass(frozen=True)
class Job:
    """A command to run. Its standard input is the file `stdin`, or empty; its output is appended to `log`."""

    argv: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    log: Path
    timeout_seconds: float
    stdin: Path | None = None


@dataclass(frozen=True)
class Run:
    """How a job ended: `fenced` means that the claim was lost meanwhile, `stopped` that we were told to stop."""

    ended: Ended
    seconds: float
    returncode: int | None = None
    problem: str | None = None

    @property
    def ok(self) -> bool:
        return self.ended == "exited" and self.returncode == 0

    def describe(self, what: str) -> str:
        """Say in one line how it ended, `what` being the name of the command."""
        match self.ended:
            case "exited" if self.returncode is not None and self.returncode < 0:
                return f"{what} was ended by signal {-self.returncode}"
            case "exited":
                return f"{what} ended with exit code {self.returncode}"
            case "timed-out":
                return f"{what} was stopped after {self.seconds:.0f} s, its time limit"
            case "not-started":
                return f"{what} could not be started: {self.problem}"
            case "stopped":
                return f"{what} was stopped by us"
            case "fenced":
                return f"{what} was stopped because the item was cancelled or taken back"


def run(job: Job, orders: Orders, pulse: Callable[[], bool]) -> Run:
    """Run `job` until it ends, its time is over, `orders` say stop, or `pulse` returns False.

    `pulse` is called several times a second; it is where the worker writes its heartbeat and looks
    whether its claim is still valid.
    """
    start = time.monotonic()
    try:
        process = _start(job)
    except OSError as error:
        where = f" (looked in PATH={job.environ.get('PATH', '')})" if isinstance(error, FileNotFoundError) else ""
        problem = f"{error.strerror}: {error.filename or job.argv[0]}{where}"
        return Run("not-started", time.monotonic() - start, problem=problem)
    try:
        ended = _wait(process, start + job.timeout_seconds, orders, pulse)
        seconds = time.monotonic() - start
    finally:
        # Also after success: programs leave servers and watchers behind.
        over = process.poll() is not None
        end_descendants(LEFTOVER_SECONDS if over else POLITE_SECONDS)
        returncode = process.wait()
        bound_log(job.log)
    return Run(ended, seconds, returncode)


def _start(job: Job) -> subprocess.Popen[bytes]:
    with (job.stdin or Path(os.devnull)).open("rb") as stdin, job.log.open("ab") as log:
        return subprocess.Popen(
            job.argv,
            cwd=job.directory,
            env=dict(job.environ),
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(process: subprocess.Popen[bytes], deadline: float, orders: Orders, pulse: Callable[[], bool]) -> Ended:
    descriptor = exit_descriptor(process.pid)
    watched = () if descriptor is None else (descriptor,)
    try:
        while process.poll() is None:
            if orders.stopping:
                return "stopped"
            if time.monotonic() >= deadline:
                return "timed-out"
            if not pulse():
                return "fenced"
            orders.wait(min(_LOOK_SECONDS, deadline - time.monotonic()), *watched)
        return "exited"
    finally:
        if descriptor is not None:
            os.close(descriptor)


def bound_log(path: Path) -> None:
    """Cut the middle out of a log that is too long; its beginning and its end say most."""
    size = path.stat().st_size
    if size <= _MAX_LOG_BYTES:
        return
    head, tail = _MAX_LOG_BYTES // 4, _MAX_LOG_BYTES // 2
    with path.open("r+b") as log:
        log.seek(size - tail)
        end = log.read()
        log.seek(head)
        log.write(b"\n[... %d bytes left out here by parallel-loop ...]\n" % (size - head - tail))
        log.write(end)
        log.truncate()


def output_tail(path: Path, since: int = 0) -> str:
    """Return the last lines that were written to `path` after offset `since`, safe to print."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(min(since, size), size - _TAIL_BYTES))
            data = log.read()
    except FileNotFoundError:
        return ""
    lines = data.decode(errors="replace").splitlines()[-_TAIL_LINES:]
    text = "\n".join("".join(c for c in line if c.isprintable() or c == "\t").rstrip() for line in lines)
    return text.strip()
