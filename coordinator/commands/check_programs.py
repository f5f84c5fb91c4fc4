"""What `doctor` looks at of the programs: whether they can be started and were tried, and what has them wait."""

from __future__ import annotations

from collections.abc import Iterator

from ...harness.accounts.account_file import AccountFile
from ...harness.budgets import tells_dollars
from ...harness.configuration.settings import SHELL, Budget, Config, ConfigError
from ...harness.pausing.pause_file import PauseFile, is_for_money, what, why
from ...harness.project import Project
from ...harness.versions import Found, find_programs, path_of
from .findings import Finding, fail, failed_with, ok, warn


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
    yield from _vain_fallbacks(config)
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


def _vain_fallbacks(config: Config) -> Iterator[Finding]:
    """Name each `fallback` that never runs anything; one for all is of use if any role's program is another."""
    said = {"": "it is the program itself", SHELL: "the program is shell, which no limit of an account stops"}
    programs = [config.program, *(one.program or config.program for one in config.roles.values() if not one.fallback)]
    named = [("fallback", config.fallback, programs)]
    roles = config.roles.items()
    named += [(f"roles.{name}.fallback", one.fallback, [one.program or config.program]) for name, one in roles]
    for key, fallback, ran in named:
        if fallback and set(ran) <= {SHELL, fallback}:
            detail = f"`{key}: {fallback}` never has an effect: {said.get(ran[0], said[''])}"
            yield warn("fallback", detail, f"name another program there, or remove it from {config.source}")


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
