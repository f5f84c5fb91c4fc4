"""Landing in the foreground, where no coordinator runs: `parallel-loop land`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import click

from ..harness.project import Project
from ..queue import requests
from ..queue.records import Entry
from .alone import LoopOrders, in_this_process
from .errors import FAILED, INTERRUPTED
from .lander import Lander
from .target_report import read_target


def land_here(project: Project, target: str, item_ids: Sequence[str], tell: Callable[[], None]) -> int:
    """Land these items, and what else waits for landing; return the exit code.

    Raises AlreadyRunning, Refused, and PlaceTaken when a lander that outlived its coordinator still lands.
    """
    with in_this_process(project, tell, drain=True) as orders:
        with contextlib.closing(Lander(project, target, orders)) as lander:
            requests.land(project.queue, item_ids)
            lander.land_in_turn()
        tell()
        return _report(project, item_ids, orders)


def _report(project: Project, item_ids: Sequence[str], orders: LoopOrders) -> int:
    """Say what did not land, and why; return the exit code."""
    left = [entry for item_id in item_ids if (entry := project.queue.entry(item_id)) and not entry.last_is("done")]
    for entry in left:
        click.echo(f"parallel-loop: {entry.item.id} did not land: {_why(project, entry)}", err=True)
    if orders.finishing:
        return INTERRUPTED
    return FAILED if left else 0


def _why(project: Project, entry: Entry) -> str:
    last, target = entry.records[-1], read_target(project.state.root)
    if last.kind != "landing":
        return f"{last.why or last.kind}; it is {project.queue.state(entry)} now"
    blocked = f"; {target.blocked}" if target is not None and target.blocked else ""
    return f"it waits for landing{blocked}; the next run lands it"
