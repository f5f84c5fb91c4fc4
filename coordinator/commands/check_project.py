"""What `doctor` looks at in a repository: its state, the configuration, the programs, the agents' worktrees."""

from __future__ import annotations

from collections.abc import Iterator

from ...harness.accounts.account_file import AccountFile
from ...harness.budgets import tells_dollars
from ...harness.configuration.settings import SHELL, Budget, Config, ConfigError
from ...harness.floors import levels
from ...harness.pausing.pause_file import PauseFile, is_for_money, what, why
from ...harness.project import Project
from ...harness.versions import Found, find_programs, path_of
from ...worktrees.operations import operation_in_progress
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


def check_room(project: Project) -> Iterator[Finding]:
    """Look whether there is room enough for attempts to begin."""
    for level in levels(project.config.floors, project.folders):
        if level.is_short:
            remedy = f"make room, or lower the floor in {project.config.source}: until then no attempt is begun"
            yield warn("room", level.describe(), remedy)
        else:
            yield ok("room", level.describe())


def check_pauses(project: Project) -> Iterator[Finding]:
    """Name what is paused because its attempts fail alike within seconds, and which accounts are refused."""
    pauses = PauseFile(project).in_force().values()
    for pause in [one for one in pauses if is_for_money(one)][:1]:  # the same holds for every program that costs
        remedy = f"`parallel-loop restart`, or a higher `budget: run:` in {project.config.source}"
        yield warn("budget", f"{why(pause)}: {what(pause)} waits", remedy)
    for pause in pauses:
        if is_for_money(pause):
            continue
        detail = f"{what(pause)} is paused: {why(pause)}"
        yield warn("program", detail, f"mend it, then `parallel-loop resume {pause.last.program}`")
    for account in AccountFile(project).look().accounts:
        if account.standing == "refused" and not account.asked:
            remedy = f"log in, then `parallel-loop resume {account.name}`"
            yield warn("account", f"{account.name} is refused: {account.why}", remedy)


def check_programs(project: Project) -> Iterator[Finding]:
    """Look whether what runs the items can be started: a fault where it is used, else a warning.

    All that are configured may run one, as an item may name its program.
    """
    config = project.config
    named = {config.program, config.fallback}.union(*((one.program, one.fallback) for one in config.roles.values()))
    used = {name for name in named if name}
    sound = []
    for name in dict.fromkeys((*sorted(used), *config.programs)):
        problem = _problem_of(name, project)
        if problem is None:
            sound.append(name)
        elif name in used:
            yield problem
        else:
            yield warn("program", problem.detail, problem.remedy or "correct it before an item names it")
    found = {one.name: one for one in find_programs(sound, config, project.root, project.environ)}
    yield from (_judged(name, found.get(name)) for name in sound)
    yield from (_without_price(name, config) for name in sound if _has_vain_budget(name, config))


def _judged(name: str, found: Found | None) -> Finding:
    """Tell of a program that is there; with `found` also whether its version is one that was tried."""
    if found is None:
        return ok("program", name)
    detail = f"{name} {found.version}" if found.version else name
    if found.state == "untried":
        remedy = f"try it with one item; then `programs: {{{name}: {{tried: ['{found.version}']}}}}` says that it works"
        return warn("program", f"{detail}: {found.remark}", remedy)
    if found.state in {"only-read", "unknown"}:
        return warn("program", f"{detail}: {found.remark}", "try it with one item before a long run")
    return ok("program", detail)


def _has_vain_budget(name: str, config: Config) -> bool:
    """Whether what the program may cost is limited, and nobody will know what it costs."""
    if name == SHELL or tells_dollars(name, config):
        return False
    adapter = config.adapter(name)
    own = adapter.budget is not None and not (adapter.options and adapter.options.budget)
    return own or config.budget != Budget()


def _without_price(name: str, config: Config) -> Finding:
    detail = f"{name} does not say what it costs, so no budget has an effect on it; `usage` shows its tokens"
    return warn("budget", detail, f"limit its time (`limits: {{time: 30m}}` in {config.source}), or its account")


def _problem_of(name: str, project: Project) -> Finding | None:
    try:
        project.config.check_program(name)
    except ConfigError as error:
        return failed_with("program", error)
    if name == SHELL:
        return None
    program = project.config.adapter(name)
    if path_of(program, project.root, project.environ) is not None:
        return None
    start = (program.argv or ("",))[0]
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
