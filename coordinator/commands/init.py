"""`parallel-loop init`: the configuration and the state directory of a repository."""

from __future__ import annotations

from pathlib import Path

import click

from ...harness.configuration.template import found_programs, guess_checks, template
from ...harness.project import Project
from ...harness.state import CONFIG_NAME, DIRECTORY
from .caller import Caller


@click.command(short_help="Write a commented parallel-loop.yaml and make .parallel-loop/")
@click.pass_obj
def init(caller: Caller) -> None:
    """Write a commented parallel-loop.yaml into the repository and make .parallel-loop/, which git ignores.

    The target is the branch checked out. An existing parallel-loop.yaml is never changed, and doing this again is fine.
    It is not needed before `add` and `run`: all that can be configured has a default.

    \b
    Example:
      cd my-project && parallel-loop init
    """
    from ..run import find_target

    project = caller.project()
    target = find_target(project)  # looks at git, the first commit, the branch and hard links, and makes the directory
    project.queue.create()
    suggested = guess_checks(project.root)
    written = _write_new(project.root / CONFIG_NAME, template(target, [], found_programs(), suggested))
    click.echo(f"{CONFIG_NAME} {'written' if written else 'exists and is left as it is'} (target: {target})")
    click.echo(f"{DIRECTORY}/ is there and ignored by git")
    for line in _advice(project, suggested):
        click.echo(line)


def _write_new(path: Path, text: str) -> bool:
    """Write `text` to a new file; False when there is one of that name."""
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with file:
            file.write(text)
    except OSError:  # a full disk: half a configuration would count as one the next time
        path.unlink()
        raise
    return True


def _advice(project: Project, suggested: list[str]) -> list[str]:
    found = found_programs()
    named = ", ".join(project.config.programs)
    lines = [f"agent programs on PATH: {', '.join(found) or 'none that are known by name'}"]
    if named:
        lines.append(f"programs configured: {named}")
    if not project.config.checks:
        guess = f"; `checks: [{', '.join(suggested)}]` may be right" if suggested else ""
        lines.append(f"no checks are set, so what merges lands untested{guess}")
    lines.append("next: parallel-loop add --command 'make docs' --title 'Write the docs'; parallel-loop run")
    return lines
