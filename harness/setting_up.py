"""What every worktree and the repository need before work can start there, for workers and for landing."""

from __future__ import annotations

from collections.abc import Sequence

from ..worktrees.environment import Identity
from ..worktrees.errors import GitError
from ..worktrees.landing import LANDING_BRANCH, LandingBranch
from ..worktrees.reflogs import OUR_EMAIL
from ..worktrees.repository import Repository
from ..worktrees.setup import set_up
from ..worktrees.worktree import Worktree
from .project import Project
from .rescuing import agent_identity

LANDER_IDENTITY = Identity("parallel-loop", OUR_EMAIL)
CHECKS_IDENTITY = agent_identity("landing")  # so that their doing is told from ours


def ensure_landing_branch(repository: Repository, worktree: Worktree, target: str) -> LandingBranch:
    """Return the landing branch, created at the tip of `target` if nobody has done so yet."""
    branch = LandingBranch(repository, worktree, LANDER_IDENTITY)
    if repository.branch_tip(LANDING_BRANCH) is None:
        try:
            branch.ensure(repository.branch_tip(target) or repository.require_commit())
        except GitError:
            if repository.branch_tip(LANDING_BRANCH) is None:  # else another worker was first
                raise
    return branch


def landing_tip(repository: Repository, worktree: Worktree, target: str) -> str:
    """Return the commit that work starts from."""
    return repository.branch_tip(LANDING_BRANCH) or ensure_landing_branch(repository, worktree, target).tip()


def equip(worktree: Worktree, project: Project, ignored: Sequence[str] = ()) -> list[str]:
    """Copy and link what `setup:` names into the worktree; return the names that the repository does not have.

    `ignored` are patterns for what the program leaves there for itself.
    """
    setup = project.config.setup
    if not setup.copy and not setup.link and not setup.keep and not ignored:
        worktree.leave_out(())
        return []
    missing = set_up(worktree.path, project.root, copy=setup.copy, link=setup.link)
    worktree.leave_out([*setup.copy, *setup.link], kept=[*setup.keep, *ignored])
    return missing
