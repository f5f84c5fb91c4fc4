"""What `doctor` looks at in a repository: its state, the configuration, the agents' worktrees."""

from __future__ import annotations

from collections.abc import Iterator

from ...harness.configuration.settings import Config, ConfigError
from ...harness.floors import levels
from ...harness.project import Project
from ...worktrees.landing import LANDING_BRANCH
from ...worktrees.operations import operation_in_progress
from ...worktrees.reading import read_file
from ...worktrees.repository import EmptyRepository, Repository
from ..remote_start import require_remote
from ..target_report import read_target
from .findings import Finding, fail, failed_with, ok, warn

# A killed git leaves these behind, and then every git command that needs them fails.
_GIT_LOCKS = ("index.lock", "HEAD.lock", "config.lock", "packed-refs.lock")


def check_repository(repository: Repository) -> Iterator[Finding]:
    try:
        repository.require_commit()
    except EmptyRepository as error:
        yield failed_with("repository", error)
        return
    operation = operation_in_progress(repository.git_dir)
    if operation is not None:
        detail = f"a {operation} is in progress in {repository.root}, so its branch cannot follow what lands"
        yield warn("repository", detail, f"finish or abort the {operation}")
    else:
        yield ok("repository", str(repository.root))
    for name in _GIT_LOCKS:
        lock = repository.git_dir / name
        if lock.exists():
            yield warn("git lock", f"{lock} exists", f"if no git command runs there, `rm {lock}`")


def check_target(config: Config, repository: Repository) -> Finding:
    target = config.target or repository.branch_checked_out()
    if target is None:
        remedy = f"`git switch BRANCH`, or set `target: BRANCH` in {config.source}"
        return fail("target", "HEAD is detached, so the branch that work should reach is not known", remedy)
    if repository.branch_tip(target) is None:
        return fail("target", f"there is no branch {target!r}", f"create it, or name another in {config.source}")
    return ok("target", target)


def check_remote(project: Project, repository: Repository) -> Iterator[Finding]:
    """Look whether the remote is one of the repository's; of the network the last run's trouble is told, if it had any.

    Nobody is asked over the network.
    """
    config = project.config
    if config.remote is None:
        return
    try:
        require_remote(config, repository)
    except ConfigError as error:
        yield failed_with("remote", error)
        return
    target = read_target(project.state.root)
    known = None if target is None else target.remote
    if known is not None and known.name == config.remote and known.blocked:
        yield warn("remote", f"{known.blocked} (when a run last tried)", known.next or "mend it; the next run tries it")
    else:
        yield ok("remote", config.remote)


def check_configuration(config: Config) -> Iterator[Finding]:
    yield ok("configuration", f"{config.source}: {config.agents} agents")
    if not config.checks and config.land == "auto":
        yield warn("checks", "none: what merges lands untested", f"set `checks:` in {config.source}")
    attempt, item = config.budget.attempt_usd, config.budget.item_usd
    if attempt is not None and item is not None and attempt > item:
        detail = (
            f"`budget.attempt` is more than `budget.item` (${attempt:g}, ${item:g}), so no attempt may cost as much"
        )
        yield warn("budget", detail, f"lower the one or raise the other in {config.source}")


def check_room(project: Project) -> Iterator[Finding]:
    """Look whether there is room enough for attempts to begin."""
    for level in levels(project.config.floors, project.folders):
        if level.is_short:
            remedy = f"make room, or lower the floor in {project.config.source}: until then no attempt is begun"
            yield warn("room", level.describe(), remedy)
        else:
            yield ok("room", level.describe())


def check_context(config: Config, repository: Repository) -> Iterator[Finding]:
    """Look whether the files that agent programs are to be sent are where these are read from."""
    target = config.target or repository.branch_checked_out() or "HEAD"
    tip = next(filter(None, map(repository.resolve, (f"refs/heads/{LANDING_BRANCH}", target))), None)
    for path in config.context if tip is not None else ():
        if read_file(repository.git, str(tip), path, 1) is None:
            where = LANDING_BRANCH if repository.branch_tip(LANDING_BRANCH) else target
            remedy = f"commit it, or correct `context:` in {config.source}: until then prompts say that it is lacking"
            yield warn("context", f"{path} is not on {where}", remedy)


def check_worktrees(project: Project) -> Iterator[Finding]:
    """Look at the checkout of every agent that ever had a worker; the next run repairs what is warned of."""
    sound = []
    for name in project.state.agent_names():
        path = project.worktrees / name
        if (path / ".git").is_file():
            sound.append(name)
        elif path.is_dir() and any(path.iterdir()):
            yield warn("worktree", f"{path} has lost its .git", "`parallel-loop run` ties it to the repository again")
        else:
            yield warn("worktree", f"{path} is gone", "`parallel-loop run` makes it again")
    if sound:
        yield ok("worktrees", ", ".join(sound))
