"""mini-swe-agent: text while it works, and a trajectory in the result file, written anew after each step.

How it ended is `info.exit_status`: the name of what ended it, empty while it goes on. Of its limits that one was
exceeded whose configured number is reached.

Source: minisweagent/agents/default.py of 2.4.6, and runs of it and of 2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .dialect import Dialect, Object
from .events import AnyEvent, Fault, Kind, Result, Step, Used, Waits, brief
from .fields import count, number, record, records, text
from .text import words as text_words
from .words import fault_of, kind_of_error

_STEP = re.compile(r"mini-swe-agent \(step \d+, \$(\d+(?:\.\d+)?)\)")
_AGAIN = re.compile(r"Retrying \S+ in (\d+(?:\.\d+)?) seconds as it raised (\w+)(.*)")
_LIMITS = {"LimitsExceeded", "TimeExceeded"}


def _words(line: str, now: float) -> Iterable[AnyEvent]:
    if "Retrying" in line and (again := _AGAIN.search(line)):
        kind = kind_of_error(again[3], None, [again[2]])
        return (Waits(kind=kind, seconds=float(again[1]), text=brief(line, 300)),)
    if line.startswith("mini") and (step := _STEP.match(line)):
        return (Step(), Used(usd=float(step[1]), scope="run"))
    return text_words(line, now)


def _document(document: Object, now: float) -> Iterator[AnyEvent]:
    info = record(document.get("info"))
    messages = records(document.get("messages"))
    yield _used(info, messages)
    status = text(info.get("exit_status"))
    if not status:
        return  # it was ended before it could end
    last = record(messages[-1].get("extra")) if messages else {}
    words = text(last.get("exception_str")) or text(info.get("submission")) or status
    if status != "Submitted":
        fault = fault_of(text(last.get("exception_str")) or status, now, names=[status])
        limit = _limit(info, status) if fault.kind in {"other", "turns"} else None
        yield fault if limit is None else Fault(kind=limit, text=brief(words))
    yield Result(ok=status == "Submitted", text=brief(words))


def _limit(info: Object, status: str) -> Kind | None:
    """Return which of its limits was exceeded, if one was; it may end by another name when it asks for a new one."""
    agent, stats = record(record(info.get("config")).get("agent")), record(info.get("model_stats"))
    steps, most = number(stats.get("api_calls")) or 0.0, number(agent.get("step_limit")) or 0.0
    cost, dearest = number(stats.get("instance_cost")) or 0.0, number(agent.get("cost_limit")) or 0.0
    if status == "TimeExceeded" or (0 < most <= steps):
        return "turns"
    if 0 < dearest <= cost:
        return "budget"
    return None if status not in _LIMITS else "turns" if most else "budget"


def _used(info: Object, messages: list[Object]) -> Used:
    usages = [record(record(record(message.get("extra")).get("response")).get("usage")) for message in messages]
    cached = sum(count(record(usage.get("prompt_tokens_details")).get("cached_tokens")) for usage in usages)
    return Used(
        input=max(0, sum(count(usage.get("prompt_tokens")) for usage in usages) - cached),
        cached=cached,
        output=sum(count(usage.get("completion_tokens")) for usage in usages),
        usd=number(record(info.get("model_stats")).get("instance_cost")),
        scope="run",
    )


TRAJECTORY = Dialect("trajectory", words=_words, document=_document)
