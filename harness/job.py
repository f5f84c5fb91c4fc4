"""A command to run, how it ended, and the words for that: see runner.py, which runs it."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .budgets import Cap, apart
from .configuration.units import format_duration, format_size
from .diagnose import MOST_IDLE_CALLS
from .dialects.events import Waits
from .dialects.story import CIRCLES
from .keeping.bounds import UNBOUNDED, Bounds
from .keeping.kept import Excess
from .listener import Listener

_SHELLS_WORDS = {126: " (a command in it cannot be executed)", 127: " (command not found)"}  # POSIX, 2.8.2

Ended = Literal[
    "exited",
    "timed-out",
    "stopped",
    "interrupted",
    "fenced",
    "not-started",
    "over-limit",
    "stalled",
    "looping",
    "announced",
    "over-budget",
]


@dataclass(frozen=True)
class Job:
    """A command to run. Its standard input is the file `stdin`, or empty; its output is appended to `log`.

    After `no_progress_seconds` without any sign of work it counts as hung, after `quiet_seconds` if it waits for no
    tool; in `wait_file` it may say that it waits, in `interrupt_file` a person that it is to stop. What the `listener`
    hears says more, and also whether it costs more than its `cap`. One that is to go on later has `stop_seconds` to
    save where it is; so has whoever is asked by another `stop_signal` than SIGTERM: it has something to say at its end.
    """

    argv: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    log: Path
    timeout_seconds: float
    stdin: Path | None = None
    bounds: Bounds = UNBOUNDED
    no_progress_seconds: float = float("inf")
    wait_file: Path | None = None
    quiet_seconds: float = float("inf")
    stop_seconds: float | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    interrupt_file: Path | None = None
    listener: Listener | None = None
    cap: Cap | None = None


@dataclass(frozen=True)
class Run:
    """How a job ended: `fenced` means that the claim was lost meanwhile, `stopped` that we were told to stop."""

    ended: Ended
    seconds: float
    returncode: int | None = None
    problem: str | None = None
    left: int = 0  # processes that it started and that could not be ended
    waits: Waits | None = None  # what it had said that it waits for, before it was ended

    @property
    def ok(self) -> bool:
        return self.ended == "exited" and self.returncode == 0

    @property
    def why_left(self) -> str:
        """Say why what it started is not all gone, for when it is not."""
        return f"{self.left} of the processes that it started are another user's or hang in the kernel, and run on"

    def describe(self, what: str) -> str:
        """Say in one line how it ended, `what` being the name of the command."""
        code, seconds = self.returncode, format_duration(self.seconds)
        ends = {
            "exited": f"ended with exit code {code}{_SHELLS_WORDS.get(code or 0, '')}"
            if code is None or code >= 0
            else f"was ended by signal {-code}",
            "timed-out": f"was stopped after {seconds}, its time limit",
            "not-started": f"could not be started: {self.problem}",
            "stopped": "was stopped by us",
            "fenced": "was stopped because the item was cancelled or taken back",
            "interrupted": "was interrupted by a person",
        }
        return f"{what} {ends.get(self.ended, f'was stopped after {seconds}: {self.problem}')}"


def reason(ended: Ended, excess: Excess | None, job: Job) -> str | None:
    """Say what was wrong with a command that we ended for what it did, and which key allows more."""
    for_seconds = format_duration(job.no_progress_seconds)
    told = _told(ended, job)
    if told is not None:
        return told
    if ended == "stalled":
        is_sooner = job.quiet_seconds < job.no_progress_seconds
        how_long = format_duration(job.quiet_seconds) if is_sooner else for_seconds
        key = "silent" if is_sooner else "health.no_progress"
        return f"for {how_long} it printed nothing, used no processor time and changed no file ({key})"
    if ended == "looping":
        return f"for {for_seconds} it printed the same lines over and over and changed no file (health.no_progress)"
    if ended != "over-limit" or excess is None:
        return None
    name, amount = excess
    limit = job.bounds.limit_of(name)
    if name == "processes":
        return f"it ran {amount} processes at once, its limit is {limit} ({job.bounds.key_of(name)})"
    what = "used {} of memory" if name == "memory" else "made its worktree {} large"
    return f"it {what.format(format_size(amount))}, its limit is {format_size(limit)} ({job.bounds.key_of(name)})"


def _told(ended: Ended, job: Job) -> str | None:
    """Say why a program that tells what it does was ended, where that is the reason."""
    if job.listener is None:
        return None
    story, quiet = job.listener.story, job.quiet_seconds
    if ended == "over-budget" and job.cap is not None:
        cost, most = apart(story.usage(job.cap.before).usd or 0.0, job.cap.usd)
        return f"it has cost {cost}, and may cost {most} ({job.cap.key})"
    idle = f"it called {MOST_IDLE_CALLS} tools and changed no file"
    if ended == "looping" and (story.trouble is not None or story.tools >= MOST_IDLE_CALLS):
        return idle if story.trouble is None else CIRCLES[story.trouble]
    if ended == "announced" and story.waits is not None:
        return f"it is going to wait for {format_duration(story.waits.seconds or 0)}: {story.waits.text}"
    if ended == "stalled" and quiet < job.no_progress_seconds and not story.open_tools:
        said = "" if story.waits is None else f", after it had said: {story.waits.text}"
        return f"for {format_duration(quiet)} it said nothing and used no processor time (silent){said}"
    return None


def problem(job: Job, error: OSError | ValueError) -> str:
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
        return f"{name} is not on PATH"
    return f"{error.strerror}: {error.filename or name}"
