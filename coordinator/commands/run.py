"""`parallel-loop run`: the coordinator in the foreground."""

from __future__ import annotations

import os

import click

from ...harness.configuration.settings import MAX_AGENTS
from ..errors import WrongUsage
from .caller import Caller


@click.command(short_help="Work on the queue with several agents until stopped")
@click.option("--agents", metavar="N", type=click.IntRange(1, MAX_AGENTS), help="How many agents, 1 to 128.")
@click.option("--drain", is_flag=True, help="End when nothing is takable, delayed, in work or landing.")
@click.option("--json", "as_json", is_flag=True, help="Print the final status as JSON; changes go to standard error.")
@click.option("--debug", is_flag=True, help="One worker in this very process; say what it does; breakpoints work.")
@click.pass_obj
def run(caller: Caller, agents: int | None, drain: bool, as_json: bool, debug: bool) -> int:
    """Keep agents at work on the queue until stopped: the coordinator, in the foreground.

    On a terminal it shows the dashboard, otherwise one line for each change. The first Ctrl-C (or SIGTERM) takes no
    more items and lets the work in hand finish; the second stops the programs and gives their items back.

    With --debug there is no coordinator: one worker and the landing in this process, which tells each git command that
    changes something or takes long, each command of an attempt and its output as it comes. `breakpoint()` in the code
    of parallel-loop stops on the terminal.

    --agents counts more than PARALLEL_AGENTS, which counts more than `agents:` in the configuration.

    A changed configuration is put in force within seconds, or at once by SIGHUP where there is no terminal: workers
    finish the item in hand with the old one. One that cannot be used is refused, and `status` says why.

    \b
    Example:
      parallel-loop run --agents 3 --drain

    Exit codes: 0 ended as asked; 1 ended with items failed, or drained but for those of paused programs and of accounts
    that need a person; 3 another coordinator runs here; 130 stopped by the second Ctrl-C.
    """
    from ..background import run_options
    from ..notify import Notifier
    from ..run import Wishes, run_command
    from ..scope import enter_scope

    if debug and (agents is not None or as_json):
        raise WrongUsage("--debug runs one agent and shows what it does; leave --agents and --json out")
    if not debug:
        options = [*run_options(agents, drain), *(["--json"] if as_json else [])]
        general = [*(["--no-color"] if caller.no_color else []), "--repo", str(caller.start())]
        enter_scope(os.environ, [*general, "run", *options])
    notifier = Notifier.take(os.environ)  # before anything copies the environment
    wishes = Wishes(agents, drain, as_json, debug, caller.no_color)
    return run_command(caller.project(), wishes, notifier)
