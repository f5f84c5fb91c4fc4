"""`parallel-loop tidy`: finished items are packed, so that a queue stays quick however much it has done."""

from __future__ import annotations

import click

from ...harness.configuration.units import parse_duration
from ...queue.tidying import tidy as pack_done_items
from ..errors import WrongUsage
from .caller import Caller


@click.command(short_help="Pack finished items; their history stays readable")
@click.option(
    "--older-than",
    default="1h",
    metavar="DUR",
    show_default=True,
    help="Only what was done at least this long ago, for example 90s, 20m, 0s.",
)
@click.pass_obj
def tidy(caller: Caller, older_than: str) -> None:
    """Move finished items, with all of their history, from files of their own into a few large ones.

    It works whether or not a coordinator runs, and may be interrupted. `show` and `list --all` show them as before.

    \b
    Example:
      parallel-loop tidy --older-than 24h
    """
    try:
        seconds = parse_duration(older_than)
    except ValueError as error:
        raise WrongUsage(f"--older-than: {error}") from error
    queue = caller.project().queue
    count = pack_done_items(queue, older_than_seconds=seconds) if queue.layout.format.exists() else 0
    if count:
        click.echo(f"{count} item{'s' * (count != 1)} packed")
    else:
        click.echo(f"nothing to pack: no item was done more than {older_than} ago and is not packed yet")
