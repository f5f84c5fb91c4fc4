"""Gemini CLI's `--output-format stream-json`.

That it stopped because it went round in circles is a warning, after which it says `success`. Retries are told of only
on standard error, and the end's `error.type` is often `unknown`: then the exit code tells, which is the HTTP status
modulo 256, or one of its own. The model is not offered what it may not use, so that its call finds no such tool.

Source: packages/cli and packages/core of 0.61.0, and runs of 0.20, 0.40 and 0.61.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dialect import Dialect, Object, Reader, by_type
from .events import (
    AnyEvent,
    Denied,
    Fault,
    Kind,
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
from .words import fault_of, kind_of_status, kind_of_words

_OWN_CODES: dict[int, Kind] = {41: "auth", 53: "turns"}
_STATUSES = (401, 403, 408, 413, 429, 500, 502, 503, 504, 529)
_LIMITS = {"loop", "turns", "budget"}  # what it stops for by itself, and is content with
_WRITES = {"write_file", "replace", "edit", "run_shell_command"}
_NO_TOOL = re.compile(r'Tool "(\w+)" not found')
_API_ERROR = re.compile(r"(?>.*?\[API Error: )(.*)\]", re.DOTALL)  # what follows is general advice
_ATTEMPT = re.compile(r"Attempt \d+ failed\b:? ?(.*)")
_AGAIN = re.compile(r"Retrying after (\d+)ms")
_REPORT = re.compile(r"Error when talking to .*? (\w+Error): (.*)")


def _init(line: Object, _now: float) -> Iterator[AnyEvent]:
    yield Session(id=text(line["session_id"]), model=text(line.get("model")) or None)


def _message(line: Object, _now: float) -> Iterator[AnyEvent]:
    if line.get("role") == "assistant":
        yield Said(text=brief(text(line.get("content"))), more=line.get("delta") is True)


def _tool_use(line: Object, _now: float) -> Iterator[AnyEvent]:
    yield Step()
    args = detail(shown(line.get("parameters")))
    yield ToolBegun(id=text(line.get("tool_id")), name=text(line.get("tool_name")), args=args)


def _tool_result(line: Object, _now: float) -> Iterator[AnyEvent]:
    name, error = text(line.get("tool_id")), record(line.get("error"))
    message, kind = text(error.get("message")), text(error.get("type"))
    output = text(line.get("output")) or message
    yield ToolEnded(id=name, ok=line.get("status") == "success", output=detail(output))
    missing = _NO_TOOL.search(message)
    if kind == "policy_violation":
        yield Denied(tool=name.partition("_call")[0].rstrip("_"), id=name, text=brief(message))
    elif kind == "tool_not_registered" and missing is not None and missing[1] in _WRITES:
        yield Denied(tool=missing[1], id=name, text=brief(message))


def _error(line: Object, now: float) -> Iterator[AnyEvent]:
    words = text(line.get("message"))
    if line.get("severity") == "error" or kind_of_words(words) in _LIMITS:
        yield fault_of(words, now)
    else:
        yield Warned(text=brief(words))


def _result(line: Object, now: float) -> Iterator[AnyEvent]:
    stats, error = record(line.get("stats")), record(line.get("error"))
    cached = count(stats.get("cached"))
    fresh = max(0, count(stats.get("input_tokens")) - cached)
    yield Used(input=fresh, cached=cached, output=count(stats.get("output_tokens")), scope="run")
    words, ok = text(error.get("message")), line.get("status") == "success"
    if error:
        told = _API_ERROR.match(words)
        yield _fault(told[1] if told else words, text(error.get("type")), now)
    yield Result(ok=ok, text=brief(words))


def _fault(words: str, name: str, now: float) -> Fault:
    """Its TerminalQuotaError is any limit whose time is not worth waiting for, not only a quota that is used up."""
    by_words = name == "TerminalQuotaError" and kind_of_words(words) == "rate"
    return fault_of(words, now, names=() if by_words else (name,))


_TYPES: dict[str, Reader] = {
    "init": _init,
    "message": _message,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "error": _error,
    "result": _result,
}


def _words(line: str, now: float) -> Iterator[AnyEvent]:
    """Read its standard error, where one retry is told of in one line or two."""
    attempt, again = _ATTEMPT.match(line), _AGAIN.search(line)
    if attempt or again:
        kind = kind_of_words(attempt[1]) if attempt else "other"
        kind = "rate" if kind == "usage" else kind  # it does not try again when a quota is used up
        yield Waits(kind=kind, seconds=int(again[1]) / 1000.0 if again else None, text=brief(line, 300))
    elif found := _REPORT.match(line):
        fault = _fault(found[2], found[1], now)
        yield from () if fault.kind == "other" else (fault,)


_EXIT_KINDS = {status % 256: kind for status in _STATUSES if (kind := kind_of_status(status)) is not None} | _OWN_CODES
GEMINI = Dialect("gemini", objects=by_type(_TYPES), words=_words, has_last_words=True, exit_kinds=_EXIT_KINDS)
