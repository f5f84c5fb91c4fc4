"""What the coordinator needs of the machine below it: a clock, chance, signals, processes, and who started us.

One object, so that the code that supervises can be given another machine, on which a day passes in seconds
(tests/support/virtual_day.py), and is the same code there.

Guarantees: nothing is ended that we did not start: where strangers can be among our children, only what carries an
agent's mark is.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ..harness.child import PlaceTaken, hold_for_life
from ..harness.guard import close_run, open_run
from ..harness.keeping.containment import Containment, end_groups, find_out, let_go
from ..harness.keeping.processes import end_marked
from ..harness.keeping.tree import become_subreaper, end_below
from ..harness.project import Project
from ..harness.shortage import Lack, find_lack
from ..harness.state import AgentDirectory, Heartbeat, StateDirectory, living_worker, read_heartbeat
from ..worktrees.repository import Repository
from .notify import Notifier
from .process import Process
from .signals import Signals
from .target_report import LANDER

_LEFTOVER_SECONDS = 0.02  # a git that is asked to end removes its locks; SIGKILL leaves them in the user's repository


class Machine:
    """The machine that we run on."""

    def __init__(self, notifier: Notifier | None = None) -> None:
        self.notifier = notifier or Notifier()  # who started us, and waits to hear that we are up
        self.strangers = False  # there are children of ours that we did not start

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def chance(self) -> float:
        """Return any number from 0 to 1."""
        return random.random()  # noqa: S311

    def signals(self) -> Signals:
        return Signals()

    def become_supervisor(self) -> None:
        """Let whatever is orphaned below us become our child. To be called before anything is started."""
        # A script that ends with `exec parallel-loop run` leaves us its children; process 1 gets everybody's orphans.
        self.strangers = os.getpid() == 1 or _has_children()
        become_subreaper()

    def start(self, module: str, arguments: Sequence[str], log: Path, environ: dict[str, str], root: Path) -> Process:
        """Start ``python -m module``. Raises OSError."""
        return Process.start(module, arguments, log, environ, root)

    def find(self, directory: AgentDirectory) -> Process | None:
        """Return the process that has the agent's place, as far as it has said so, None when there is none."""
        beat = living_worker(directory)
        return None if beat is None else Process.adopt(beat.identity)

    def is_place_taken(self, state: StateDirectory, name: str) -> bool:
        return is_place_taken(state, name)

    def heartbeat(self, directory: AgentDirectory) -> Heartbeat | None:
        """Return the last heartbeat, of whomever it is. Raises OSError when it cannot be known."""
        return read_heartbeat(directory)

    def end_descendants(self, keep: Collection[int]) -> None:
        """End all that descends from us, but not the processes `keep` and what is below them. Raises OSError."""
        end_below(_LEFTOVER_SECONDS, keep)

    def end_marked(self, state: StateDirectory, names: Collection[str]) -> None:
        """End what workers of these names started, wherever it is now; none of them lives. Raises OSError."""
        end_marked(state.root, names)

    def end_groups(self, state: StateDirectory, owners: Collection[str]) -> None:
        """End what runs in the control groups of `owners`, see containment.py."""
        end_groups(state, owners)

    def let_go_of_groups(self, state: StateDirectory) -> None:
        """Remove what was made to hold the groups, if nothing runs in any."""
        let_go(state)

    def find_out_containment(self, state: StateDirectory) -> Containment:
        """Find out what can hold processes together here, and write it down for the workers."""
        return find_out(state)

    def open_repository(self, project: Project, dead: Collection[str], living: Collection[str]) -> None:
        """Judge what the dead left in the repository, and protect it while the run lives, see guard.py."""
        open_run(project.state, Repository.open(project.root), dead, living)

    def close_repository(self, project: Project) -> None:
        """Let go of the repository, see `close_repository` below."""
        close_repository(project)

    def find_lack(self, folders: Iterable[Path]) -> Lack | None:
        """Look for what there is no room for, see shortage.py."""
        return find_lack(folders)

    def end_leftovers(
        self, state: StateDirectory, dead: Mapping[str, int], keep: Collection[int], *, adopted: bool
    ) -> None:
        """End what dead workers left running: our children now, or nobody's if a worker was not our child (`adopted`).

        `dead` tells their names and process ids. What is below the processes `keep` is left alone. Raises OSError.
        """
        self.end_groups(state, {f"{name}.{pid}" for name, pid in dead.items()})  # another may have the place already
        if not self.strangers:
            self.end_descendants(keep)
        if self.strangers or adopted:
            self.end_marked(state, dead)


def is_place_taken(state: StateDirectory, name: str) -> bool:
    """Whether a living process has the place, by the lock it holds for life: it may not have said so elsewhere yet."""
    lock = state.landing_lock if name == LANDER else state.agent(name).lock
    try:
        os.close(hold_for_life(lock, name))
    except PlaceTaken:
        return True
    except FileNotFoundError:  # nobody ever had it
        return False
    return False


def dead_and_living(state: StateDirectory) -> tuple[set[str], set[str]]:
    """Return the names of the places, the lander's among them, that nobody has, and of those that a process has."""
    names = {*state.agent_names(), LANDER}
    living = {name for name in names if is_place_taken(state, name)}
    return names - living, living


def close_repository(project: Project) -> bool:
    """Let go of the repository, unless a process of an earlier run is at work; True when protection was lifted.

    What protects that one is left to the run after it, or to `doctor --repair`.
    """
    try:
        living = dead_and_living(project.state)[1]
    except OSError:  # on a disk that became read-only, say, where nothing could be let go of, either
        return False
    return not living and close_run(project.state, Repository.open(project.root))


def _has_children() -> bool:
    """Whether this process has children, none of which can be of ours before any place was filled."""
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            if path.read_text().split():
                return True
    return False
