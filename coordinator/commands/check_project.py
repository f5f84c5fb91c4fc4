"""What `doctor` looks at in a repository: its state, the configuration, the programs, the agents' worktrees."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ...harness.configuration.settings import SHELL, Config, ConfigError
from ...harness.floors import levels
from ...harness.pausing.pause_file import PauseFile, what, why
from ...harness.project import Project
from ...worktrees.operations import operation_in_progress
from ...worktrees.repository import EmptyRepository, Repository
from ..remote_start import require_remote
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


def check_remote(config: Config, repository: Repository) -> Iterator[Finding]:
    """Look whether the remote is one of the repository's; nobody is asked over the network."""
    if config.remote is None:
        return
    try:
        require_remote(config, repository)
        yield ok("remote", config.remote)
    except ConfigError as error:
        yield failed_with("remote", error)


def check_configuration(config: Config) -> Iterator[Finding]:
    yield ok("configuration", f"{config.source}: {config.agents} agents")
    if not config.checks and config.land == "auto":
        yield warn("checks", "none: what merges lands untested", f"set `checks:` in {config.source}")


def check_room(project: Project) -> Iterator[Finding]:
    """Look whether there is room enough for attempts to begin."""
    for level in levels(project.config.floors, project.folders):
        if level.is_short:
            remedy = f"make room, or lower the floor in {project.config.source}: until then no attempt is begun"
            yield warn("room", level.describe(), remedy)
        else:
            yield ok("room", level.describe())


def check_pauses(project: Project) -> Iterator[Finding]:
    """Name what is paused because its attempts fail alike within seconds."""
    for pause in PauseFile(project).in_force().values():
        detail = f"{what(pause)} is paused: {why(pause)}"
        yield warn("program", detail, f"mend it, then `parallel-loop resume {pause.last.program}`")


def check_programs(project: Project) -> Iterator[Finding]:
    """Look whether what runs the items can be started: a fault where it is used, else a warning."""
    config = project.config
    used = {config.program, *(role.program for role in config.roles.values() if role.program)}
    for name in dict.fromkeys((*sorted(used), *config.programs)):
        problem = _problem_of(name, project)
        if problem is None:
            yield ok("program", name)
        elif name in used:
            yield problem
        else:
            yield warn("program", problem.detail, problem.remedy or "correct it before an item names it")


def _problem_of(name: str, project: Project) -> Finding | None:
    try:
        project.config.check_program(name)
    except ConfigError as error:
        return failed_with("program", error)
    start = "/bin/sh" if name == SHELL else (project.config.programs[name].argv or ("",))[0]
    if "{" in start:
        return None
    if "/" in start:
        found = Path(project.root, start).exists()
    else:
        found = shutil.which(start, path=project.environ.get("PATH")) is not None
    if found:
        return None
    where = "does not exist" if "/" in start else "is not on PATH"
    remedy = f"install it, or correct `programs: {name}: argv:` in {project.config.source}"
    return fail("program", f"{name}: {start} {where}", remedy)


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
