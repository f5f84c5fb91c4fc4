"""Running one command to its end: with a deadline, with its output in a file, and with nothing left behind.

Guarantees: when `run` returns, no process that the command started is alive, whatever it forked; the log is bounded
while the command runs, too, so that endless output does not fill the disk.

Assumes: the caller is a subreaper and has no other children (see processes.py).
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .orders import Orders
from .processes import end_descendants, exit_descriptor
from .shortage import is_shortage

POLITE_SECONDS = 10.0  # between SIGTERM and SIGKILL for a program that has to end before it is done
LEFTOVER_SECONDS = 1.0  # the same for what a program left running when it ended by itself
_LOOK_SECONDS = 0.25  # how soon a cancelled item is noticed; also how soon an exit is, without pidfd
MAX_LOG_BYTES = 20_000_000
_WHILE_IT_RUNS = 10  # times MAX_LOG_BYTES may be there before the middle goes
_MOST_CATCHING_UP = 100  # reads while a command prints faster than the end of its output can be read
_TAIL_BYTES = 8192
_TAIL_LINES = 20
_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")

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

    `pulse` is called several times a second, also while what is left is being ended; it is where the worker
    writes its heartbeat and looks whether its claim is still valid. Raises OSError when there is no room to start it.
    """
    start = time.monotonic()
    if orders.stopping:
        return Run("stopped", 0.0)
    if not pulse():
        return Run("fenced", 0.0)
    try:
        process = _start(job)
    except (OSError, ValueError) as error:
        if is_shortage(error):  # no descriptor or process to be had just now is no fault of the command
            raise
        return Run("not-started", time.monotonic() - start, problem=_problem(job, error))
    try:
        ended = _wait(process, job, orders, pulse)
        seconds = time.monotonic() - start
    finally:
        # Also after success: programs leave servers and watchers behind.
        over = process.poll() is not None
        end_descendants(LEFTOVER_SECONDS if over else POLITE_SECONDS, meanwhile=pulse)
        process.poll()
        bound_log(job.log)
    return Run(ended, seconds, process.returncode if ended == "exited" else None)


def _problem(job: Job, error: OSError | ValueError) -> str:
    """Say why the command could not be started, and what to do."""
    if isinstance(error, UnicodeError):
        return "its command line holds text that cannot be encoded"
    if isinstance(error, ValueError):
        return "its command line holds a NUL character; give the prompt with `prompt: stdin` or `prompt: file`"
    name = job.argv[0]
    if error.errno == errno.E2BIG:
        return f"its command line is too long for the system ({name}); give the prompt with `prompt: stdin` or `file`"
    if isinstance(error, FileNotFoundError) and os.fspath(error.filename) == name:
        if "/" in name:
            return f"{name} does not exist, or the interpreter that its first line names does not"
        return f"{name} is not on PATH ({job.environ.get('PATH', '')})"
    return f"{error.strerror}: {error.filename or name}"


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


def _wait(process: subprocess.Popen[bytes], job: Job, orders: Orders, pulse: Callable[[], bool]) -> Ended:
    deadline = time.monotonic() + job.timeout_seconds
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
            bound_log(job.log, above_bytes=_WHILE_IT_RUNS * MAX_LOG_BYTES)
            orders.wait(min(_LOOK_SECONDS, deadline - time.monotonic()), *watched)
        return "exited"
    finally:
        if descriptor is not None:
            os.close(descriptor)


def bound_log(path: Path, above_bytes: int | None = None) -> None:
    """Cut the middle out of a log that is longer than `above_bytes` (MAX_LOG_BYTES); its beginning and end say most.

    A command that runs goes on writing: it appends, so what it writes next goes to the new end, but what it writes
    between the last read and the cut is lost. So that is done late, and its very end is cut only when it is over.
    """
    try:
        size = path.stat().st_size
        if size <= (MAX_LOG_BYTES if above_bytes is None else above_bytes):
            return
        with path.open("r+b") as log:
            log.seek(size - MAX_LOG_BYTES // 2)
            end = log.read(MAX_LOG_BYTES // 2)
            for _ in range(_MOST_CATCHING_UP):
                more = log.read(MAX_LOG_BYTES // 2)
                if not more:
                    break
                end = (end + more)[-MAX_LOG_BYTES // 2 :]
            log.truncate(MAX_LOG_BYTES // 4)
        with path.open("ab") as log:
            log.write(b"\n[... the middle of the output was left out here by parallel-loop ...]\n" + end)
    except OSError:
        return  # the program removed or replaced it, or the disk is full: no reason to stop the work


def output_tail(path: Path, since: int = 0) -> str:
    """Return the last lines that were written to `path` after offset `since`, safe to print."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = since if since <= size else 0  # the log was cut meanwhile
            log.seek(max(begin, size - _TAIL_BYTES))
            data = log.read(_TAIL_BYTES)
    except OSError:
        return ""
    return plain(data.decode(errors="replace"))


def plain(text: str) -> str:
    """Return the last lines of `text` without what moves a cursor or colours; of a progress bar, how it ended."""
    lines = _ESCAPE_SEQUENCE.sub("", text).split("\n")
    shown = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    clean = ["".join(c for c in line if c.isprintable() or c == "\t").rstrip() for line in shown]
    return "\n".join("\n".join(clean).strip().split("\n")[-_TAIL_LINES:])
