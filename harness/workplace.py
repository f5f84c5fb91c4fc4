"""Where an agent works: its worktree, its state directory, and what a program finds in its environment there."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from ..queue.records import Item
from ..worktrees.environment import Identity, scrub
from ..worktrees.pool import Pool
from ..worktrees.recycle import detach
from ..worktrees.repository import Repository
from ..worktrees.worktree import Worktree
from .configuration.settings import MAX_AGENTS
from .guard import Guard
from .heart import Heart
from .keeping.bounds import Bounds, bounds_of
from .keeping.containment import held
from .keeping.processes import MARK_AGENT, MARK_STATE
from .orders import Orders
from .project import Project
from .rescuing import agent_identity, rescue
from .room import Room
from .state import AgentDirectory

_PORTS_EACH = 10
_PORTS_FOR_ALL = _PORTS_EACH * (MAX_AGENTS + 1)
_FIRST_PORT = 20_000
_LAST_PORT = 32_767  # above it Linux takes ports for outgoing connections


def port_base(state: bytes, number: int) -> int:
    """Return the first of ten ports of agent `number` of the repository whose state lies at `state`.

    Agents of one repository never share a port. Those of two repositories rarely do: with three agents each it is
    one pair of repositories in two hundred. Nothing on a machine gives out ports to those that may want them later.
    """
    places = (_LAST_PORT + 1 - _FIRST_PORT - _PORTS_FOR_ALL) // _PORTS_EACH
    return _FIRST_PORT + _PORTS_EACH * (zlib.crc32(state) % places + number)


@dataclass(frozen=True)
class Workplace:
    """What belongs to an agent's place while a worker fills it."""

    project: Project
    repository: Repository
    agent: AgentDirectory
    pool: Pool
    target: str
    orders: Orders
    heart: Heart
    room: Room
    prepared: set[str] = field(default_factory=set)  # programs that this worker has prepared

    @property
    def identity(self) -> Identity:
        return agent_identity(self.agent.name)

    @cached_property
    def guard(self) -> Guard:
        """What watches over that which all worktrees share."""
        return Guard(self.project.state, self.repository, self.agent)

    @property
    def port_base(self) -> int:
        return port_base(bytes(self.project.state.root), self.agent.number)

    @contextmanager
    def bounds(self, item: Item) -> Iterator[Bounds]:
        """Give what a command that works on `item` may use, and what the kernel has to hold it together."""
        with held(self.project.state, self.agent, bounds_of(self.project.config, item, self.agent.number)) as bounds:
            yield bounds

    def environ(self, worktree: Worktree) -> dict[str, str]:
        """What every program gets here, whatever it works on."""
        own = {
            MARK_STATE: str(self.project.state.root),
            MARK_AGENT: self.agent.name,
            "PARALLEL_LOOP_WORKTREE": str(worktree.path),
            "PARALLEL_LOOP_PORT_BASE": str(self.port_base),
        }
        own |= self.guard.variables(self.project.environ)
        return scrub(self.project.environ) | worktree.program_environment(self.identity) | own

    def worktree(self) -> Worktree:
        """Return the agent's worktree, made again if a program deleted it."""
        return self.pool.ensure(self.agent.name)

    def rescue(self, worktree: Worktree) -> None:
        """Commit what an earlier attempt left in the worktree and no branch keeps, under its own salvage ref.

        The worktree leaves the branch of that attempt, which can then be tidied away.
        """
        rescue(self.project.state, self.agent, self.repository, worktree)
        self.guard.look()
        detach(worktree)
        self.guard.settle()
