"""cursor-agent's `--output-format stream-json`.

A tool has its name in the key of the object that is its call: `{"shellToolCall": {"args": …, "result": …}}`. What came
of it is the key of `result`: `success`, or something else.

Source: what others recorded of 2026.08; never run here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dialect import Dialect, Object, Reader, by_type
from .events import AnyEvent, Denied, Result, Said, Session, Step, ToolBegun, ToolEnded, Used, brief, detail
from .fields import count, record, said, shown, text
from .lines import error_line
from .words import fault_of, kind_of_name

_CODE = re.compile(r"(?:\w+: )?\[([a-z_]+)\] (.*)")  # as gRPC names them: `ConnectError: [unauthenticated] Error`
# What differs between two calls that are the same.
_PASSING = {"toolCallId", "conversationId", "requestId", "executionTime", "localExecutionTimeMs"}


def _system(line: Object, _now: float) -> Iterator[AnyEvent]:
    if line.get("subtype") == "init":
        yield Session(id=text(line["session_id"]), model=text(line.get("model")) or None)


def _assistant(line: Object, _now: float) -> Iterator[AnyEvent]:
    yield Step(id=text(line.get("model_call_id")))
    words = said(record(line.get("message")).get("content"))
    if words:
        yield Said(text=brief(words))


def _tool_call(line: Object, _now: float) -> Iterator[AnyEvent]:
    calls = record(line.get("tool_call"))
    key = next((key for key in sorted(calls) if key.endswith("ToolCall")), "")
    call, name, tool = record(calls.get(key)), text(line.get("call_id")), key.removesuffix("ToolCall")
    if line.get("subtype") == "started":
        yield ToolBegun(id=name, name=tool, args=_lasting(call.get("args")))
    elif line.get("subtype") == "completed":
        result = record(call.get("result"))
        came = next(iter(result), "")
        inner = record(result.get(came))
        yield ToolEnded(id=name, ok=came == "success" and not inner.get("exitCode"), output=_lasting(inner))
        if came in {"rejected", "permissionDenied"}:
            yield Denied(tool=tool, id=name, text=brief(text(inner.get("reason"))))


def _lasting(value: object) -> str:
    return detail(shown({key: each for key, each in record(value).items() if key not in _PASSING}))


def _result(line: Object, now: float) -> Iterator[AnyEvent]:
    usage = record(line.get("usage"))
    if usage:
        yield Used(
            input=count(usage.get("inputTokens")) + count(usage.get("cacheWriteTokens")),
            cached=count(usage.get("cacheReadTokens")),
            output=count(usage.get("outputTokens")),
            scope="run",
        )
    words, subtype = text(line.get("result")), text(line.get("subtype")) or "success"
    ok = not line.get("is_error") and subtype == "success"
    if not ok:
        yield fault_of(words or text(line.get("error")), now, names=[subtype])
    yield Result(ok=ok, text=brief(words))


_TYPES: dict[str, Reader] = {
    "system": _system,
    "assistant": _assistant,
    "tool_call": _tool_call,
    "result": _result,
}


def _words(line: str, now: float) -> Iterator[AnyEvent]:
    coded = _CODE.match(line)
    if coded is not None and kind_of_name(coded[1]) is not None:
        yield fault_of(coded[2], now, names=[coded[1]])
    else:
        yield from error_line(line, now)


CURSOR = Dialect("cursor", objects=by_type(_TYPES), words=_words)
