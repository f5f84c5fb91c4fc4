"""`parallel-loop logs`: what a program printed."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from ...harness.project import Project
from ...harness.state import read_session
from ...queue.ids import check_id
from ...queue.records import Entry, Usage
from ..errors import NotThere
from .caller import Caller, no_agent, nobody
from .harmless import Harmless
from .readable import raw_pieces, readable_pieces


@dataclass(frozen=True)
class Source:
    """Something that was or is being printed: what to call it, where it is kept, and whether more can come.

    Of an attempt, `events` are what its program told, and `usage` is by its record.
    """

    what: str
    log: Path
    has_ended: Callable[[], bool]
    events: Path | None = None
    usage: Callable[[], Usage | None] = lambda: None


@click.command(short_help="Print what the program printed, of an item or an agent")
@click.argument("name", metavar="ID|agent-N")
@click.option("--attempt", "number", metavar="K", type=click.IntRange(min=1), help="Its K-th attempt, not the latest.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--raw", is_flag=True, help="The bytes that it printed, whatever they are.")
@click.option("--worker", is_flag=True, help="Of an agent: what its worker itself said, such as why it died.")
@click.pass_obj
def logs(caller: Caller, name: str, number: int | None, follow: bool, raw: bool, worker: bool) -> None:
    """Print what the program printed in the latest attempt at an item, or in the latest attempt of an agent.

    Of an agent program that tells what it does in JSON: what it said, the tools that it used and how they ended, what
    it had to wait for, what it used; with --raw the JSON itself. All else is printed as it is. On a terminal, colours
    pass and other control characters are made visible.

    \b
    Example:
      parallel-loop logs fix-login --follow
      parallel-loop logs agent-2
    """
    project = caller.project(only_read=True)
    source = _worker_source(project, name) if worker else _find(project, name, number)
    write, end = _writer(caller)

    def has_ended() -> bool:
        return not follow or source.has_ended()

    if raw or source.events is None:
        pieces = raw_pieces(source.log, has_ended)
    else:
        pieces = readable_pieces(source.log, source.events, has_ended, source.usage)
    for piece in pieces:
        write(piece)
    end()
    if not source.log.exists():  # the events are not without it
        raise NotThere(f"{source.what} has printed nothing: there is no {source.log}")
    if not source.log.stat().st_size:
        click.echo(f"parallel-loop: {source.what} has printed nothing", err=True)


def _find(project: Project, name: str, number: int | None) -> Source:
    """Return the attempt that is meant; an item goes before an agent of the same name. Raises NoSuchItem, NotThere."""
    entry = project.queue.entry(check_id(name))
    if entry is not None:
        return _attempt(project, entry, number)
    if name not in project.state.agent_names():
        raise nobody(project, name)
    session = read_session(project.state.agent(name))
    entry = None if session is None else project.queue.entry(session.item)
    if session is None or entry is None:
        raise NotThere(
            f"{name} has worked on nothing yet; `parallel-loop logs {name} --worker` shows its worker's words"
        )
    return _attempt(project, entry, number or session.attempt)


def _attempt(project: Project, entry: Entry, number: int | None) -> Source:
    claims = [index for index, record in enumerate(entry.records, start=1) if record.kind == "claimed"]
    item_id = entry.item.id
    if not claims:
        raise NotThere(f"{item_id} was never worked on; it is {project.queue.state(entry)}")
    number = number or len(claims)
    if number > len(claims):
        raise NotThere(f"{item_id} has no attempt {number}; it has {len(claims)}, see `parallel-loop show {item_id}`")
    claim = claims[number - 1]
    agent = project.state.agent(entry.records[claim - 1].agent or "")
    ended = functools.partial(project.queue.chain.has_record, item_id, claim + 1)

    def usage() -> Usage | None:
        now = project.queue.entry(item_id)
        return now.records[claim].usage if now is not None and len(now.records) > claim else None

    what, log, events = f"attempt {number} at {item_id}", agent.attempt_log(item_id, number), agent.events_file
    return Source(what, log, ended, events(item_id, number), usage)


def _worker_source(project: Project, name: str) -> Source:
    agent = project.state.agent(check_id(name))
    if name not in project.state.agent_names():
        raise no_agent(project, name)
    return Source(f"the worker of {name}", agent.worker_log, lambda: False)


def _writer(caller: Caller) -> tuple[Callable[[bytes], None], Callable[[], None]]:
    """Return how to write a piece, and what to do at the end."""
    if not sys.stdout.isatty():

        def raw(data: bytes) -> None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()

        return raw, lambda: None
    harmless = Harmless(colour=not caller.no_color and not os.environ.get("NO_COLOR"))
    return lambda data: click.echo(harmless.take(data), nl=False, color=True), lambda: click.echo(
        harmless.end(), nl=False, color=True
    )
