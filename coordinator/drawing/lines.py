"""One plain line for each event of `events.jsonl`: what `run` prints when it has no terminal to draw on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...harness.configuration.units import format_duration
from ...queue.atomic import open_own
from .cells import clean, cut
from .moments import clock

_LONGEST_LINE_BYTES = 1 << 20  # no event of ours comes near; a longer line is skipped rather than kept in memory
_LONGEST_CELLS = 300
_GENERAL = ("at", "event", "item", "attempt", "agent")  # what stands at the beginning of every line

Event = dict[str, Any]


def describe_event(event: Event) -> str | None:
    """Return the line for `event`, None when it is none. An unknown kind is shown with all that it holds."""
    kind = event.get("event")
    if not isinstance(kind, str):
        return None
    describe = _WORDS.get(kind)
    if describe is None:
        text = kind + "".join(f" {key}={value}" for key, value in event.items() if key not in _GENERAL)
    else:
        text = describe(event)
    at = event.get("at")
    item = event.get("item")
    attempt = event.get("attempt")
    name = "" if item is None else f"{item}#{attempt}" if attempt is not None else str(item)
    start = [clock(at if isinstance(at, str) else None), str(event.get("agent") or "-").ljust(7)]
    return "  ".join(map(clean, [*start, *([name] if name else []), cut(clean(text), _LONGEST_CELLS)]))


def _said(words: str, *, with_why: bool = True) -> Callable[[Event], str]:
    def say(event: Event) -> str:
        why = event.get("why") if with_why else None
        return f"{words}: {why}" if why else words

    return say


def _landed(event: Event) -> str:
    commit, seconds = event.get("commit"), event.get("seconds")
    text = f"done: landed as {str(commit)[:7]}" if commit else "done: landed"
    return f"{text} in {format_duration(seconds)}" if isinstance(seconds, (int, float)) else text


def _failed_so(words: str) -> Callable[[Event], str]:
    def say(event: Event) -> str:
        outcome, why = event.get("outcome"), event.get("why")
        return words + (f" ({outcome})" if outcome else "") + (f": {why}" if why else "")

    return say


def _with(words: str, key: str) -> Callable[[Event], str]:
    def say(event: Event) -> str:
        value = event.get(key)
        return words if value is None else f"{words} {value}"

    return say


def _followed(event: Event) -> str:
    return f"{event.get('target') or 'the target'} follows" + _at_commit(event)


def _at_commit(event: Event) -> str:
    commit = event.get("commit")
    return f", now at {str(commit)[:7]}" if commit else ""


def _blocked(event: Event) -> str:
    return f"{event.get('target') or 'the target'} cannot follow: {event.get('why') or 'not known why'}"


def _paused(event: Event) -> str:
    return f"paused: {event.get('program')}: {event.get('why')}"


def _account(words: str) -> Callable[[Event], str]:
    def say(event: Event) -> str:
        until, why = event.get("until"), event.get("why")
        resets_at, key = event.get("resets_at"), event.get("held_by")
        end = f" until {clock(until)}" if isinstance(until, str) else ""
        if key and isinstance(resets_at, str):
            goes_on = f"at {clock(until)}" if isinstance(until, str) else "with `parallel-loop resume`"
            end = f", which is over at {clock(resets_at)}; it goes on {goes_on} (`{key}`)"
        return f"the account {event.get('account')} {words}{end}" + (f": {why}" if why else "")

    return say


_WORDS: dict[str, Callable[[Event], str]] = {
    "claimed": _said("claimed"),
    "passed-over": _said("passed over while others are ready"),
    "landing": _said("handed over for landing"),
    "landed": _landed,
    "done": _said("done"),
    "released": _failed_so("given back for another attempt"),
    "failed": _failed_so("failed, no attempts left"),
    "waiting": _said("waits for a person"),
    "answered": _said("answered by a person", with_why=False),
    "retried": _said("to be tried again, asked by a person", with_why=False),
    "cancelled": _said("cancelled"),
    "abandoned": _said("abandoned: the claim was taken away meanwhile"),
    "salvaged": _with("left work was kept as", "ref"),
    "salvage-pruned": _with("saved work was let go of, as `salvage: keep:` says:", "ref"),
    "set-aside": lambda event: f"{event.get('why')}" + (f"; kept as {event.get('ref')}" if event.get("ref") else ""),
    "security": _said("SECURITY"),
    "shared-changed": _said("what all worktrees share"),
    "unguarded": _said("what all worktrees share could not be looked at"),
    "left-running": _said("not all of it could be ended"),
    "setup-missing": _with("`setup:` names what is not there:", "names"),
    "started": _with("worker started, pid", "pid"),
    "adopted": _with("worker of an earlier coordinator found alive, pid", "pid"),
    "died": _said("worker died"),
    "killed": _said("worker killed"),
    "hindered": _said("something is in the way; it is tried again"),
    "unhindered": lambda event: f"it goes on, after {format_duration(float(event.get('seconds') or 0))}",
    "cannot-record": _said("done, but it cannot be written down yet"),
    "restored": _said("the landing branch was put back"),
    "gave-up": _said("given up: its workers die again and again"),
    "taken-back": _said("taken back from a dead worker"),
    "target-followed": _followed,
    "target-merged": lambda event: f"new commits on {event.get('target') or 'the target'} were merged in",
    "target-blocked": _blocked,
    "pushed": lambda event: f"pushed to {event.get('remote')}" + _at_commit(event),
    "push-blocked": _said("not in step with the remote"),
    "running": _with("coordinator running, pid", "pid"),
    "paused": _said("paused: no more items are taken"),
    "resumed": _said("resumed"),
    "program-paused": _paused,
    "run-over-budget": _said("what costs money waits for another run"),
    "program-resumed": _with("no longer paused:", "program"),
    "account-limited": _account("is at its limit"),
    "account-backing-off": _account("meets a busy service and waits"),
    "account-refused": _account("is refused and needs a person"),
    "account-open": _account("is used again"),
    "finishing": _said("finishing: the work in hand goes on, no more is taken"),
    "stopping": _said("stopping: the programs are ended, their items given back"),
    "reloaded": _said("configuration in force"),
    "reload-refused": _said("configuration refused, the one before stays in force"),
    "restart-needed": _said("configuration"),
    "agents-fixed": _said("configuration"),
    "ended": _said("ended"),
}


class EventTail:
    """Follows a file of events; it may not be there yet, be cut short, or be replaced by another.

    With `from_end`, what is in it now is passed over.
    """

    def __init__(self, path: Path, *, from_end: bool = False) -> None:
        self._path = path
        self._offset = 0
        self._file: tuple[int, int] | None = None
        if from_end:
            for _ in self._lines():
                pass

    def read(self) -> Iterator[Event]:
        """Yield the events of the complete lines that are new. A line without its end waits for the rest."""
        for line in self._lines():
            event = _decode(line)
            if event is not None:
                yield event

    def _lines(self) -> Iterator[bytes]:
        try:
            descriptor = open_own(self._path, os.O_RDONLY)
        except OSError:
            return
        with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor has no path)
            status = os.fstat(descriptor)
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._offset:
                self._file, self._offset = (status.st_dev, status.st_ino), 0
            file.seek(self._offset)
            while line := file.readline(_LONGEST_LINE_BYTES):
                if not line.endswith(b"\n") and len(line) < _LONGEST_LINE_BYTES:
                    return
                self._offset += len(line)
                yield line


def _decode(line: bytes) -> Event | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
