"""The single-agent loop: one worker and the landing in this one process, on the same queue, without a coordinator.

It is the fallback (``parallel_mode: false``, ``PARALLEL_MODE=false`` or ``python loop.py``), and the
shortest way to read what parallel-loop does: take, work, land, again. Its configuration is that of its start.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from parallel_loop.coordinator.alone import in_this_process
from parallel_loop.coordinator.course import Course
from parallel_loop.coordinator.lander import Lander
from parallel_loop.coordinator.notify import Notifier
from parallel_loop.coordinator.paused_work import PausedWork, tell_that_a_run_begins
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.harness.shortage import is_shortage
from parallel_loop.harness.worker import Worker
from parallel_loop.queue.atomic import own_names
from parallel_loop.queue.healing import heal
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.watching import BellWatch

_AGENT = "agent-1"
_HEAL_SECONDS = 10.0  # who adds an item can be killed before its hint is made
_HEAL_WHILE_HELD_SECONDS = 60.0  # the same where what is ready may wait for a paused program, or for room


def run_alone(
    project: Project, target: str, *, drain: bool, tell: Callable[[], None], notifier: Notifier | None = None
) -> int:
    """Work until told to end, or with `drain` until nothing is left to do; return the exit code.

    `tell` is called often; it shows a person what happened since. `notifier` is told when we are up.
    """
    with in_this_process(project, tell, drain=drain) as orders:
        survey = Survey(project.queue)
        heal(project.queue, project.retry)
        survey.refresh()
        course = Course(survey)
        with suppress(OSError):
            tell_that_a_run_begins(project)
        stuck = _loop(project, target, orders, survey, drain=drain, notifier=notifier or Notifier())
        survey.refresh()
        project.state.record_event("ended", why=course.describe(survey))
        if orders.stopping:
            return 130
        return 1 if stuck or course.failed(survey) else 0


def _loop(project: Project, target: str, orders: Orders, survey: Survey, *, drain: bool, notifier: Notifier) -> bool:
    """Work until told to end, or until nothing is left; True when what is left waits for paused programs."""
    lander = Lander(project, target, orders)
    worker = Worker(project, _AGENT, target, orders)
    notifier.ready("1 agent up, in this process", watched=False)  # this one waits for git, however long that takes
    watch = BellWatch(project.queue.bell)
    paused_work = PausedWork(project, survey)
    worked_at = time.monotonic()
    heal_at = worked_at + _HEAL_SECONDS
    try:
        while not orders.finishing:
            worked = worker.work_once()
            lander.land_all()
            if worked:
                worked_at = time.monotonic()
                continue
            with _patience():
                if drain:
                    survey.refresh()
                    stuck = False if survey.is_drained() else _is_stuck(project, paused_work) or None
                    if stuck is not None:
                        lander.settle()
                        return stuck
                held = paused_work.is_there or worker.is_held
                heal_at = worked_at + (_HEAL_WHILE_HELD_SECONDS if held else _HEAL_SECONDS)
                if time.monotonic() >= heal_at:
                    worked_at = time.monotonic()
                    if not orders.paused:
                        _heal_what_is_overlooked(project, survey)
            worker.wait(watch, min(lander.seconds_until_look, max(0.0, heal_at - time.monotonic())))
        lander.land_all()
        lander.settle()
        return False
    finally:
        watch.close()
        worker.close()
        lander.close()


@contextmanager
def _patience() -> Iterator[None]:
    """Let want of room pass: what was not done for it is done at the next look."""
    try:
        yield
    except OSError as error:
        if not is_shortage(error):
            raise


def _is_stuck(project: Project, paused_work: PausedWork) -> bool:
    why = paused_work.why_stuck()
    if why is not None:
        project.state.record_event("finishing", why=why)
    return why is not None


def _heal_what_is_overlooked(project: Project, survey: Survey) -> None:
    """Heal when something is to do that nobody does: that reads the whole queue, which an idle loop must not."""
    survey.refresh()
    counts = survey.counts()
    if counts["ready"] or counts["working"] or counts["landing"] or own_names(project.queue.layout.imports):
        heal(project.queue, project.retry)


def main() -> int:
    """Run the loop from the command line, with the options of `parallel-loop run`."""
    from parallel_loop.coordinator.cli import main as command_line

    os.environ["PARALLEL_MODE"] = "false"
    return command_line(["run", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
