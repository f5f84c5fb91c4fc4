"""What is done in one process, without a coordinator: the single-agent loop, and landing that a person asked for.

Guarantees: it holds the coordinator's lock, so that no other run begins beside it, and what an earlier run left running
is ended first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..harness.configuration.accepted import write_accepted
from ..harness.guard import open_run
from ..harness.identity import own_identity
from ..harness.keeping.containment import end_groups, find_out, let_go
from ..harness.keeping.processes import end_marked
from ..harness.orders import Orders
from ..harness.project import Project
from ..worktrees.repository import Repository
from .control import Wanted, read_wanted, write_wanted
from .lock import CoordinatorLock
from .machine import close_repository, dead_and_living


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


@contextmanager
def in_this_process(project: Project, tell: Callable[[], None], *, drain: bool) -> Iterator[LoopOrders]:
    """Be the only run of this repository while the block runs; `tell` shows a person what happened since.

    Raises AlreadyRunning.
    """
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity(), drain=drain)
    try:
        write_accepted(project.state.config, project.config)  # for commands that are given while the file is broken
        write_wanted(project.state, Wanted(agents=1))
        orders = LoopOrders(project, tell)
        dead, living = dead_and_living(project.state)
        end_groups(project.state, dead)
        end_marked(project.state.root, dead)
        find_out(project.state)
        project.state.remove_drafts()
        open_run(project.state, Repository.open(project.root), dead, living)
        yield orders
    finally:
        let_go(project.state)
        close_repository(project)
        tell()
        lock.close()
