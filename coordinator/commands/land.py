"""`parallel-loop land`: what was left on its branch lands after all."""

from __future__ import annotations

import sys

import click

from ...harness.project import Project
from ...queue import requests
from ...queue.requests import Refused, is_unlanded
from ...queue.survey import Survey
from ..lock import AlreadyRunning, Holder, read_holder
from .caller import Caller, find_entry


@click.command(short_help="Land what was left on its branch (`land: never`)")
@click.argument("item_ids", metavar="[ID]...", nargs=-1)
@click.pass_obj
def land(caller: Caller, item_ids: tuple[str, ...]) -> int:
    """Land items that were left on their branches (`land: never` in the configuration); without ID all of them.

    One that was approved (`land: review`) can be named, too. A running coordinator is handed them. Without one they
    land here and now, checked as ever, one line for each change;
    what conflicts or fails the checks goes back for another attempt. The first Ctrl-C ends it after what is being
    tested, the second at once; what has not landed by then does so in the next run.

    \b
    Example:
      parallel-loop land fix-login

    Exit codes: 0 all landed, or were handed over; 1 one of them did not; 130 ended by Ctrl-C.
    """
    project = caller.project()
    wanted = tuple(dict.fromkeys(item_ids)) or _left_over(project)
    if not wanted:
        click.echo("nothing to land: no item was left on its branch")
        return 0
    for item_id in wanted:
        _require_known(project, item_id)
    holder = read_holder(project.state.coordinator_lock)
    if holder is None:
        from ..landing_alone import land_here
        from ..run import Lines, find_target

        try:
            target = find_target(project)
            return land_here(project, target, wanted, Lines(project.state.events, sys.stdout).show)
        except AlreadyRunning as error:  # somebody started one at the same moment
            holder = error.holder
    _hand_over(project, wanted, holder)
    return 0


def _left_over(project: Project) -> tuple[str, ...]:
    survey = Survey(project.queue)
    survey.refresh()
    return tuple(entry.item.id for entry in survey.entries() if is_unlanded(entry))


def _require_known(project: Project, item_id: str) -> None:
    """Raise Refused for an item of an earlier version, which ended it as done; NoSuchItem, InvalidId."""
    entry = find_entry(project, item_id)
    last = entry.last
    if last is not None and last.kind == "done" and (last.why or "").startswith("left on its branch"):
        said = "an earlier version ended it as done, on its branch; commits on your branch are checked and land"
        raise Refused(f"{item_id}: {said}: `git merge {last.branch}`")


def _hand_over(project: Project, item_ids: tuple[str, ...], holder: Holder | None) -> None:
    requests.land(project.queue, item_ids)
    what = item_ids[0] if len(item_ids) == 1 else f"{len(item_ids)} items"
    who = f"the coordinator (pid {holder.pid})" if holder is not None else "the coordinator"
    click.echo(f"{who} lands {what}; `parallel-loop status` shows how that goes")
