"""`parallel-loop contention`: is a claim exclusive on this machine and file system?"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from ..errors import FAILED, WrongUsage
from .caller import Caller, write_json

_ITERATIONS = 1000


@click.command(short_help="Let many processes race for one item, and count the winners")
@click.option("--iterations", metavar="N", type=click.IntRange(1, 1_000_000), help=f"Races.  [default: {_ITERATIONS}]")
@click.option("--claimers", metavar="N", type=click.IntRange(1, 256), default=10, show_default=True, help="Processes.")
@click.option("--items", metavar="K", type=click.IntRange(1, 1_000_000), help="Drain a queue of K items, no races.")
@click.option("--rounds", is_flag=True, help="Print a line for each race.")
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the queue is made: try the file system that you want to use.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, those of each race too.")
@click.pass_obj
def contention(caller: Caller, /, directory: Path | None, claimers: int, as_json: bool, **what: int | None) -> int:
    """Let many real processes race for one item through a real queue, once an iteration; or, with --items, let them
    take and complete K items until none is left.

    The queue is a throw-away one, below --dir, else on the repository's own file system if there is a repository with
    a .parallel-loop/, else in the temporary folder; it is kept only when something went wrong. Prints what the file
    system can do, the winners of each iteration, violations and latencies; of a drain its rate and the least-served
    process.

    \b
    Examples:
      parallel-loop contention --iterations 1000 --claimers 10
      parallel-loop contention --items 10000 --dir /mnt/shared

    Exit codes: 1 when an item had no winner, or more than one, or its records say anything else; 4 when the directory
    is on a file system without hard links.
    """
    iterations, items, rounds = what["iterations"], what["items"], what["rounds"]
    if items is not None and (rounds or iterations is not None):
        raise WrongUsage("--items drains a queue and has no races; leave out --iterations and --rounds")
    place = (directory or caller.state_if_known() or Path(tempfile.gettempdir())).absolute()
    from .. import contention_report as report

    if items is not None:
        from ..contention_drain import run_drain

        drained = run_drain(place, items, claimers)
        write_json(drained) if as_json else click.echo(report.render_drain(drained))
        return FAILED if drained.violations else 0
    from ..contention import run_contention

    show = (lambda found: click.echo(report.render_round(found))) if rounds and not as_json else None
    result = run_contention(place, iterations or _ITERATIONS, claimers, on_round=show)
    write_json(result) if as_json else click.echo(report.render(result))
    return FAILED if result.violations else 0
