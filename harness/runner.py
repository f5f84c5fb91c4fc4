"""Running one command to its end: within its limits, with its output in a file, and with nothing left behind.

Guarantees: when `run` returns, no process that the command started is alive, whatever it forked (see keeper.py); the
log is bounded while the command runs, too, so that endless output does not fill the disk.

Assumes: the caller is a subreaper and has no children that must outlive a keeper that was killed.
"""

from __future__ import annotations

import errno
import logging
import os
import shlex
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .budgets import Cap
from .configuration.units import format_duration, format_size
from .diagnose import MOST_IDLE_CALLS, Patience, Verdict
from .dialects.story import CIRCLES
from .keeping.bounds import UNBOUNDED, Bounds
from .keeping.kept import Command, Kept
from .keeping.tree import end_below
from .listener import Listener
from .logs import bound_log
from .orders import Orders
from .shortage import is_shortage
from .telling import Telling
from .watch import Watch

_log = logging.getLogger(__name__)
POLITE_SECONDS = 10.0  # between SIGTERM and SIGKILL for a program that is to go on later, and may save where it is
SHORT_SECONDS = 0.5  # the same for one that nobody waits for any more
UNHEARD_SECONDS = 35.0  # after which a keeper that was told to end does not hear us: stopped, or stuck in the kernel
_TELL_SECONDS = 2.0  # between what the keeper says of the usage of its tree
_LOOK_SECONDS = 0.25  # how soon a cancelled item is noticed
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
_GOES_ON_LATER: set[Ended] = {"stopped", "interrupted", "announced"}


