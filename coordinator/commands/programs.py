"""`parallel-loop programs`: the agent programs that are here, and how each is driven."""

from __future__ import annotations

import click

from ...harness.configuration.presets import PRESETS
from ...harness.configuration.settings import SHELL, ConfigError
from ...harness.configuration.writing import keys_of, lines
from ...harness.project import Project
from ...harness.versions import Found, find_programs
from ..drawing.frame import Column, Frame, text_grid
from ..errors import NotThere
from .caller import Caller, write_json

_COLUMNS = (
    Column("PROGRAM"),
    Column("VERSION"),
    Column("IS", least=16),
    Column("CONFIGURED", least=8, drop=1),
    Column("AT", least=12, drop=2),
)


@click.command(short_help="Show which agent programs are here, or how one of them is driven")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects; with NAME, its table.")
@click.pass_obj
def programs(caller: Caller, name: str | None, as_json: bool) -> None:
    """List the agent programs that are known here: the version on this machine, and whether that one was tried.

    With NAME print the whole table by which that program is driven, ready to be changed below `programs:` in the
    configuration. There only what is to be otherwise has to be said.

    \b
    Example:
      parallel-loop programs
      parallel-loop programs claude
    """
    project = caller.project(only_read=True)
    if name is not None:
        _print_table(project, name, as_json=as_json)
        return
    names = dict.fromkeys((*PRESETS, *project.config.programs))
    found = find_programs(names, project.config, project.root, project.environ)
    if as_json:
        write_json([_row(one, project) for one in found])
        return
    for line in text_grid(Frame.of_stream(), _COLUMNS, map(_cells, found)):
        click.echo(line)


def _row(found: Found, project: Project) -> dict[str, object]:
    return {
        "name": found.name,
        "program": found.start,
        "path": found.path,
        "version": found.version,
        "state": found.state,
        "tried": found.tried,
        "configured": found.configured,
        "default": found.name == project.config.program,
    }


def _cells(found: Found) -> tuple[str, ...]:
    return found.name, found.version or "", found.remark, ", ".join(found.configured), found.path or ""


def _print_table(project: Project, name: str, *, as_json: bool) -> None:
    try:
        project.config.check_program(name)
    except ConfigError as error:
        raise NotThere(error.problem) from None
    if name == SHELL:
        raise NotThere("shell runs an item's command with /bin/sh; there is no table of it, and nothing to configure")
    table = {name: keys_of(project.config.adapter(name))}
    if as_json:
        write_json(table)
        return
    for line in lines(table, 2):
        click.echo(line)
