"""Codex's `codex exec --json`.

An `error` that says that it connects again, and how often it has, is a wait; only `turn.failed` is the end. Numbers of
tokens are those of the whole thread, over all runs that went on with it. Not all that it does is told: what its sandbox
refuses may be missing.

Source: codex-rs/exec/src/exec_events.rs, and runs of eight versions from 0.44 to 0.171.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dialect import Dialect, Object, Reader, by_type
from .events import (
    AnyEvent,
    Denied,
    Result,
    Said,
    Session,
    Step,
    ToolBegun,
    ToolEnded,
    Used,
    Waits,
    Warned,
    brief,
    detail,
)
from .fields import count, record, shown, text
from .lines import error_line
from .words import fault_of

_AGAIN = re.compile(r"\b(?:reconnect|retry)\w*\W{1,5}\d+ ?/ ?\d+", re.IGNORECASE)
_NO_TOOLS = {"agent_message", "reasoning", "todo_list", "error", "plan", "user_message"}
_OVER = {"completed", "failed", "declined"}


def _thread(line: Object, _now: float) -> Iterator[AnyEvent]:
    yield Session(id=text(line["thread_id"]))


def _begun(line: Object, _now: float) -> Iterator[AnyEvent]:
    item = record(line.get("item"))
    if text(item.get("type")) not in _NO_TOOLS:
        yield Step()
        yield _tool(item)


def _tool(item: Object) -> ToolBegun:
    name = ".".join(filter(None, (text(item.get("server")), text(item.get("tool"))))) or text(item.get("type"))
    args = next((item[key] for key in ("command", "arguments", "changes", "query", "prompt") if item.get(key)), None)
    return ToolBegun(id=text(item.get("id")), name=name, args=detail(shown(args)))


def _ended(line: Object, _now: float) -> Iterator[AnyEvent]:
    item = record(line.get("item"))
    match item.get("type"):
        case "agent_message":
            yield Step()
            yield Said(text=brief(text(item.get("text"))))
        case "error":
            yield Warned(text=brief(text(item.get("message"))))
        case kind:
            yield from () if kind in _NO_TOOLS else _tool_ended(item)


def _tool_ended(item: Object) -> Iterator[AnyEvent]:
    name, status = text(item.get("id")), text(item.get("status"))
    if item.get("type") == "file_change":
        yield _tool(item)  # told of only when it is over
    if status == "declined":
        yield Denied(tool=_tool(item).name, id=name)
    output = item.get("aggregated_output") or item.get("error") or item.get("result")
    ok = status == "completed" if status in _OVER else None
    yield ToolEnded(id=name, ok=ok, output=detail(shown(output)))


def _completed(line: Object, _now: float) -> Iterator[AnyEvent]:
    usage = record(line.get("usage"))
    cached = count(usage.get("cached_input_tokens"))
    fresh = max(0, count(usage.get("input_tokens")) - cached)
    yield Used(input=fresh, cached=cached, output=count(usage.get("output_tokens")), scope="session")
    yield Result(ok=True)


def _failed(line: Object, now: float) -> Iterator[AnyEvent]:
    words = text(record(line.get("error")).get("message"))
    yield fault_of(words, now)
    yield Result(ok=False, text=brief(words))


def _error(line: Object, now: float) -> Iterator[AnyEvent]:
    words = text(line.get("message"))
    fault = fault_of(words, now)
    if _AGAIN.search(words):
        yield Waits(kind=fault.kind, seconds=fault.retry_seconds, text=fault.text)
    else:
        yield fault


_TYPES: dict[str, Reader] = {
    "thread.started": _thread,
    "item.started": _begun,
    "item.completed": _ended,
    "turn.completed": _completed,
    "turn.failed": _failed,
    "error": _error,
}


CODEX = Dialect("codex", objects=by_type(_TYPES), words=error_line)
