"""The single-agent loop: one worker and the landing in this one process, on the same queue, without a coordinator.

It is the fallback (``parallel_mode: false``, ``PARALLEL_MODE=false`` or ``python loop.py``), and the
shortest way to read what parallel-loop does: take, work, land, again.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from parallel_loop.coordinator.aggregate import failed_items
from parallel_loop.coordinator.control import Wanted, read_wanted, write_wanted
from parallel_loop.coordinator.crew import is_place_taken
from parallel_loop.coordinator.lander import Lander
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.coordinator.target_report import LANDER
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.processes import end_marked
from parallel_loop.harness.project import Project
from parallel_loop.harness.shortage import is_shortage
from parallel_loop.harness.worker import Worker
from parallel_loop.queue.atomic import own_names
from parallel_loop.queue.healing import heal
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.watching import BellWatch

_AGENT = "agent-1"
_HEAL_SECONDS = 10.0  # who adds an item can be killed before its hint is made


class LoopOrders(Orders):
    """Orders by signal, and by what `parallel-loop stop`, `pause` and `resume` write down."""

    def __init__(self, project: Project, tell: Callable[[], None]) -> None:
        super().__init__()
        self._project = project
        self._tell = tell
        self.obey_staged_signals()

    def wait(self, seconds: float, *descriptors: int) -> None:
        """Wait as any worker does; before it, show what happened, after it, look what is wanted."""
        self._tell()
        super().wait(seconds, *descriptors)
        wanted = read_wanted(self._project.state)
        if wanted is not None:
            self.paused = wanted.paused
            self.finishing = self.finishing or wanted.ending != ""
            self.stopping = self.stopping or wanted.ending == "stop"


def run_alone(project: Project, target: str, *, drain: bool, tell: Callable[[], None]) -> int:
    """Work until told to end, or with `drain` until nothing is left to do; return the exit code.

    `tell` is called often; it shows a person what happened since.
    """
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    try:
        write_wanted(project.state, Wanted(agents=1))
        orders = LoopOrders(project, tell)
        survey = Survey(project.queue)
        names = {*project.state.agent_names(), LANDER}
        end_marked(project.state.root, {name for name in names if not is_place_taken(project.state, name)})
        project.state.remove_drafts()
        heal(project.queue, project.retry)
        survey.refresh()
        failed_before = failed_items(survey)
        _loop(project, target, orders, survey, drain=drain)
        survey.refresh()
        if orders.stopping:
            return 130
        return 1 if failed_items(survey) - failed_before else 0
    finally:
        tell()
        lock.close()


def _loop(project: Project, target: str, orders: Orders, survey: Survey, *, drain: bool) -> None:
    lander = Lander(project, target, orders)
    worker = Worker(project, _AGENT, target, orders)
    watch = BellWatch(project.queue.bell)
    heal_at = time.monotonic() + _HEAL_SECONDS
    try:
        while not orders.finishing:
            worked = worker.work_once()
            lander.land_all()
            if worked:
                heal_at = time.monotonic() + _HEAL_SECONDS
                continue
            try:
                if drain and _is_drained(survey):
                    return
                if time.monotonic() >= heal_at:
                    heal_at = time.monotonic() + _HEAL_SECONDS
                    if not orders.paused:
                        _heal_what_is_overlooked(project, survey)
            except OSError as error:
                if not is_shortage(error):
                    raise
            worker.wait(watch, min(lander.seconds_until_look, heal_at - time.monotonic()))
        lander.land_all()
    finally:
        watch.close()
        worker.close()
        lander.close()


def _is_drained(survey: Survey) -> bool:
    survey.refresh()
    return survey.is_drained()


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
