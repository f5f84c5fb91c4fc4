"""`parallel-loop list`: all items, or those in one state."""

from __future__ import annotations

import click

from ...queue.survey import STATES, Survey
from ..drawing.views import item_row
from ..held_up import held_up
from .caller import Caller, waits_for, write_json


@click.command("list", short_help="List the items")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these. May be repeated.")
@click.option("--all", "packed", is_flag=True, help="Also those that `tidy` has packed.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of JSON objects.")
@click.pass_obj
def list_items(caller: Caller, states: tuple[str, ...], packed: bool, as_json: bool) -> None:
    """List the items in the order of adding, one on each line, and how many there are in each state.

    A terminal gets what fits its width, a pipe gets whole lines.

    \b
    Example:
      parallel-loop list --state failed
    """
    project = caller.project(only_read=True)
    survey, held = Survey(project.queue), held_up(project)
    survey.refresh()
    asks_for_all = not states or bool({"ready", "done"} & set(states))
    rows = [  # and not the entries: there may be a hundred thousand prompts
        item_row(entry, survey.state(entry), waits_for(entry, survey.is_done, survey.get) or held(entry.item))
        for entry in (survey.each_entry(packed=packed) if asks_for_all else survey.entries())
    ]
    rows = [row for row in rows if not states or row.state in states]
    rows.sort(key=lambda row: (row.added_at, row.id))
    if survey.done.packed and not packed and (not states or "done" in states):
        click.echo(f"parallel-loop: {survey.done.packed} more are done and packed; `list --all` shows them", err=True)
    if survey.damage:
        count = len(survey.damage)
        files = "1 file" if count == 1 else f"{count} files"
        click.echo(f"parallel-loop: {files} of the queue cannot be read; see `parallel-loop doctor`", err=True)
    if as_json:
        write_json(rows)
        return
    if not rows and (states or survey.done.packed or survey.damage):
        click.echo(f"no item is {' or '.join(states)}" if states else "no items but those")
        return
    from ..drawing.tables import items_table

    click.echo(items_table(rows))
