"""`parallel-loop show`: one item with its whole history."""

from __future__ import annotations

import click

from ...harness.project import Project
from ...queue.atomic import Unreadable
from ...queue.records import Entry
from ..drawing.views import item_details
from .caller import Caller, find_entry, waits_for, write_json


@click.command(short_help="Show one item with its whole history")
@click.argument("item_id", metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print it as one JSON object.")
@click.pass_obj
def show(caller: Caller, item_id: str, as_json: bool) -> None:
    """Show one item: what it is, its state, and every attempt with its outcome, reason, branch, commit and log.

    \b
    Example:
      parallel-loop show fix-login
    """
    project = caller.project(only_read=True)
    entry = find_entry(project, item_id)
    names = waits_for(entry, project.queue.is_done, lambda name: _read(project, name))
    details = item_details(entry, project.queue.state(entry), names)
    if as_json:
        write_json(details)
        return
    from ..drawing.tables import item_text

    click.echo(item_text(details, entry.item))


def _read(project: Project, item_id: str) -> Entry | None:
    try:
        return project.queue.entry(item_id)
    except Unreadable:
        return None
