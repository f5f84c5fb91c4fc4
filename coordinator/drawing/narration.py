"""What a program told of its work, in lines for people: what it said, which tools it used, what hindered it.

Whatever a program says may stand in these lines; who shows them on a terminal makes them harmless.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from ...harness.configuration.units import format_duration
from ...harness.dialects.events import (
    Denied,
    Fault,
    KeptEvent,
    Printed,
    Quota,
    Result,
    Said,
    Session,
    ToolBegun,
    ToolEnded,
    Waits,
    Warned,
)
from ...harness.dialects.story import Story
from ...queue.records import Usage

_MOST_ARGUMENTS = 200  # characters of a line
_MOST_OUTPUT = 160
_QUOTA_STEPS = 20  # of these parts of a quota each is told of once


class Narration:
    """Tells one run, event by event."""

    def __init__(self) -> None:
        self._story = Story()
        self._last_tool = ""
        self._names: dict[str, str] = {}  # of the tools that have begun
        self._quotas: dict[str, int] = {}
        self._reason_given = ""
        self._denied: set[str] = set()  # the calls of which it was told; of one without a name, what was said

    def take(self, event: KeptEvent) -> Iterator[str]:
        """Yield the lines that say what happened next."""
        match event:
            case Printed(text=text):
                yield text
                return
            case Said(text=text):
                yield from (text.rstrip() or "").split("\n") if text.strip() else ()
            case ToolBegun():
                yield from self._begun(event)
            case ToolEnded():
                yield from self._ended(event)
            case Result(ok=True):
                yield "-- it has done what it was to do"
            case Result(text=text):
                yield f"-- it did not do what it was to do{self._reason(text)}"
            case _:
                yield from self._hindrance(event)
        self.note(event)

    def note(self, event: KeptEvent) -> None:
        """Take in an event that is told of otherwise."""
        self._story.take(event)  # type: ignore[arg-type]  # of what it does not know nothing follows

    def _begun(self, tool: ToolBegun) -> Iterator[str]:
        if len(self._names) > 1000:
            self._names.clear()
        self._names[tool.id], self._last_tool = tool.name, tool.id
        yield f"> {tool.name}  {arguments(tool.args)}".rstrip()

    def _ended(self, tool: ToolEnded) -> Iterator[str]:
        name = self._names.pop(tool.id, "")
        word = {True: "ok", False: "failed", None: "ended"}[tool.ok]
        of = f" ({name})" if name and tool.id != self._last_tool else ""
        lines = [line for line in tool.output.split("\n") if line.strip()]
        more = f"  (and {len(lines) - 1} more line{'s' * (len(lines) > 2)})" if len(lines) > 1 else ""
        yield f"  {word}{of}{': ' if lines else ''}{one_line(lines[0], _MOST_OUTPUT) if lines else ''}{more}"

    def _hindrance(self, event: KeptEvent) -> Iterator[str]:
        match event:
            case Session(id=name, model=model):
                if name != self._story.session:
                    yield f"-- session {name}" + (f", model {model}" if model else "")
            case Waits(kind=kind, seconds=seconds, text=text):
                how_long = "" if seconds is None else f" {format_duration(seconds)}"
                yield f"-- it waits{how_long} ({kind}): {one_line(text, _MOST_ARGUMENTS)}"
            case Quota(window=window, used=used, resets_at=resets_at) if used is not None:
                if self._quotas.get(window) != (step := int(used * _QUOTA_STEPS)):
                    self._quotas[window] = step
                    yield f"-- {used:.0%} of the account's quota {window} is used{_until(resets_at)}"
            case Denied(tool=tool, text=text) if not self._is_told(event):
                of = one_line(text, _MOST_ARGUMENTS)
                yield f"-- it was not allowed to use {tool}{of and f': {of}'}"
            case Warned(text=text):
                yield f"-- warning: {one_line(text, _MOST_ARGUMENTS)}"
            case Fault(kind=kind, text=text, resets_at=resets_at):
                why = self._reason(text)
                if why:
                    yield f"-- it cannot go on ({kind}){why}{_until(resets_at)}"
            case _:
                return

    def _is_told(self, denied: Denied) -> bool:
        """Whether the denial was told before: many say it when it happens, in the tool's result and at their end."""
        if len(self._denied) > 1000:
            self._denied.clear()
        name = denied.id or f"{denied.tool} {denied.text}"
        is_told = name in self._denied
        self._denied.add(name)
        return is_told

    def _reason(self, text: str) -> str:
        """Return what a program says of why it ends; but once, although many say it again and again."""
        reason = one_line(text, _MOST_ARGUMENTS)
        if reason in {"", self._reason_given}:
            return ""
        self._reason_given = reason
        return f": {reason}"

    def end(self, usage: Usage | None) -> Iterator[str]:
        """Yield what the run used; by its record, where there is one already."""
        found = usage or self._story.usage()
        if found:
            of = " by its whole session" if usage is None and self._story.session_usage() is not None else ""
            yield f"-- used{of}: {used_text(found)}"


def used_text(usage: Usage) -> str:
    """Return the numbers in words."""
    words = [f"{usage.input:,} tokens read", f"{usage.cached:,} more from a cache", f"{usage.output:,} written"]
    return ", ".join(words if usage.usd is None else [*words, dollars(usage.usd)])


def dollars(usd: float | None) -> str:
    """Return an amount as people write it, nothing where there is none; of a small one more is said."""
    if usd is None:
        return ""
    return f"${usd:,.2f}" if usd >= 0.1 or not usd else f"${usd:.4f}"


def one_line(text: str, most: int) -> str:
    """Return the text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"


def arguments(text: str) -> str:
    """Return the arguments of a tool in one line; of a JSON object with a single value, that."""
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, dict):
        command = value.get("command")
        if isinstance(command, str) or len(value) == 1:
            value = command or next(iter(value.values()))
        else:
            value = ", ".join(f"{key}: {_word(inner)}" for key, inner in value.items())
    return one_line(_word(value), _MOST_ARGUMENTS)


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _until(epoch: float | None) -> str:
    if epoch is None:
        return ""
    try:
        return f", until {datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return ""
