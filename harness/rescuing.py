"""What an attempt left in an agent's worktree is saved, whoever has to do with that worktree next.

Guarantees: what is saved is under the name of the attempt that left it, once, on the disk, and told of; the worktree's
files stay as they are.

Assumes: the caller holds the agent's place, and what its workers had started is dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..worktrees.environment import Identity
from ..worktrees.errors import GitError, WorktreeGone
from ..worktrees.found import save_found
from ..worktrees.pool import marked_worktrees
from ..worktrees.reflogs import program_email
from ..worktrees.repository import Repository
from ..worktrees.salvage import SALVAGE, Kept, has_work, salvage
from ..worktrees.worktree import Worktree
from .state import AgentDirectory, Session, StateDirectory, read_session


@dataclass(frozen=True)
class Unsaved:
    """Work of an attempt that is in a worktree and nowhere else."""

    agent: str
    path: Path
    session: Session | None


def agent_identity(name: str) -> Identity:
    """Who commits for an agent, and whom the guard takes for its programs."""
    return Identity(f"{name} (parallel-loop)", program_email(name))


def rescue(
    state: StateDirectory,
    agent: AgentDirectory,
    repository: Repository,
    worktree: Worktree,
    *,
    knows_session: bool = True,
) -> Kept | None:
    """Commit what no branch keeps of what is in the worktree, under the salvage ref of the attempt that left it.

    None when there is nothing. `knows_session`: the agent's session is about this worktree. Raises what `salvage` does.
    """
    session = read_session(agent) if knows_session else None
    owner = f"{session.item}/{session.attempt}" if session else f"unknown/{agent.name}"
    ref, identity = f"{SALVAGE}/{owner}", agent_identity(agent.name)
    kept = salvage(worktree, ref, f"Left behind by {owner}", identity)
    new = [one for one in (kept, *save_found(worktree, ref, identity)) if one is not None and one.is_new]
    if new:
        repository.flush()  # what it was made of may be removed next
    tell_saved(state, agent, new, *((session.item, session.attempt) if session else ()))
    return kept


def tell_saved(
    state: StateDirectory,
    agent: AgentDirectory,
    kept: Iterable[Kept],
    item: str | None = None,
    attempt: int | None = None,
) -> None:
    """Tell of work of an attempt that a ref of ours keeps."""
    for one in kept:
        state.record_event("salvaged", agent=agent.name, item=item, attempt=attempt, ref=one.ref, commit=one.commit)


def is_left_behind(state: StateDirectory, repository: Repository, name: str, item: str, attempt: int) -> bool:
    """Whether what this attempt of agent `name` left is in its worktree and nobody has saved it yet; changes nothing.

    So it is where the agent's worker was killed and no other has begun there.
    """
    session = read_session(state.agent(name))
    worktree = dict(marked_worktrees(repository)).get(name)
    if session is None or (session.item, session.attempt) != (item, attempt) or worktree is None:
        return False
    try:
        found = worktree.path.is_dir() and not worktree.path.is_symlink() and has_work(worktree, only_look=True)
    except (GitError, WorktreeGone, OSError):
        found = True
    return found and repository.resolve(f"{SALVAGE}/{item}/{attempt}") is None


def unsaved(
    state: StateDirectory, repository: Repository, directory: Path, skip: frozenset[str] | set[str]
) -> Iterator[Unsaved]:
    """Yield what dead workers left in worktrees and nobody has saved yet; changes nothing.

    `directory` is where the worktrees are now, `skip` are the names of those that somebody works in.
    """
    for name, worktree in marked_worktrees(repository):
        if name in skip or not worktree.path.is_dir() or worktree.path.is_symlink():
            continue
        try:
            found = has_work(worktree, only_look=True)
        except (GitError, WorktreeGone, OSError):
            continue
        if found:
            session = read_session(state.agent(name)) if worktree.path.parent == directory.resolve() else None
            yield Unsaved(name, worktree.path, session)
