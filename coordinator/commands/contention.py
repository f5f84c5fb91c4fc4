"""`parallel-loop contention`: is a claim exclusive on this machine and file system?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ..errors import FAILED
from .caller import Caller, write_json


@click.command(short_help="Let many processes race for one item, and count the winners")
@click.option(
    "--iterations", metavar="N", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, help="Races."
)
@click.option("--claimers", metavar="N", type=click.IntRange(1, 256), default=10, show_default=True, help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.pass_obj
def contention(caller: Caller, iterations: int, claimers: int, as_json: bool) -> int:
    """Let that many real processes race for one item through a real queue, once an iteration.

    The queue is a throw-away one, on the repository's own file system if there is a repository with a .parallel-loop/,
    else in the temporary folder. Prints the winners of each iteration, violations and latencies.

    \b
    Example:
      parallel-loop contention --iterations 1000 --claimers 10

    Exit code 1 when an item had no winner, or more than one.
    """
    from ..contention import render, run_contention

    directory = caller.state_if_known() or Path(tempfile.gettempdir())
    result = run_contention(directory, iterations, claimers)
    if as_json:
        write_json(result)
    else:
        click.echo(render(result))
    return FAILED if result.violations else 0
