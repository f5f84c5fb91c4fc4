"""OpenAI Chat, as opencode, mini-swe-agent and aider speak it: streamed or in one piece.

A client that offers no tools (aider) finds files to write in the text of an answer, whole. One that offers a shell and
nothing else (mini-swe-agent) ends when a command says so: where the script has no call, it is that one.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace

from support.models import tools
from support.models.script import Fault, Said, Step
from support.models.wires import Asked, Body, Reply, events, new_id, plain, text_of, waiting

_SHELL_ONLY = {"bash"}
_END = "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo"
_FAILURES = {
    "rate_limit": (429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    "usage_limit": (429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    "overloaded": (503, "server_error", "server_is_overloaded", "The server is overloaded, please try again later."),
    "server_error": (500, "server_error", "server_error", "The server had an error while processing your request."),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "context": (
        *(400, "invalid_request_error", "context_length_exceeded"),
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 250000 tokens.",
    ),
}


def read(path: str, headers: Mapping[str, str], body: Body) -> Asked:
    said = [Said(message["role"], text_of(message.get("content"))) for message in body["messages"]]
    offered = frozenset(tool["function"]["name"] for tool in body.get("tools") or [])
    return Asked(body["model"], said, offered, headers.get("x-session-affinity", ""), bool(body.get("stream")))


def answer(asked: Asked, step: Step) -> Reply:
    if asked.tools == _SHELL_ONLY and not step.tool:
        step = replace(step, tool="bash", args={"command": f"{_END} {shlex.quote(step.text)}"})
    if asked.stream:
        reply = events(_stream(asked, step), named=False)
        return Reply([*reply.pieces, b"data: [DONE]\n\n"], kind=reply.kind)
    choice = {"index": 0, "message": _message(asked, step), "finish_reason": _reason(asked, step)}
    return plain(_head(asked, "chat.completion") | {"choices": [choice], "usage": _usage(step)})


def failure(asked: Asked, fault: Fault, now: float) -> Reply:
    status, kind, code, text = _FAILURES[fault.kind]
    error = {"message": text, "type": kind, "param": None, "code": code}
    return plain({"error": error}, status, waiting(fault))


def _head(asked: Asked, kind: str) -> Body:
    return {"id": new_id("chatcmpl"), "object": kind, "created": 0, "model": asked.model}


def _usage(step: Step) -> Body:
    taken, given = step.usage
    return {"prompt_tokens": taken, "completion_tokens": given, "total_tokens": taken + given}


def _reason(asked: Asked, step: Step) -> str:
    return "tool_calls" if step.tool and asked.tools else "stop"


def _message(asked: Asked, step: Step) -> Body:
    if not step.tool:
        return {"role": "assistant", "content": step.text}
    if not asked.tools:
        whole = f"{step.args.get('path')}\n```\n{step.args.get('content')}```\n"
        return {"role": "assistant", "content": f"{step.text}\n{whole}"}
    name, args = tools.called(step.tool, step.args, asked.tools)
    call = {"id": new_id("call"), "type": "function", "function": {"name": name, "arguments": json.dumps(args)}}
    return {"role": "assistant", "content": step.text or None, "tool_calls": [call]}


def _stream(asked: Asked, step: Step) -> Iterator[Body]:
    head = _head(asked, "chat.completion.chunk")
    message = _message(asked, step)
    calls = [call | {"index": index} for index, call in enumerate(message.get("tool_calls", []))]
    parts: list[Body] = [{"role": "assistant", "content": message["content"] or ""}]
    parts += [{"tool_calls": calls}] if calls else []
    for delta in parts:
        yield head | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield head | {"choices": [{"index": 0, "delta": {}, "finish_reason": _reason(asked, step)}]}
    yield head | {"choices": [], "usage": _usage(step)}
