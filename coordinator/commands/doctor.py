"""`parallel-loop doctor`: is all that is needed there and sound, and if not, what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

from ...harness.configuration.config import Config, load_config
from ...harness.configuration.settings import ConfigError
from ...harness.configuration.wording import in_utf8
from ...harness.project import Project
from ...harness.state import CONFIG_NAME, DIRECTORY, StateDirectory
from ...worktrees.errors import GitError, GitMissing
from ...worktrees.repository import BareRepository, NotARepository, Repository
from .. import file_system
from ..errors import ENVIRONMENT, FAILED
from .caller import Caller, write_json
from .check_environment import check_containment, check_file_system, check_git, check_python
from .check_leftovers import check_git_leftovers
from .check_programs import check_pauses, check_programs
from .check_project import (
    check_configuration,
    check_context,
    check_remote,
    check_repository,
    check_room,
    check_target,
    check_worktrees,
)
from .check_queue import check_coordinator, check_queue, repair
from .findings import Finding, failed_with

_ENVIRONMENT = frozenset({"python", "git", "repository", "writable", "disk", *file_system.NAMES})
_MARKS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@click.command(short_help="Check the environment and the queue, and name each fault with its remedy")
@click.option("--repair", "mend", is_flag=True, help="First tidy what killed processes left, where that is safe.")
@click.option("--json", "as_json", is_flag=True, help='Print {"findings": […], "repaired": […]}.')
@click.pass_obj
def doctor(caller: Caller, mend: bool, as_json: bool) -> int:
    """Check Python, git, the file system, the configuration, the programs, the worktrees and the queue.

    Without --repair nothing is changed. With it, programs that dead workers left running are ended, what these left in
    their worktrees is saved (see `parallel-loop salvage`), their items are taken back, unfinished imports are finished
    and missing hints are made; and of what killed gits left, half-made worktrees, locks, candidates and branches that
    nobody needs are removed. While a coordinator runs it does that itself, and --repair is refused.

    \b
    Example:
      parallel-loop doctor

    Exit codes: 0 nothing failed (there may be warnings); 1 something failed; 3 --repair while a coordinator runs;
    4 what failed is the environment: Python, git, the repository or its file system.
    """
    start = caller.start()
    repaired = repair(Project.open(start)) if mend else []
    findings = list(examine(start))
    if as_json:
        rows = [_row(finding) for finding in findings]
        write_json({"findings": rows, "repaired": [in_utf8(line) for line in repaired]})
    else:
        for line in repaired:
            click.echo(f"done  {line}")
        for finding in findings:
            click.echo(_line(finding))
    failed = {finding.name for finding in findings if finding.verdict == "fail"}
    if not failed:
        return 0
    return ENVIRONMENT if failed & _ENVIRONMENT else FAILED


def examine(start: Path) -> Iterator[Finding]:
    """Yield what is found in and around the repository at `start`; what cannot be looked at without it is left out."""
    yield check_python()
    yield check_git()
    try:
        repository = Repository.open(start)
        yield from check_repository(repository)
    except (NotARepository, BareRepository, GitMissing, GitError) as error:
        yield failed_with("repository", error)
        return
    config = Config()
    try:
        config = load_config(repository.root / CONFIG_NAME, os.environ)
        yield from check_configuration(config)
    except ConfigError as error:
        yield failed_with("configuration", error)
    project = Project(repository.root, config, StateDirectory(repository.root / DIRECTORY))
    yield check_target(config, repository)
    yield from check_context(config, repository)
    yield from check_remote(project, repository)
    yield from check_programs(project)
    yield from check_pauses(project)
    yield from check_file_system(project.state.root if project.state.root.is_dir() else project.root)
    yield check_containment(project)
    yield from check_room(project)
    yield check_coordinator(project)
    yield from check_queue(project)
    yield from check_worktrees(project)
    yield from check_git_leftovers(project, repository)


def _line(finding: Finding) -> str:
    from ...harness.configuration.wording import one_line

    remedy = f"\n      {' ' * 14}{one_line(finding.remedy)}" if finding.remedy else ""
    return f"{_MARKS[finding.verdict]}  {finding.name:<14}{one_line(finding.detail)}{remedy}"


def _row(finding: Finding) -> dict[str, str | None]:
    remedy = None if finding.remedy is None else in_utf8(finding.remedy)
    return {"name": finding.name, "verdict": finding.verdict, "detail": in_utf8(finding.detail), "remedy": remedy}
