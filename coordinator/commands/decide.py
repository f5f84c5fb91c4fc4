"""What a person decides about one item: `retry`, `cancel`, `answer`, `interrupt`, `approve`, `reject`."""

from __future__ import annotations

import os

import click

from ...harness.configuration.schema import Invalid
from ...harness.keeping.processes import MARK_AGENT, MARK_STATE
from ...harness.project import Project
from ...harness.state import AgentDirectory, living_worker
from ...queue import atomic, requests
from ...queue.ids import check_id
from ..errors import NotThere, WrongUsage
from ..lock import read_holder
from .caller import Caller, find_entry, nobody
from .fields import check_text


@click.command(short_help="Make a failed, cancelled or delayed item takable again")
@click.argument("item_id", metavar="ID")
@click.pass_obj
def retry(caller: Caller, item_id: str) -> None:
    """Make a failed, cancelled or delayed item takable now, with all its attempts before it.

    \b
    Example:
      parallel-loop retry fix-login
    """
    project = caller.project()
    find_entry(project, item_id)
    requests.retry(project.queue, item_id)
    click.echo(f"{item_id} will be tried again")


@click.command(short_help="End an item; its worker is stopped if it has one")
@click.argument("item_id", metavar="ID")
@click.pass_obj
def cancel(caller: Caller, item_id: str) -> None:
    """End an item, whatever it does now. What its program has done so far is kept in the repository.

    Items that wait for it stay blocked until it is tried again and done.

    \b
    Example:
      parallel-loop cancel fix-login
    """
    project = caller.project()
    find_entry(project, item_id)
    before = requests.cancel(project.queue, item_id)
    working = before.last is not None and before.last.kind == "claimed"
    click.echo(f"{item_id} is cancelled" + (f"; {before.records[-1].agent} stops working on it" if working else ""))


@click.command(short_help="Let a waiting item go on, with TEXT added to its prompt")
@click.argument("item_id", metavar="ID")
@click.argument("text", nargs=-1, required=True)
@click.pass_obj
def answer(caller: Caller, item_id: str, text: tuple[str, ...]) -> None:
    """Let an item that waits for a person go on, with TEXT added to its prompt.

    One that waits for review goes back to work, as with `reject`.

    \b
    Example:
      parallel-loop answer fix-login 'Yes, an empty password must be refused'
    """
    project = caller.project()
    find_entry(project, item_id)
    before = requests.answer(project.queue, item_id, joined(text, "TEXT"))
    done = before.last is not None and before.last.outcome in {requests.REVIEW, requests.UNLANDED}
    click.echo(f"{item_id} {'goes back to work' if done else 'goes on'} with that answer")


@click.command(short_help="Interrupt what an agent does, and tell it something")
@click.argument("name", metavar="ID|agent-N")
@click.argument("text", nargs=-1)
@click.pass_obj
def interrupt(caller: Caller, name: str, text: tuple[str, ...]) -> None:
    """Stop the program that works on an item, or that an agent runs, and let it go on with TEXT.

    It costs no attempt. A program that can goes on in the same session, else the next attempt is told. A script may as
    well write TEXT into the file `interrupt` in the agent's folder below `.parallel-loop/agents`.

    \b
    Example:
      parallel-loop interrupt fix-login 'The database is SQLite, not MySQL'
    """
    project = caller.project()
    agent = _at_work(project, name)
    if (os.environ.get(MARK_STATE), os.environ.get(MARK_AGENT)) == (str(project.state.root), agent.name):
        problem = "a program cannot interrupt itself: that costs no attempt, so it might do that for ever"
        raise WrongUsage(f"{problem}; end, or ask for a person with `parallel-loop ask`")
    said = joined(text, "TEXT") if text else ""
    atomic.replace_file(agent.interrupt, f"{said}\n".encode(errors="surrogateescape"))
    click.echo(f"{agent.name} is interrupted" + (" and told that" if text else "") + "; what it works on goes on")


def _at_work(project: Project, name: str) -> AgentDirectory:
    """Return the agent of that name, or the one that works on the item of that name. Raises NotThere."""
    entry = project.queue.entry(check_id(name))
    if entry is None and name in project.state.agent_names():
        beat = living_worker(project.state.agent(name))
        if beat is None or beat.item is None:
            raise NotThere(f"{name} works on nothing now; nothing was interrupted")
        return project.state.agent(name)
    if entry is None:
        raise nobody(project, name)
    last = entry.last
    if last is None or last.kind != "claimed" or last.agent is None:
        raise NotThere(f"nobody works on {name} now; nothing was interrupted")
    return project.state.agent(last.agent)


@click.command(short_help="Let an item that waits for review land")
@click.argument("item_id", metavar="ID")
@click.pass_obj
def approve(caller: Caller, item_id: str) -> None:
    """Let the work of an item land that waits for review (`land: review` in the configuration).

    Also what a program did that was denied something, and went on without it.

    A running coordinator, or the next one, lands it; without one `parallel-loop land ID` does so at once.

    \b
    Example:
      parallel-loop diff fix-login
      parallel-loop approve fix-login
    """
    project = caller.project()
    find_entry(project, item_id)
    requests.approve(project.queue, item_id)
    if read_holder(project.state.coordinator_lock) is not None:
        click.echo(f"{item_id} is approved and lands; `parallel-loop status` shows how that goes")
    else:
        click.echo(f"{item_id} is approved and lands in the next run; `parallel-loop land {item_id}` lands it at once")


@click.command(short_help="Send an item that waits for review back to work, with REASON in its prompt")
@click.argument("item_id", metavar="ID")
@click.argument("reason", nargs=-1, required=True)
@click.pass_obj
def reject(caller: Caller, item_id: str, reason: tuple[str, ...]) -> None:
    """Send an item that waits for review back for another attempt, with REASON added to its prompt.

    The branch of the work that was rejected is kept, and the next attempt is told its name.

    \b
    Example:
      parallel-loop reject fix-login 'The form must keep what was typed'
    """
    project = caller.project()
    find_entry(project, item_id)
    requests.reject(project.queue, item_id, joined(reason, "REASON"))
    click.echo(f"{item_id} goes back to work with that reason")


def joined(words: tuple[str, ...], name: str) -> str:
    """Return the words as one text; a shell has split it when it was not quoted. Raises WrongUsage."""
    try:
        return check_text(" ".join(words), (name,))
    except Invalid as error:
        raise WrongUsage(f"{name}: {error.problem}") from None
