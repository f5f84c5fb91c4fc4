"""`parallel-loop run`: the coordinator in the foreground."""

from __future__ import annotations

import click

from ...harness.settings import MAX_AGENTS
from .caller import Caller


@click.command(short_help="Work on the queue with several agents until stopped")
@click.option("--agents", metavar="N", type=click.IntRange(1, MAX_AGENTS), help="How many agents, 1 to 128.")
@click.option("--drain", is_flag=True, help="End when nothing is takable, delayed, in work or landing.")
@click.option("--json", "as_json", is_flag=True, help="Print the final status as JSON; changes go to standard error.")
@click.pass_obj
def run(caller: Caller, agents: int | None, drain: bool, as_json: bool) -> int:
    """Keep agents at work on the queue until stopped: the coordinator, in the foreground.

    On a terminal it shows the dashboard, otherwise one line for each change. The first Ctrl-C (or SIGTERM) takes no
    more items and lets the work in hand finish; the second stops the programs and gives their items back.

    --agents counts more than PARALLEL_AGENTS, which counts more than `agents:` in the configuration.

    \b
    Example:
      parallel-loop run --agents 3 --drain

    Exit codes: 0 ended as asked; 1 ended with items failed; 3 another coordinator runs here; 130 stopped by the second
    Ctrl-C.
    """
    from ..run import run_command

    return run_command(caller.project(), agents=agents, drain=drain, as_json=as_json, no_color=caller.no_color)
