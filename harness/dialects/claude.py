"""Claude Code's `--output-format stream-json`, and what is compatible with it (Amp).

What was wrong is taken from fields that say it: `is_error`, `error`, `api_error_status`, `terminal_reason`, `subtype`.
A failed request comes as `subtype: success` with `is_error: true`; a limit of the account is `rejected` and has a time.
Messages of the model `<synthetic>` are the program's own words.

Source: the program's schema (Agent SDK, sdk.d.ts) and runs of nine versions from 1.0.55 to 2.1.332.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .dialect import Dialect, Object, Reader, by_type
from .events import (
    Alive,
    AnyEvent,
    Denied,
    Fault,
    Kind,
    Quota,
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
from .fields import count, moment, number, record, records, said, shown, text, whole
from .lines import error_line
from .words import fault_of, kind_of_error, kind_of_name

_NOT_GRANTED = re.compile(r"Claude requested permissions to (?:use (\w+))?")  # before there was a list of denials
_ERROR_FIELDS = ("api_error", "api_error_code", "api_error_type", "error", "startup_failure_reason")


def _system(line: Object, _now: float) -> Iterator[AnyEvent]:
    subtype = line.get("subtype")
    if subtype == "init":
        yield Session(id=text(line["session_id"]), model=text(line.get("model")) or None)
    elif subtype == "api_retry":
        status, name = whole(line.get("error_status")), text(line.get("error"))
        kind = kind_of_error("", status, [name])
        delay = number(line.get("retry_delay_ms"))
        yield Waits(
            kind="network" if kind == "other" and status is None else kind,  # no status: there was no answer
            seconds=None if delay is None else delay / 1000.0,
            text=f"attempt {line.get('attempt')} of {line.get('max_retries')}: {status or name}",
        )
    elif subtype == "permission_denied":
        tool, told = text(line.get("tool_name")), text(line.get("message"))
        yield Denied(tool=tool, id=text(line.get("tool_use_id")), text=brief(told))
    elif subtype in {"task_started", "task_progress"}:
        yield Alive()


def _assistant(line: Object, now: float) -> Iterator[AnyEvent]:
    message = record(line.get("message"))
    of_agent_below = line.get("parent_tool_use_id") is not None
    if message.get("model") == "<synthetic>" or line.get("is_api_error_message"):
        yield from _own_words(line, said(message.get("content")), now, of_agent_below)
        return
    name = text(message.get("id"))
    if not of_agent_below:
        yield Step(id=name)
    for block in records(message.get("content")):
        match block.get("type"):
            case "text" if not of_agent_below:
                yield Said(text=brief(text(block.get("text"))))
            case "tool_use":
                args = detail(shown(block.get("input")))
                yield ToolBegun(id=text(block.get("id")), name=text(block.get("name")), args=args)
            case _:
                pass
    if "usage" in message and not of_agent_below:
        yield _used(record(message["usage"]), name)


def _used(usage: Object, step: str) -> Used:
    return Used(
        input=count(usage.get("input_tokens")) + count(usage.get("cache_creation_input_tokens")),
        cached=count(usage.get("cache_read_input_tokens")),
        output=count(usage.get("output_tokens")),
        id=step,
    )


def _own_words(line: Object, words: str, now: float, of_agent_below: bool) -> Iterator[AnyEvent]:
    if of_agent_below:
        yield Warned(text=brief(words))
    elif line.get("is_api_error_message") or line.get("error"):
        yield _fault(line, words, now)


def _fault(line: Object, words: str, now: float) -> Fault:
    status = whole(line.get("api_error_status"))
    info = record(record(line.get("api_error_params")).get("rate_limit_info"))
    fault = fault_of(words, now, status=status, names=[text(line.get(key)) for key in _ERROR_FIELDS])
    until = moment(info.get("resetsAt")) if info.get("status") == "rejected" else None
    return fault if until is None else Fault(kind="usage", text=fault.text, resets_at=until)


def _user(line: Object, _now: float) -> Iterator[AnyEvent]:
    for block in records(record(line.get("message")).get("content")):
        if block.get("type") == "tool_result":
            name, output = text(block.get("tool_use_id")), said(block.get("content"))
            yield ToolEnded(id=name, ok=not block.get("is_error"), output=detail(output))
            refused = _NOT_GRANTED.match(output) if block.get("is_error") else None
            if refused is not None:
                yield Denied(tool=refused[1] or "a tool", id=name, text=brief(output))


def _limit(line: Object, _now: float) -> Iterator[AnyEvent]:
    info = record(line.get("rate_limit_info"))
    window, resets_at = text(info.get("rateLimitType")), moment(info.get("resetsAt"))
    needs_money = info.get("errorCode") == "credits_required"  # and no time will help
    own = record(record(info.get("unifiedWindows")).get(window))
    used = next((share for share in (number(info.get("utilization")), number(own.get("utilization"))) if share), None)
    yield Quota(window=window, used=used, resets_at=resets_at)
    paid_for = info.get("isUsingOverage") is True or str(info.get("overageStatus")).startswith("allowed")
    if info.get("status") == "rejected" and (resets_at is not None or needs_money) and not paid_for:
        which = (window or "usage").replace("_", "-")
        yield Fault(kind="usage", text=f"the {which} limit is reached", resets_at=resets_at)


def _result(line: Object, now: float) -> Iterator[AnyEvent]:
    yield from _cost(line)
    for denial in records(line.get("permission_denials")):
        yield Denied(tool=text(denial.get("tool_name")), id=text(denial.get("tool_use_id")))
    subtype = text(line.get("subtype")) or "success"
    if line.get("num_turns") == 0 and record(line.get("origin")) and not line.get("result"):
        return  # a task in the background has ended, and nobody was asked what to do
    errors = line.get("errors")
    told = "\n".join(map(shown, errors)) if isinstance(errors, list) else shown(errors)
    words = text(line.get("result")) or told or text(line.get("error"))
    ok = not line.get("is_error") and subtype == "success"
    kind = None if ok else _capped(subtype, text(line.get("terminal_reason")))
    if not (kind or words or line.get("is_error") or line.get("stop_reason") or line.get("terminal_reason")):
        ok, kind = False, "network"  # older versions end like this when the connection breaks
    if not ok:
        yield Fault(kind=kind, text=brief(words)) if kind else _fault(line, words, now)
    yield Result(ok=ok, text=brief(words))


def _capped(subtype: str, reason: str) -> Kind | None:
    """Return what the run was not to go beyond, by the names that the program has for it."""
    for kind, word in (("budget", "budget"), ("turns", "turns")):
        if word in subtype or word in reason:
            return kind  # type: ignore[return-value]
    named = kind_of_name(reason)
    return named if named == "context" else None


def _cost(line: Object) -> Iterator[Used]:
    """Say what was used: since the last result where that is told, as all else counts a resumed session as a whole."""
    models = line.get("model_usage_since_last_result")
    part = isinstance(models, dict)
    each = [record(used) for used in record(models if part else line.get("modelUsage")).values()]
    if part:
        usd: float | None = sum(number(used.get("costUSD")) or 0.0 for used in each)
    else:
        usd = number(line.get("total_cost_usd"))
    if each or part:
        total = [sum(count(used.get(key)) for used in each) for key in ("inputTokens", "cacheCreationInputTokens")]
        cached, output = (
            sum(count(used.get(key)) for used in each) for key in ("cacheReadInputTokens", "outputTokens")
        )
        yield Used(input=sum(total), cached=cached, output=output, usd=usd, scope="part" if part else "run")
    elif isinstance(line.get("usage"), dict):
        used = _used(record(line["usage"]), "")
        yield Used(input=used.input, cached=used.cached, output=used.output, usd=usd, scope="run")


def _alive(_line: Object, _now: float) -> Iterator[AnyEvent]:
    yield Alive()


_TYPES: dict[str, Reader] = {
    "system": _system,
    "assistant": _assistant,
    "user": _user,
    "rate_limit_event": _limit,
    "tool_progress": _alive,
    "result": _result,
}


CLAUDE = Dialect("claude", objects=by_type(_TYPES), words=error_line)
