"""`parallel-loop demo`: the main job on a throw-away repository."""

from __future__ import annotations

import click

from ...harness.configuration.settings import MAX_AGENTS
from .caller import Caller


@click.command(short_help="Watch the main job on a throw-away clone of a real repository")
@click.option(
    "--agents", metavar="N", type=click.IntRange(1, MAX_AGENTS), default=3, show_default=True, help="How many agents."
)
@click.option("--keep", is_flag=True, help="Keep the clone afterwards and say where it is.")
@click.pass_obj
def demo(caller: Caller, /, agents: int, keep: bool) -> int:
    """Clone a real repository into a temporary folder, add a dozen items that depend on each other, run them with
    several agents, and show what landed and how long one agent would have taken.

    \b
    Example:
      parallel-loop demo --agents 3 --keep

    Exit code 0 only if every commit that landed passes the checks.
    """
    from ..demo.run import run_demo

    return run_demo(agents, keep, no_color=caller.no_color)
