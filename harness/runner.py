"""Running one command to its end: within its limits, with its output in a file, and with nothing left behind.

Guarantees: when `run` returns, no process that the command started is alive, whatever it forked (see keeper.py); the
log is bounded while the command runs, too, so that endless output does not fill the disk.

Assumes: the caller is a subreaper and has no children that must outlive a keeper that was killed.
"""

from __future__ import annotations

import logging
import shlex
import signal
import stat
import time
from collections.abc import Callable
from pathlib import Path

from .diagnose import Patience, Verdict
from .job import Ended, Job, Run, problem, reason
from .keeping.kept import Command, Kept
from .keeping.tree import end_below
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

_GOES_ON_LATER: set[Ended] = {"stopped", "interrupted", "announced"}


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
        return Run("not-started", time.monotonic() - start, problem=problem(job, error))
    telling = Telling(job.wait_file, job.listener, job.cap)
    watch = Watch(job.log, job.directory, job.bounds, _patience(job), telling)
    try:
        ended = _wait(kept, watch, telling, job, orders, pulse)
        seconds = time.monotonic() - start
        why, waits = reason(ended, watch.excess, job), None if job.listener is None else job.listener.story.waits
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
        return Run("not-started", seconds, problem=problem(job, kept.refusal))
    if watch.excess is not None:  # however it looked when it ended: the kernel, too, ends what is over a limit
        ended, why = "over-limit", reason("over-limit", watch.excess, job)
    return Run(ended, seconds, kept.returncode if ended == "exited" else None, why, kept.left, waits)


def _patience(job: Job) -> Patience:
    return Patience(float("inf"), job.no_progress_seconds, job.quiet_seconds)


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
    is_waited_for = goes_on_later or job.stop_signal is not signal.SIGTERM
    grace_seconds = min(orders.grace_seconds, polite_seconds if is_waited_for else SHORT_SECONDS)
    if kept.returncode is None:  # else the keeper does it by itself
        kept.end(grace_seconds, job.stop_signal)
    deadline = time.monotonic() + grace_seconds + UNHEARD_SECONDS
    kept.hear()
    while not kept.is_gone and time.monotonic() < deadline:
        pulse()
        kept.wake()
        orders.wait(_LOOK_SECONDS, kept.descriptor)
        if orders.grace_seconds < grace_seconds:  # the coordinator has died meanwhile
            grace_seconds = orders.grace_seconds
            kept.end(grace_seconds, job.stop_signal)
        kept.hear()
    if not kept.is_gone:
        kept.kill()
    if kept.was_lost:
        end_below(0.0)
