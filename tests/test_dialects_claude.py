"""What is easily misread of what Claude Code says."""

from __future__ import annotations

from typing import Any

import pytest

from parallel_loop.harness.dialects.events import Fault, Used, Waits
from parallel_loop.harness.dialects.table import BY_NAME
from parallel_loop.harness.dialects.verdict import find
from support.dialects import NOW, both, read, word


def claude_result(**fields: Any) -> dict[str, Any]:
    return {"duration_api_ms": 1, "is_error": False, "subtype": "success", "result": "x", "type": "result"} | fields


def limit(**info: Any) -> dict[str, Any]:
    return {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "rateLimitType": "five_hour"} | info}


def synthetic(text: str, **fields: Any) -> dict[str, Any]:
    message = {"model": "<synthetic>", "id": "s", "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None, "error": "rate_limit"} | fields


def answer(*blocks: dict[str, Any], name: str = "msg_1", **fields: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 2, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3}
    message = {"model": "m", "id": name, "content": list(blocks), "usage": usage}
    return {"type": "assistant", "message": message, "parent_tool_use_id": None} | fields


def test_claude_a_failed_request_is_a_success_that_is_an_error() -> None:
    line = claude_result(is_error=True, api_error_status=429, terminal_reason="api_error", result="no")
    assert word("claude", read("claude", line), 1) == "rate"
    assert word("claude", read("claude", line | {"api_error": "usage_limit_reached"}), 1) == "usage"
    assert word("claude", read("claude", line | {"api_error_status": 529}), 1) == "overload"
    connection = line | {"api_error_status": None, "api_error": "connection_failed"}
    assert word("claude", read("claude", connection), 1) == "network"


def test_claude_a_limit_has_a_time() -> None:
    failed = claude_result(is_error=True, api_error_status=429, result="words of another version")
    story = read("claude", limit(resetsAt=NOW + 900), synthetic("no"), failed)
    finding = find(story, BY_NAME["claude"], 1)
    assert finding is not None
    assert (finding.word, finding.resets_at, story.steps) == ("usage", NOW + 900, 0)
    assert finding.why.endswith(": the five-hour limit is reached")
    assert word("claude", read("claude", limit(), synthetic("no"), failed), 1) == "rate"


def test_claude_a_limit_that_is_paid_for_stops_nothing() -> None:
    story = read("claude", limit(resetsAt=NOW + 900, isUsingOverage=True))
    assert story.fault is None
    assert word("claude", read("claude", limit(resetsAt=NOW + 900), claude_result())) == "done"


@pytest.mark.parametrize(
    ("subtype", "reason", "expected"),
    [
        ("error_max_turns", "max_turns", "turns"),
        ("error_max_budget_usd", "budget_exhausted", "budget"),
        ("success", "prompt_too_long", "context"),
        ("success", "rapid_refill_breaker", "context"),
        ("error_during_execution", "aborted_streaming", "failed"),
        ("error_max_structured_output_retries", "structured_output_retry_exhausted", "failed"),
    ],
)
def test_claude_why_it_ended(subtype: str, reason: str, expected: str) -> None:
    line = claude_result(subtype=subtype, terminal_reason=reason, is_error=True, errors=["that was it"], result="")
    assert word("claude", read("claude", line), 1) == expected


def test_what_a_program_may_cost_is_not_taken_for_what_a_run_may() -> None:
    line = claude_result(subtype="error_max_budget_usd", is_error=True, errors=["$0.01"], result="")
    finding = find(read("claude", line), BY_NAME["claude"], 1)
    assert finding is not None
    assert finding.why == "what it may cost is spent: $0.01"


def test_claude_interrupted_ends_with_0() -> None:
    line = claude_result(subtype="error_during_execution", is_error=True, errors=[], result="")
    assert word("claude", read("claude", line), 0) == "failed"


def test_claude_denied_is_told_twice_and_counted_once() -> None:
    said = {"type": "system", "subtype": "permission_denied", "tool_name": "Write", "tool_use_id": "t1", "message": "m"}
    story = read("claude", said, claude_result(permission_denials=[{"tool_name": "Write", "tool_use_id": "t1"}]))
    assert word("claude", story) == "denied"
    assert len(story.denied) == 1


def test_claude_one_answer_in_two_lines_is_one_step() -> None:
    story = read("claude", answer({"type": "text", "text": "a"}), answer({"type": "text", "text": "b"}))
    assert (story.steps, story.said) == (1, "b")
    assert (story.usage().input, story.usage().cached) == (13, 5)
    assert read("claude", answer(), answer(name="msg_2")).usage().input == 26


def test_claude_agents_below_do_not_speak_for_it() -> None:
    below = {"parent_tool_use_id": "t0"}
    story = read("claude", answer({"type": "text", "text": "below"}, **below), synthetic("limit", **below))
    assert (story.steps, story.said, story.fault) == (0, "", None)


def test_claude_usage_of_a_resumed_session() -> None:
    models = {"m": {"inputTokens": 9000, "outputTokens": 150, "costUSD": 0.03}}
    new = {"m": {"inputTokens": 4000, "cacheReadInputTokens": 500, "outputTokens": 75, "costUSD": 0.01}}
    old_version = claude_result(total_cost_usd=0.03, modelUsage=models)
    assert read("claude", old_version).usage().usd == 0.03
    newer = old_version | {"model_usage_since_last_result": new}
    usage = read("claude", answer(), newer, newer).usage()
    assert (usage.input, usage.cached, usage.output, usage.usd) == (8000, 1000, 150, 0.02)


def test_claude_retries() -> None:
    retry = {"type": "system", "subtype": "api_retry", "attempt": 1, "max_retries": 10, "retry_delay_ms": 4462023}
    assert read("claude", retry | {"error_status": 529, "error": "overloaded"}).waits == Waits(
        kind="overload", seconds=4462.023, text="attempt 1 of 10: 529"
    )
    unanswered = read("claude", retry | {"error_status": None, "error": "unknown"})
    assert unanswered.waits is not None
    assert unanswered.waits.kind == "network"


def test_claude_what_tools_print_is_no_error() -> None:
    output = {"type": "tool_result", "tool_use_id": "t", "content": "Error: 401 Unauthorized, usage limit reached"}
    line = {"type": "user", "message": {"content": [output | {"is_error": True}]}}
    events, story = both("claude", line, answer({"type": "text", "text": "API Error: 529"}), claude_result())
    assert not any(isinstance(event, Fault) for event in events)
    assert word("claude", story) == "done"


def test_numbers_that_are_none_are_no_numbers() -> None:
    usage = {"input_tokens": "many", "output_tokens": -4, "cache_read_input_tokens": 1e300}
    events, _ = both("claude", claude_result(usage=usage, total_cost_usd=[]))
    assert [event for event in events if isinstance(event, Used)] == [Used(cached=10**15, scope="run")]
