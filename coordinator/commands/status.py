"""`parallel-loop status`: the snapshot."""

from __future__ import annotations

import os
import sys
import time

import click

from ...harness.project import Project
from ..aggregate import current_snapshot
from ..errors import WrongUsage
from ..snapshot import encode
from .caller import Caller

_LOOK_SECONDS = 0.5


@click.command(short_help="Show the coordinator, the agents, the queue and what needs a person")
@click.option("--json", "as_json", is_flag=True, help="Print the snapshot as JSON (version 1).")
@click.option("--watch", is_flag=True, help="Show the dashboard until Ctrl-C.")
@click.pass_obj
def status(caller: Caller, as_json: bool, watch: bool) -> None:
    """Show how things stand now: the coordinator, the agents, the queue, totals, and what needs a person.

    It works without a coordinator, too. The JSON document only ever gains fields.

    \b
    Example:
      parallel-loop status
      parallel-loop status --json | jq .queue
    """
    if watch and (as_json or not can_watch()):
        raise WrongUsage(
            "--watch draws on a terminal; for a program, call `parallel-loop status --json` again and again"
        )
    project = caller.project(only_read=True)
    if watch:
        _watch(project, no_color=caller.no_color)
        return
    snapshot = current_snapshot(project)
    if as_json:
        click.echo(encode(snapshot))
        return
    from ..drawing.tables import status_text

    click.echo(status_text(snapshot))


def can_watch() -> bool:
    """Tell whether standard output is a terminal that can be drawn on."""
    from ..drawing.live import can_draw

    return can_draw(sys.stdout, os.environ)


def _watch(project: Project, *, no_color: bool) -> None:
    from ..drawing.live import open_live_view

    with open_live_view(no_color=no_color) as view:
        while True:
            view.show(current_snapshot(project))
            time.sleep(_LOOK_SECONDS)
