"""Gemini's generateContent and streamGenerateContent, as Gemini CLI speaks them."""

from __future__ import annotations

from collections.abc import Mapping

from support.models import tools
from support.models.script import Fault, Said, Step
from support.models.wires import Asked, Body, Reply, events, new_id, plain

_GOOGLE = "type.googleapis.com/google.rpc"
_FAILURES = {
    "rate_limit": (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "usage_limit": (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "server_error": (500, "INTERNAL", "An internal error has occurred."),
    "auth": (401, "UNAUTHENTICATED", "API key not valid. Please pass a valid API key."),
    "context": (
        *(400, "INVALID_ARGUMENT"),
        "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
    ),
}


def read(path: str, headers: Mapping[str, str], body: Body) -> Asked:
    model, _, call = path.partition("?")[0].rpartition("/")[2].partition(":")
    said = [_said(content) for content in body["contents"]]
    declared = [tool.get("functionDeclarations") or [] for tool in body.get("tools") or []]
    offered = frozenset(function["name"] for functions in declared for function in functions)
    return Asked(model, said, offered, stream=call.startswith("stream"))


def answer(asked: Asked, step: Step) -> Reply:
    body = _body(asked, step)
    return events([_beginning(asked), body], named=False) if asked.stream else plain(body)


def failure(asked: Asked, fault: Fault, now: float) -> Reply:
    status, kind, text = _FAILURES[fault.kind]
    error: Body = {"code": status, "status": kind, "message": text, "details": []}
    if fault.retry_after is not None:
        error["details"].append({"@type": f"{_GOOGLE}.RetryInfo", "retryDelay": f"{fault.retry_after:g}s"})
    if fault.kind == "usage_limit":
        quota = {"quotaMetric": "requests", "quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        error["details"].append({"@type": f"{_GOOGLE}.QuotaFailure", "violations": [quota]})
    return plain({"error": error}, status)


def _said(content: Body) -> Said:
    parts = content.get("parts") or []
    if content.get("role") == "model":
        return Said("assistant")
    if any("functionResponse" in part for part in parts):
        return Said("tool")
    return Said("user", "\n".join(part.get("text", "") for part in parts))


def _beginning(asked: Asked) -> Body:
    content = {"role": "model", "parts": [{"text": ""}]}
    return {"candidates": [{"index": 0, "content": content}], "modelVersion": asked.model}


def _body(asked: Asked, step: Step) -> Body:
    parts: list[Body] = [{"text": step.text}] if step.text else []
    if step.tool:
        name, args = tools.called(step.tool, step.args, asked.tools)
        parts.append({"functionCall": {"id": new_id("call"), "name": name, "args": args}})
    taken, given = step.usage
    usage = {"promptTokenCount": taken, "candidatesTokenCount": given, "totalTokenCount": taken + given}
    candidate = {"index": 0, "content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": asked.model}