@dataclass(frozen=True)
class Job:
    """A command to run. Its standard input is the file `stdin`, or empty; its output is appended to `log`.

    After `no_progress_seconds` without any sign of work it counts as hung, after `quiet_seconds` if it waits for no
    tool; in `wait_file` it may say that it waits, in `interrupt_file` a person that it is to stop. What the `listener`
    hears says more, and also whether it costs more than its `cap`. One that is to go on later has `stop_seconds` to
    save where it is.
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


def run(job: Job, orders: Orders, pulse: Callable[[Watch | None], bool]) -> Run:
    """Run `job` until it ends, its time is over, a limit is passed, it hangs, or we are told to stop it.

    That is by `orders`, or by `pulse` returning False. `pulse` is called several times a second, also while what is
    left is being ended; it is where the worker writes its heartbeat and looks whether its claim is still valid.

    Raises OSError when there is no room to start it, which is no fault of the command.
    """
    start = time.monotonic()
    if orders.stopping:
        return Run("stopped", 0.0)
    if not pulse(None):
        return Run("fenced", 0.0)
    _log.debug("runs %s in %s", shlex.join(job.argv), job.directory, extra={"output": job.log})
    try:
        tell_seconds = min(_TELL_SECONDS, job.no_progress_seconds / 4)
        kept = Kept(Command(job.argv, job.directory, job.environ, job.log, job.stdin, job.bounds, tell_seconds))
    except (OSError, ValueError) as error:
        if is_shortage(error):
            raise
        return Run("not-started", time.monotonic() - start, problem=_problem(job, error))
    telling = Telling(job.wait_file, job.listener, job.cap)
    watch = Watch(job.log, job.directory, job.bounds, _patience(job), telling)
    try:
        ended = _wait(kept, watch, telling, job, orders, pulse)
        seconds = time.monotonic() - start
        _end(kept, ended, job, orders, lambda: pulse(watch))
        watch.look(kept.usage, kept.excess)
    finally:
        kept.close()
        if job.listener is not None:
            job.listener.end()
        bound_log(job.log)
        if job.listener is not None:
            job.listener.close()
    _log.debug("%s after %.1f s, exit code %s", ended, seconds, kept.returncode)
    if kept.refusal is not None:
        if is_shortage(kept.refusal):
            raise kept.refusal
        return Run("not-started", seconds, problem=_problem(job, kept.refusal))
    if watch.excess is not None:  # however it looked when it ended: the kernel, too, ends what is over a limit
        ended = "over-limit"
    return Run(ended, seconds, kept.returncode if ended == "exited" else None, _reason(ended, watch, job), kept.left)


def _patience(job: Job) -> Patience:
    return Patience(float("inf"), job.no_progress_seconds, job.quiet_seconds)


def _reason(ended: Ended, watch: Watch, job: Job) -> str | None:
    """Say what was wrong with a command that we ended for what it did, and which key allows more."""
    for_seconds = format_duration(job.no_progress_seconds)
    told = _told(ended, job)
    if told is not None:
        return told
    if ended == "stalled":
        return f"for {for_seconds} it printed nothing, used no processor time and changed no file (health.no_progress)"
    if ended == "looping":
        return f"for {for_seconds} it printed the same lines over and over and changed no file (health.no_progress)"
    if ended != "over-limit" or watch.excess is None:
        return None
    name, amount = watch.excess
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
        usd = story.usage(job.cap.before).usd or 0.0
        return f"it has cost ${usd:.2f}, and may cost ${job.cap.usd:.2f} ({job.cap.key})"
    idle = f"it called {MOST_IDLE_CALLS} tools and changed no file"
    if ended == "looping" and (story.trouble is not None or story.tools >= MOST_IDLE_CALLS):
        return idle if story.trouble is None else CIRCLES[story.trouble]
    if ended == "announced" and story.waits is not None:
        return f"it is going to wait for {format_duration(story.waits.seconds or 0)}: {story.waits.text}"
    if ended == "stalled" and quiet < job.no_progress_seconds and not story.open_tools:
        said = "" if story.waits is None else f", after it had said: {story.waits.text}"
        return f"for {format_duration(quiet)} it said nothing and used no processor time (silent){said}"
    return None


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
        return f"{name} is not on PATH"
    return f"{error.strerror}: {error.filename or name}"


def _wait(
    kept: Kept, watch: Watch, telling: Telling, job: Job, orders: Orders, pulse: Callable[[Watch | None], bool]
) -> Ended:
    deadline = time.monotonic() + job.timeout_seconds
    while True:
        kept.hear()
        watch.look(kept.usage, kept.excess)
        ended = _how_it_ended(kept, watch, telling)
        if ended is not None:
            return ended
        if orders.stopping:
            return "stopped"
        if job.interrupt_file is not None and _is_file(job.interrupt_file):
            return "interrupted"
        if time.monotonic() >= deadline:
            return "timed-out"
        if not pulse(watch):
            return "fenced"
        cut = bound_log(job.log, while_it_runs=True)
        if job.listener is not None:
            job.listener.note_cut(*cut)
        kept.wake()  # who stops its keeper is not to escape its limits, nor to seem to run when it has ended
        orders.wait(min(_LOOK_SECONDS, deadline - time.monotonic()), kept.descriptor)


def _is_file(path: Path) -> bool:
    """Tell whether a file of that name is there: what else a program puts there is no word of a person."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _how_it_ended(kept: Kept, watch: Watch, telling: Telling) -> Ended | None:
    """Tell whether it has ended by itself, or has to be ended for what it does."""
    if kept.refusal is not None:
        return "not-started"
    if watch.excess is not None:
        return "over-limit"
    if kept.returncode is not None or kept.is_gone:
        return "exited"
    if telling.costs_too_much:
        return "over-budget"
    if telling.waits_long:
        return "announced"
    endings: dict[Verdict, Ended] = {"silent": "stalled", "looping": "looping"}
    return endings.get(watch.verdict)


def _end(kept: Kept, ended: Ended, job: Job, orders: Orders, pulse: Callable[[], object]) -> None:
    """Have all of it ended. Also after success: programs leave servers and watchers behind."""
    goes_on_later = ended in _GOES_ON_LATER or (ended == "stalled" and job.listener is not None)
    polite_seconds = POLITE_SECONDS if job.stop_seconds is None else job.stop_seconds
    grace_seconds = min(orders.grace_seconds, polite_seconds if goes_on_later else SHORT_SECONDS)
    if kept.returncode is None:  # else the keeper does it by itself
        kept.end(grace_seconds)
    deadline = time.monotonic() + grace_seconds + UNHEARD_SECONDS
    kept.hear()
    while not kept.is_gone and time.monotonic() < deadline:
        pulse()
        kept.wake()
        orders.wait(_LOOK_SECONDS, kept.descriptor)
        if orders.grace_seconds < grace_seconds:  # the coordinator has died meanwhile
            grace_seconds = orders.grace_seconds
            kept.end(grace_seconds)
        kept.hear()
    if not kept.is_gone:
        kept.kill()
    if kept.was_lost:
        end_below(0.0)
