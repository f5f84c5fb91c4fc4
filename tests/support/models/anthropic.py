"""Anthropic Messages, as Claude Code speaks it: streamed, with tools, and the limits of a subscription in headers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from support.models import tools
from support.models.script import Fault, Said, Step
from support.models.wires import Asked, Body, Reply, events, new_id, plain, text_of, waiting

_FAILURES = {
    "rate_limit": (429, "rate_limit_error", "This request would exceed the rate limit."),
    "usage_limit": (429, "rate_limit_error", "This request would exceed your account's rate limit."),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "server_error": (500, "api_error", "Internal server error"),
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "context": (400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"),
}


def read(path: str, headers: Mapping[str, str], body: Body) -> Asked:
    said = [Said(_role(message), text_of(message["content"])) for message in body["messages"]]
    offered = frozenset(tool["name"] for tool in body.get("tools") or [])
    return Asked(body["model"], said, offered, _session(headers, body), bool(body.get("stream")))


def answer(asked: Asked, step: Step) -> Reply:
    if asked.stream:
        return events(_stream(asked, step), named=True)
    return plain(_message(asked, step) | {"content": _content(asked, step), "stop_reason": _reason(step)})


def failure(asked: Asked, fault: Fault, now: float) -> Reply:
    status, kind, text = _FAILURES[fault.kind]
    headers = waiting(fault)
    if fault.kind == "usage_limit":
        headers |= {
            "anthropic-ratelimit-unified-status": "rejected",
            "anthropic-ratelimit-unified-reset": str(int(now + fault.reset_in)),
            "anthropic-ratelimit-unified-representative-claim": fault.claim,
        }
    return plain({"type": "error", "error": {"type": kind, "message": text}}, status, headers)


def _role(message: Body) -> str:
    """Results of tools come as messages of the user."""
    content = message["content"]
    is_result = not isinstance(content, str) and any(part["type"] == "tool_result" for part in content)
    return "tool" if is_result else str(message["role"])


def _session(headers: Mapping[str, str], body: Body) -> str:
    found = headers.get("x-claude-code-session-id")
    if found:
        return found
    user = (body.get("metadata") or {}).get("user_id", "")
    return str(json.loads(user).get("session_id", "")) if user.startswith("{") else str(user)


def _reason(step: Step) -> str:
    return "tool_use" if step.tool else "end_turn"


def _message(asked: Asked, step: Step) -> Body:
    usage = {"input_tokens": step.usage[0], "output_tokens": step.usage[1]}
    usage |= {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0}
    head = {"id": new_id("msg"), "type": "message", "role": "assistant", "model": asked.model}
    return head | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}


def _content(asked: Asked, step: Step) -> list[Body]:
    content: list[Body] = [{"type": "text", "text": step.text}] if step.text else []
    if step.tool:
        name, args = tools.called(step.tool, step.args, asked.tools)
        content.append({"type": "tool_use", "id": new_id("toolu"), "name": name, "input": args})
    return content


def _stream(asked: Asked, step: Step) -> Iterator[Body]:
    yield {"type": "message_start", "message": _message(asked, step)}
    for index, block in enumerate(_content(asked, step)):
        if block["type"] == "text":
            empty, delta = {"text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            empty, delta = {"input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield {"type": "content_block_start", "index": index, "content_block": block | empty}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    end = {"stop_reason": _reason(step), "stop_sequence": None}
    yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": step.usage[1]}}
    yield {"type": "message_stop"}
