"""`parallel-loop show`: one item with its whole history."""

from __future__ import annotations

import click

from ...harness.project import Project
from ...harness.state import read_session
from ...queue.atomic import Unreadable
from ...queue.records import Entry
from ..drawing.views import InHand, item_details
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
    details = item_details(entry, project.queue.state(entry), names, _in_hand(project, entry))
    if as_json:
        write_json(details)
        return
    from ..drawing.tables import item_text

    click.echo(item_text(details, entry.item))


def _in_hand(project: Project, entry: Entry) -> InHand | None:
    """Return what the agent that holds the item says of its attempt, None when nobody holds it."""
    last, item_id, attempt = entry.last, entry.item.id, entry.attempts
    if last is None or last.kind != "claimed" or not last.agent:
        return None
    agent = project.state.agent(last.agent)
    session = read_session(agent)
    is_of_it = session is not None and (session.item, session.attempt) == (item_id, attempt)
    started_at = session.started_at if session is not None and is_of_it else None
    return InHand(started_at, str(agent.attempt_log(item_id, attempt).relative_to(project.root)))


def _read(project: Project, item_id: str) -> Entry | None:
    try:
        return project.queue.entry(item_id)
    except Unreadable:
        return None
