"""The coordinator in the background: `start` and `restart`."""

from __future__ import annotations

import click

from ...harness.configuration.settings import MAX_AGENTS
from ...harness.project import Project
from ...queue.requests import Refused
from ..background import Launch, launch, run_options
from ..control import NotRunning, request
from ..errors import ENVIRONMENT
from ..lock import read_holder, read_last_holder
from ..run import find_target
from ..service import find_manager
from .caller import Caller
from .steer import wait_for_end


@click.command(short_help="Run the coordinator in the background")
@click.option("--agents", metavar="N", type=click.IntRange(1, MAX_AGENTS), help="How many agents, 1 to 128.")
@click.option("--drain", is_flag=True, help="End when nothing is takable, delayed, in work or landing.")
@click.pass_obj
def start(caller: Caller, agents: int | None, drain: bool) -> int:
    """Start the coordinator detached from this terminal, and return when it is really up.

    Up means: it holds its lock, has published its status, and each worker has given its first sign of life, or is said
    not to have. What it prints is appended to .parallel-loop/coordinator.log. `status --watch` shows the dashboard,
    `stop` ends it, `restart` starts it again with the same options.

    \b
    Example:
      parallel-loop start --agents 3 && parallel-loop status --watch

    Exit codes: 0 it is up (or, with --drain, has ended already, all done); 3 another coordinator runs here; else that
    of the coordinator, whose last words are shown.
    """
    return _start(caller.project(), run_options(agents, drain))


@click.command(short_help="Stop the coordinator, then start it again with the same options")
@click.option("--now", is_flag=True, help="Stop the programs and give their items back.")
@click.pass_obj
def restart(caller: Caller, now: bool) -> int:
    """Stop the coordinator, wait until it has ended, and start one in the background with the same options.

    Without --now, the work in hand is finished first. A coordinator that was killed is just started again; the workers
    that outlived it are watched by the new one.

    \b
    Example:
      parallel-loop restart

    Exit codes: as of `start`.
    """
    project = Project.open(caller.start())  # not with what was accepted: what could not start again is not stopped
    find_target(project)
    last = read_last_holder(project.state.coordinator_lock)
    holder = read_holder(project.state.coordinator_lock)
    if holder is not None:
        if find_manager(project).runs(holder.pid):
            raise Refused(
                f"the coordinator (pid {holder.pid}) is kept by a service; `parallel-loop service restart` restarts it"
            )
        try:
            request(project, ending="stop" if now else "finish")
        except NotRunning:  # it has ended in between
            pass
        else:
            click.echo(f"the coordinator (pid {holder.pid}) {'stops' if now else 'finishes the work in hand'} first")
            wait_for_end(project, holder)
    options = [] if last is None else run_options(last.agents, last.drain)
    return _start(project, options)


def _start(project: Project, options: list[str]) -> int:
    launched = launch(project, options)
    code, line = _describe(launched, str(project.state.coordinator_log.relative_to(project.root)))
    click.echo(line if code == 0 else f"parallel-loop: {line}", err=code != 0)
    return code


def _describe(launched: Launch, log: str) -> tuple[int, str]:
    """Return the exit code and the line for what became of the coordinator."""
    who = f"the coordinator (pid {launched.pid})"
    match launched.exit_code:
        case None if launched.status is not None:
            return (
                0,
                f"{who} runs in the background, {launched.status}; it writes to {log}, `parallel-loop stop` ends it",
            )
        case None:
            return ENVIRONMENT, f"{who} runs and is not up yet; look at {log}, or end it with `parallel-loop stop`"
        case 0:
            return 0, f"{who} has ended already, with nothing left to do; {log} has what it did"
        case code if code < 0:
            return 128 - code, f"{who} was ended by signal {-code} before it was up; {log} has what it did"
        case code:
            return code, f"{who} ended before it was up: {launched.last_words or f'{log} does not say why'}"
