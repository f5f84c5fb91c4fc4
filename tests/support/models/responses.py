"""OpenAI Responses, as Codex speaks it: always streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from support.models import tools
from support.models.script import Fault, Said, Step
from support.models.wires import Asked, Body, Reply, events, new_id, plain, text_of, waiting

_FAILURES = {
    "rate_limit": (429, "rate_limit_exceeded", "Rate limit reached for requests."),
    "usage_limit": (429, "usage_limit_reached", "The usage limit has been reached"),
    "overloaded": (503, "server_is_overloaded", "The server is overloaded, please try again later."),
    "server_error": (500, "server_error", "The server had an error while processing your request."),
    "auth": (401, "invalid_api_key", "Incorrect API key provided."),
}


def read(path: str, headers: Mapping[str, str], body: Body) -> Asked:
    said = [one for item in body["input"] if (one := _said(item))]
    offered = frozenset(tool.get("name", tool["type"]) for tool in body.get("tools") or [])
    session = headers.get("session_id") or headers.get("session-id") or body.get("prompt_cache_key") or ""
    return Asked(body["model"], said, offered, session, bool(body.get("stream")))


def answer(asked: Asked, step: Step) -> Reply:
    return events(_stream(asked, step), named=True)


def failure(asked: Asked, fault: Fault, now: float) -> Reply:
    if fault.kind == "context":
        error = {"code": "context_length_exceeded", "message": "Your input exceeds the context window of this model."}
        response = {"id": new_id("resp"), "status": "failed", "error": error}
        return events([{"type": "response.failed", "response": response}], named=True)
    status, kind, text = _FAILURES[fault.kind]
    error = {"type": kind, "code": kind, "message": text}
    if fault.kind == "usage_limit":
        error |= {"plan_type": "plus", "resets_at": int(now + fault.reset_in), "resets_in_seconds": int(fault.reset_in)}
    return plain({"error": error}, status, waiting(fault))


def _said(item: Body) -> Said | None:
    kind = item.get("type", "message")
    if kind == "message":
        return Said(item["role"], text_of(item["content"]))
    if kind.endswith("_call_output"):
        return Said("tool")
    return Said("assistant") if kind.endswith("_call") else None


def _items(asked: Asked, step: Step) -> list[Body]:
    items: list[Body] = []
    if step.text:
        content = [{"type": "output_text", "text": step.text, "annotations": []}]
        items.append({"type": "message", "id": new_id("msg"), "role": "assistant", "content": content})
    if step.tool:
        name, args = tools.called(step.tool, step.args, asked.tools)
        call = {"type": "function_call", "id": new_id("fc"), "call_id": new_id("call"), "name": name}
        items.append(call | {"arguments": json.dumps(args)})
    return items


def _stream(asked: Asked, step: Step) -> Iterator[Body]:
    head = {"id": new_id("resp"), "object": "response", "model": asked.model}
    yield {"type": "response.created", "response": head | {"status": "in_progress"}}
    items = _items(asked, step)
    for index, item in enumerate(items):
        yield {"type": "response.output_item.added", "output_index": index, "item": item}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    taken, given = step.usage
    usage = {"input_tokens": taken, "output_tokens": given, "total_tokens": taken + given}
    usage |= {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    done = head | {"status": "completed", "output": items, "usage": usage}
    yield {"type": "response.completed", "response": done}
