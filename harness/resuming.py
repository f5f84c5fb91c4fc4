"""Whether the next attempt at an item goes on with the program's session of an earlier one, and from where.

A session knows what was done, so what it goes on from is the work of that attempt, not what landed meanwhile.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ..queue import atomic
from ..queue.records import Entry, Record, Usage
from ..worktrees.branches import attempt_branch
from ..worktrees.repository import Repository
from ..worktrees.salvage import salvage_ref
from .configuration.config import Config
from .dialects.events import AnyEvent, Session, Used, dollars, is_session_name
from .programs import program_of
from .project import Project
from .state import StateDirectory

# After these the same program can go on where it was, with what is said in place of the prompt.
_GO_ON = "Go on with what you were doing: {why}."
_WORDS = {
    "limited": _GO_ON,
    "rate-limited": _GO_ON,
    "overloaded": _GO_ON,
    "auth-failed": _GO_ON,
    "network": _GO_ON,
    "server-error": _GO_ON,
    "interrupted": _GO_ON,
    "died": _GO_ON,
    "no-result": _GO_ON,
    "no-room": _GO_ON,
    "stalled": "You were stopped, because {why}. Look at what you have, and go on in another way.",
    "looping": "You were stopped, because {why}. Do not do that again: look at what you have, and take another way.",
    "asked": "",
    "denied": "",
    "review": "",
}
_ONCE = {"stalled", "looping"}  # a second time in the same session shows that it does not help
_MOST_EVENT_BYTES = 20_000_000


@dataclass(frozen=True)
class Resumption:
    """A session to go on with: that of an earlier attempt at `item`, which `record` ended, and what to say to it."""

    session: str
    item: str
    attempt: int
    record: Record
    words: str


def resumption(entry: Entry, project: Project, agent: str) -> Resumption | None:
    """Return what an attempt by `agent` that begins now goes on with; None when it begins anew."""
    config = project.config
    last, number = _last_attempt(entry)
    if last is None or last.outcome not in _WORDS or not _can_resume(entry, config, last, agent):
        return None
    session = last.session or _told(project, entry.item.id, number, last)
    if session is None or not is_session_name(session) or (last.outcome in _ONCE and _again(entry, last)):
        return None
    words = _WORDS[last.outcome].format(why=(last.why or "you were interrupted").rstrip("."))
    return Resumption(session, entry.item.id, number, last, words)


def where_it_stopped(resumed: Resumption, repository: Repository, tip: str) -> tuple[str, str] | None:
    """Return the commit with the work of the session, and where it left the history of `tip`; None without any work.

    What nobody could commit any more was salvaged, with all that had been committed. A name that leads to a history of
    another kind, as after somebody rewrote it, is passed over for the next.
    """
    branch = resumed.record.branch or attempt_branch(resumed.item, resumed.attempt)
    names = (salvage_ref(branch), resumed.record.commit, f"refs/heads/{branch}")
    for work in (commit for name in names if name and (commit := repository.resolve(name))):
        base = repository.merge_base(tip, work)
        if base is not None:
            return work, base
    return None


def used_before(resumed: Resumption, state: StateDirectory) -> Usage | None:
    """Return what the session had used before it goes on, as far as its program says that."""
    agent = resumed.record.agent
    return None if agent is None else session_usage_in(state.agent(agent).events_file(resumed.item, resumed.attempt))


def _last_attempt(entry: Entry) -> tuple[Record | None, int]:
    """Return the record that ended the latest attempt that had a say, and its number; None after a person's retry."""
    number = sum(record.kind == "claimed" for record in entry.records)
    current = entry.last_is("claimed")
    for record in reversed(entry.records[:-1] if current else entry.records):
        if record.kind in {"released", "waiting"}:
            return record, number - current
        if record.kind in {"retried", "failed", "cancelled"}:
            return None, 0
    return None, 0


def _can_resume(entry: Entry, config: Config, last: Record, agent: str) -> bool:
    program = program_of(entry.item, config)
    if program not in config.known_programs() or last.program not in {None, program}:
        return False
    adapter = config.adapter(program)
    return adapter.resume is not None and (adapter.resume_in != "same" or last.agent == agent)


def goes_on_only_there(record: Record, program: str, config: Config) -> bool:
    """Tell whether what `record` ends can be gone on with, but only by the agent that had it."""
    return record.session is not None and record.outcome in _WORDS and is_bound_to_its_place(program, config)


def is_bound_to_its_place(program: str, config: Config) -> bool:
    """Tell whether a session of the program goes on only in the directory where it began."""
    if program not in config.known_programs():
        return False
    adapter = config.adapter(program)
    return adapter.resume is not None and adapter.resume_in == "same"


def _again(entry: Entry, last: Record) -> bool:
    before = [record for record in entry.records if record.session == last.session and record is not last]
    return any(record.outcome in _ONCE for record in before)


def _told(project: Project, item_id: str, attempt: int, last: Record) -> str | None:
    """Return what a worker that was killed had heard of the session: it could record nothing."""
    if last.agent is None:
        return None
    return session_in(project.state.agent(last.agent).events_file(item_id, attempt))


def session_in(events: Path) -> str | None:
    """Return the session that a file of events names last."""
    found = None
    for event in events_in(events, b'"session"'):
        if isinstance(event, Session) and is_session_name(event.id):
            found = event.id
    return found


def session_usage_in(events: Path) -> Usage | None:
    """Return what a file of events says last of what its whole session used."""
    found = None
    for event in events_in(events, b'"session"'):
        if isinstance(event, Used) and event.scope == "session":
            found = Usage(event.input, event.cached, event.output, dollars(event.usd))
    return found


def events_in(path: Path, with_word: bytes) -> Iterator[AnyEvent]:
    """Yield the events of a file whose lines have that word in them."""
    try:
        data = atomic.read_file(path, _MOST_EVENT_BYTES) or b""
    except (OSError, atomic.Unreadable):
        return
    decode = msgspec.json.Decoder(AnyEvent).decode
    for line in data.splitlines():
        if with_word in line:
            # The last line of one that was killed; or a program wrote there.
            with contextlib.suppress(msgspec.MsgspecError, UnicodeError, RecursionError):
                yield decode(line)
