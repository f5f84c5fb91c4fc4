"""opencode's `run --format json`.

Its errors have it all: a name, the HTTP status, what the service answered. That it tries again, and why, it says in its
log alone (`--print-logs`), not for how long it waits. It has no result: it has ended well when the last step ended with
`stop`. A tool is told of when it is over. The model is
not offered what it may not use, so that its call becomes one of the tool `invalid`.

Source: packages/opencode of 1.18, and runs of 1.2, 1.14 and 1.18.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dialect import Dialect, Object, Reader, by_type
from .events import (
    AnyEvent,
    Denied,
    Fault,
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
from .fields import count, number, record, shown, text, whole
from .lines import error_line
from .words import fault_of, kind_of_words

_WRITES = {"write", "edit", "multiedit", "patch", "apply_patch", "bash"}
_ASKED = re.compile(r"permission requested: (\S+) .*auto-rejecting")
# Each part where it comes first, so that a line that is none is looked through once.
_LOGGED = re.compile(
    r'timestamp=\S+ level=ERROR (?>.*?"stream error" )(?>.*?small=false )(?>.*?error\.error=")(?:\w+: )?(.+)"'
)
_REFUSED = re.compile(r"The user (?:rejected permission|has specified a rule)")


def _step_start(line: Object, _now: float) -> Iterator[AnyEvent]:
    if text(line.get("sessionID")):
        yield Session(id=text(line.get("sessionID")))
    yield Step(id=text(record(line.get("part")).get("messageID")))


def _text(line: Object, _now: float) -> Iterator[AnyEvent]:
    part = record(line.get("part"))
    if not part.get("synthetic"):  # what it tells the model itself, as after it made its session shorter
        yield Said(text=brief(text(part.get("text"))))


def _tool_use(line: Object, _now: float) -> Iterator[AnyEvent]:
    part = record(line.get("part"))
    state = record(part.get("state"))
    name, tool, error = text(part.get("callID")), text(part.get("tool")), text(state.get("error"))
    yield ToolBegun(id=name, name=tool, args=detail(shown(state.get("input"))))
    status = record(state.get("metadata")).get("exit")
    ok = state.get("status") == "completed" and tool != "invalid" and status in {None, 0}
    begun, ended = (number(record(state.get("time")).get(key)) for key in ("start", "end"))
    seconds = None if begun is None or ended is None else (ended - begun) / 1000.0
    yield ToolEnded(id=name, ok=ok, seconds=seconds, output=detail(text(state.get("output")) or error))
    wanted = text(record(state.get("input")).get("tool")) if tool == "invalid" else ""
    if wanted in _WRITES or _REFUSED.match(error):
        yield Denied(tool=wanted or tool, id=name, text=brief(error or text(state.get("output"))))


def _step_finish(line: Object, _now: float) -> Iterator[AnyEvent]:
    part = record(line.get("part"))
    tokens = record(part.get("tokens"))
    cache = record(tokens.get("cache"))
    yield Used(
        input=count(tokens.get("input")) + count(cache.get("write")),
        cached=count(cache.get("read")),
        output=count(tokens.get("output")) + count(tokens.get("reasoning")),
        usd=number(part.get("cost")),
        id=text(part.get("id")),
    )
    reason = text(part.get("reason"))
    if reason and reason not in {"tool-calls", "unknown"}:
        yield Result(ok=reason == "stop", text="" if reason == "stop" else f"the model's answer ended with {reason!r}")


def _error(line: Object, now: float) -> Iterator[AnyEvent]:
    if text(line.get("sessionID")):
        yield Session(id=text(line.get("sessionID")))
    error = record(line.get("error"))
    data = record(error.get("data"))
    words = text(data.get("message")) or text(error.get("name")) or shown(line.get("error"))
    headers = {name.lower(): value for name, value in record(data.get("responseHeaders")).items()}
    code = text(record(data.get("metadata")).get("code"))
    fault = fault_of(
        words,
        now,
        status=whole(data.get("statusCode")),
        names=[text(error.get("name")).replace("APIError", "")],
        retry=headers.get("retry-after"),
        body=text(data.get("responseBody")),
    )
    if fault.kind == "other" and data.get("isRetryable") is True and "statusCode" not in data:
        fault = Fault(kind="network", text=fault.text)  # no status: there was no answer
    yield fault
    yield Result(ok=False, text=brief(f"{words} {code}".strip()))


_TYPES: dict[str, Reader] = {
    "step_start": _step_start,
    "text": _text,
    "tool_use": _tool_use,
    "step_finish": _step_finish,
    "error": _error,
}


def _words(line: str, now: float) -> Iterator[AnyEvent]:
    logged, asked = _LOGGED.match(line), _ASKED.search(line)
    if logged is not None:
        kind = kind_of_words(logged[1])
        yield Warned(text=brief(logged[1])) if kind == "other" else Waits(kind=kind, text=brief(logged[1], 300))
    elif asked is not None:
        yield Denied(tool=asked[1], text=brief(line))
    else:
        yield from error_line(line, now)


OPENCODE = Dialect("opencode", objects=by_type(_TYPES), words=_words)
