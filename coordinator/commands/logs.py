"""`parallel-loop logs`: what a program printed."""

from __future__ import annotations

import functools
import os
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click

from ...harness.project import Project
from ...harness.state import read_session
from ...queue.ids import check_id
from ...queue.records import Entry
from ...queue.requests import NoSuchItem
from ..errors import NotThere
from .caller import Caller
from .harmless import Harmless

_AGENT_NAME = re.compile(r"agent-[0-9]+")
_LOOK_SECONDS = 0.2
_PIECE_BYTES = 65536


@dataclass(frozen=True)
class Source:
    """Something that was or is being printed: what to call it, where it is kept, and whether more can come."""

    what: str
    log: Path
    has_ended: Callable[[], bool]


@click.command(short_help="Print what the program printed, of an item or an agent")
@click.argument("name", metavar="ID|agent-N")
@click.option("--attempt", "number", metavar="K", type=click.IntRange(min=1), help="Its K-th attempt, not the latest.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the attempt has ended.")
@click.option("--worker", is_flag=True, help="Of an agent: what its worker itself said, such as why it died.")
@click.pass_obj
def logs(caller: Caller, name: str, number: int | None, follow: bool, worker: bool) -> None:
    """Print what the program printed in the latest attempt at an item, or in the latest attempt of an agent.

    The bytes are printed as they are; on a terminal, colours pass and other control characters are made visible.

    \b
    Example:
      parallel-loop logs fix-login --follow
      parallel-loop logs agent-2
    """
    project = caller.project(only_read=True)
    source = _worker_source(project, name) if worker else _find(project, name, number)
    write, end = _writer(caller)
    for piece in _pieces(source.log, lambda: not follow or source.has_ended()):
        write(piece)
    end()
    if not source.log.exists():
        raise NotThere(f"{source.what} has printed nothing: there is no {source.log}")


def _find(project: Project, name: str, number: int | None) -> Source:
    """Return the attempt that is meant; an item goes before an agent of the same name. Raises NoSuchItem, NotThere."""
    entry = project.queue.entry(check_id(name))
    if entry is not None:
        return _attempt(project, entry, number)
    if name not in project.state.agent_names():
        raise _no_agent(project, name) if _AGENT_NAME.fullmatch(name) else NoSuchItem(name)
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
    log = project.state.agent(entry.records[claim - 1].agent or "").attempt_log(item_id, number)
    ended = functools.partial(project.queue.chain.has_record, item_id, claim + 1)
    return Source(f"attempt {number} at {item_id}", log, ended)


def _worker_source(project: Project, name: str) -> Source:
    agent = project.state.agent(check_id(name))
    if name not in project.state.agent_names():
        raise _no_agent(project, name)
    return Source(f"the worker of {name}", agent.worker_log, lambda: False)


def _no_agent(project: Project, name: str) -> NotThere:
    names = project.state.agent_names()
    known = f"those that there are: {', '.join(names)}" if names else "none has worked here yet"
    return NotThere(f"there is no agent {name!r}; {known}")


def _pieces(path: Path, ended: Callable[[], bool]) -> Iterator[bytes]:
    """Yield the file's content until it was read after `ended` said yes; nothing when it never comes to be."""
    file: BinaryIO | None = None
    try:
        while True:
            last = ended()  # asked before reading: what is written in between is not missed
            file = file or _open(path)
            while file is not None and (piece := file.read(_PIECE_BYTES)):
                yield piece
            if last:
                return
            time.sleep(_LOOK_SECONDS)
    finally:
        if file is not None:
            file.close()


def _open(path: Path) -> BinaryIO | None:
    """Open a log; None when there is none. A program may have put a pipe there, which must not hold us up."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise NotThere(f"{path} is not a regular file any more; something replaced it")
    return file


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
