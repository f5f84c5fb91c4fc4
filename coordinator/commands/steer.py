"""Speaking to the running coordinator: `stop`, `pause`, `resume`, `scale`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from ...harness.accounts.account_file import AccountFile, account_of
from ...harness.accounts.events import Resumed as AccountResumed
from ...harness.budgets import RunBudget
from ...harness.configuration.settings import MAX_AGENTS
from ...harness.configuration.wording import shown
from ...harness.identity import Identity, is_alive
from ...harness.pausing.pause_file import PauseFile
from ...harness.pausing.pauses import Resumed
from ...harness.project import Project
from ...harness.state import Heartbeat
from ..control import NotRunning, request
from ..errors import NotThere
from ..lock import Holder, read_holder
from ..survivors import count, describe, survivors
from .caller import Caller

_LOOK_SECONDS = 0.1


@click.command(short_help="End the coordinator: after the work in hand, or now")
@click.option("--now", is_flag=True, help="Stop the programs and give their items back.")
@click.option("--wait", is_flag=True, help="Return only when the coordinator has ended.")
@click.pass_obj
def stop(caller: Caller, now: bool, wait: bool) -> None:
    """Ask the coordinator to take no more items and to end when the work in hand is finished.

    With --now the programs are stopped and their items given back, at no cost of an attempt. The first and the second
    Ctrl-C in the coordinator's own terminal do the same. It can be asked for again, and --now may follow.

    When the coordinator was killed, its workers finish what they have and end by themselves; --now ends them, too.

    \b
    Example:
      parallel-loop stop --wait
    """
    project = caller.project()
    try:
        holder = request(project, ending="stop" if now else "finish")
    except NotRunning as error:
        if not error.left:
            raise
        _stop_survivors(project, error.left, now=now, wait=wait)
        return
    what = "stops its programs, gives their items back" if now else "takes no more items, finishes the work in hand"
    click.echo(f"the coordinator (pid {holder.pid}) {what} and ends")
    if wait:
        wait_for_end(project, holder)


def _stop_survivors(project: Project, left: Sequence[Heartbeat], *, now: bool, wait: bool) -> None:
    """Do the same with workers that outlived their coordinator; they take no more items as it is."""
    if now:
        from ..clearing import end_survivors

        end_survivors(project)
        click.echo(f"{count(left)} ended, what was in hand was given back")
        return
    click.echo(f"no coordinator runs; {describe(left)}")
    while wait and survivors(project.state):
        time.sleep(_LOOK_SECONDS)


@click.command(short_help="Take no more items until `resume`")
@click.pass_obj
def pause(caller: Caller) -> None:
    """Take no more items. The work in hand goes on, and so does landing.

    \b
    Example:
      parallel-loop pause
    """
    holder = request(caller.project(), paused=True)
    click.echo(f"the coordinator (pid {holder.pid}) takes no more items; `parallel-loop resume` goes on")


@click.command(short_help="Take items again after `pause`, or those of a paused program or account")
@click.argument("name", metavar="[NAME]", required=False)
@click.pass_obj
def resume(caller: Caller, name: str | None) -> None:
    """Take items again after `pause`.

    With the NAME of a program or account, try one of its items now. A program whose attempts failed alike within
    seconds is paused by itself, an account that was refused or is at its limit is parked, and `parallel-loop status`
    says why. A success lets the others go on; what goes wrong in the same way again costs no attempt. That needs no
    running coordinator.

    \b
    Example:
      parallel-loop resume
      parallel-loop resume claude
    """
    project = caller.project()
    if name is not None:
        _resume(project, name)
        return
    holder = request(project, paused=False)
    click.echo(f"the coordinator (pid {holder.pid}) takes items again")


def _resume(project: Project, name: str) -> None:
    pauses, accounts = PauseFile(project), AccountFile(project)
    paused = {one.last.program for one in pauses.look() if one.until is not None}
    parked = {one.name for one in accounts.look().accounts if one.standing != "open" or one.cap is not None}
    found = parked & {name, account_of(name, project.config)}
    if name not in paused and not found and name in RunBudget(project).barred():
        remedy = "`parallel-loop restart` begins another run, a higher `budget: run:` lets this one go on"
        raise NotThere(f"{RunBudget(project).why}; {remedy}")
    if name not in paused and not found:
        known = [
            f"{word}: {', '.join(sorted(those))}" for word, those in (("paused", paused), ("parked", parked)) if those
        ]
        raise NotThere(f"the program {shown(name)} is not paused; {'; '.join(known) or 'no program is'}")
    if name in paused:
        pauses.change(Resumed(name))
    for account in found:
        accounts.change(AccountResumed(account))
    when = "now" if read_holder(project.state.coordinator_lock) else "when a coordinator runs"
    click.echo(f"one item of {name} is tried {when}, and when that goes well the others are taken again")


@click.command(short_help="Want N agents from now on")
@click.argument("agents", metavar="N", type=click.IntRange(1, MAX_AGENTS))
@click.pass_obj
def scale(caller: Caller, agents: int) -> None:
    """Want N agents (1 to 128) from now on. Those that are too many finish the item they have.

    It counts until the coordinator ends, or `agents:` in the configuration is changed.

    \b
    Example:
      parallel-loop scale 5
    """
    holder = request(caller.project(), agents=agents)
    click.echo(f"the coordinator (pid {holder.pid}) now wants {agents} {'agent' if agents == 1 else 'agents'}")


def wait_for_end(project: Project, holder: Holder) -> None:
    """Return when this coordinator has ended, however long that takes."""
    process = Identity(holder.pid, holder.process_start, holder.boot)
    while True:
        found = read_holder(project.state.coordinator_lock)
        if (found is None or found.pid != holder.pid) and not is_alive(process):
            return
        time.sleep(_LOOK_SECONDS)
