"""What other versions of the programs say otherwise, and what no recorded run has met; written by hand, and short."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parallel_loop.harness.dialects.replay import tell
from parallel_loop.harness.dialects.table import BY_NAME
from parallel_loop.harness.dialects.verdict import Finding, find, outcome_word

NOW = 1_795_000_000.0


def found(dialect: str, *lines: dict[str, Any] | str, code: int = 0, document: Any = None) -> Finding | None:
    output = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    written = None if document is None else json.dumps(document).encode()
    return find(tell(BY_NAME[dialect], output, written, NOW)[1], BY_NAME[dialect], code)


def word(dialect: str, *lines: dict[str, Any] | str, code: int = 0, document: Any = None) -> str:
    finding = found(dialect, *lines, code=code, document=document)
    return "done" if finding is None else finding.word


# --- Claude Code ----------------------------------------------------------------------------------------

RESULT = {"type": "result", "subtype": "success", "is_error": False, "num_turns": 2}
LIMIT = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": NOW + 900}}


def failed(text: str, **fields: Any) -> dict[str, Any]:
    return RESULT | {"is_error": True, "result": text} | fields


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Session limit reached ∙ resets 12:43pm", "usage"),
        ("Opus weekly limit reached ∙ resets Nov 30, 6:19pm", "usage"),
        ("Spending cap reached ∙ resets 11:53am", "usage"),  # by its time: nothing else is there again at an hour
        ("Claude AI usage limit reached|1795000900", "usage"),
        ("Credit balance is too low", "usage"),
        ("Not logged in · Please run /login", "auth"),
        ('API Error: 400 {"type":"error","error":{"message":"This organization has been disabled."}}', "auth"),
        ("API Error: 400 messages.1: network is no such field", "other"),  # who answers with 400 is reached
        ("There's an issue with the selected model. It may not exist or you may not have access to it.", "other"),
        ("API Error: Unterminated string in JSON at position 20", "network"),
        ("API Error: API returned an empty or malformed response (HTTP 200)", "server"),
        ("API Error: it appears to violate our Usage Policy. Start a new session.", "other"),
    ],
)
def test_claude_without_fields_that_say_it(text: str, expected: str) -> None:
    assert word("claude", failed(text), code=1) == expected


@pytest.mark.parametrize(
    ("info", "resets_at"),
    [
        ({"resetsAt": NOW + 900, "rateLimitType": "seven_day_overage_included"}, NOW + 900),
        ({"resetsAt": (NOW + 900) * 1000}, NOW + 900),
        ({"rateLimitType": "overage", "errorCode": "credits_required"}, None),
    ],
)
def test_claude_limits_of_every_kind(info: dict[str, Any], resets_at: float | None) -> None:
    limit = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected"} | info}
    finding = found("claude", limit, failed("API Error: 429 no", api_error_status=429), code=1)
    assert finding is not None
    assert (finding.word, finding.resets_at) == ("usage", resets_at)


def test_claude_an_end_without_an_answer_is_a_broken_connection() -> None:
    assert word("claude", RESULT | {"result": ""}) == "network"
    assert word("claude", RESULT | {"subtype": "error_during_execution", "errors": [], "num_turns": 0}) == "network"
    assert word("claude", RESULT | {"result": "", "stop_reason": "end_turn"}) == "done"
    assert word("claude", RESULT | {"result": "It is done."}) == "done"
    assert word("claude", RESULT | {"subtype": "error_max_turns"}) == "turns"


def test_claude_the_end_of_a_task_in_the_background_takes_nothing_back() -> None:
    ended = RESULT | {"num_turns": 0, "result": "", "origin": {"kind": "task-notification"}}
    limited = failed("no", api_error_status=429, terminal_reason="api_error")
    finding = found("claude", LIMIT, limited, ended, code=1)
    assert finding is not None
    assert (finding.word, finding.resets_at) == ("usage", NOW + 900)
    assert word("claude", RESULT | {"result": "begun"}, ended) == "done"
    assert word("claude", RESULT | {"result": "begun"}, ended | {"num_turns": 1, "result": "all is done"}) == "done"


@pytest.mark.parametrize("errors", [None, 5, "no answer", ["no answer"], [{"message": "no answer"}], {"a": 1}])
def test_claude_errors_of_any_shape(errors: Any) -> None:
    assert word("claude", RESULT | {"subtype": "error_during_execution", "is_error": True, "errors": errors}) == "other"


def test_claude_without_a_list_of_denials() -> None:
    asked = "Claude requested permissions to use Write, but you haven't granted it yet."
    block = {"type": "tool_result", "tool_use_id": "t1", "content": asked, "is_error": True}
    denied = {"type": "user", "message": {"content": [block]}}
    listed = RESULT | {"result": "no", "permission_denials": [{"tool_name": "Write", "tool_use_id": "t1"}]}
    finding = found("claude", denied, RESULT | {"result": "no"})
    assert finding is not None
    assert (finding.word, finding.why) == ("denied", f"it was not allowed to use Write: {asked}")
    assert found("claude", denied, listed) == finding
    assert word("claude", {"type": "user", "message": {"content": [block | {"is_error": False}]}}, listed) == "denied"


def test_what_it_says_of_the_service_when_it_has_ended_well_is_nothing() -> None:
    late = "Error: connect ECONNREFUSED 127.0.0.1:4318"
    assert word("claude", RESULT | {"result": "It is done."}, late) == "done"
    assert word("claude", late) == "network"
    assert word("claude", RESULT | {"result": "It is done."}, LIMIT, failed("no", api_error_status=429)) == "usage"


# --- Codex ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("stream disconnected before completion: An error occurred while processing your request.", "server"),
        ("stream disconnected before completion: stream closed before response.completed", "network"),
        ("stream disconnected before completion: Your input exceeds the context window of this model.", "context"),
        ("stream disconnected before completion: Invalid prompt: flagged as violating our usage policy.", "other"),
        ("stream disconnected before completion: Incomplete response returned, reason: content_filter", "other"),
        ("unexpected status 404 Not Found: The model does not exist, or you do not have access to it.", "other"),
        ("unexpected status 403 Forbidden: You do not have access to this model.", "auth"),
        ("Your access token could not be refreshed. Please log out and sign in again.", "auth"),
        ("Your workspace is out of credits. Add credits to continue.", "usage"),
        ("stream disconnected before completion: error sending request for url (https://example.com)", "network"),
        ("To use Codex with your ChatGPT plan, upgrade to Plus: https://example.com/plus.", "usage"),
        ('{"status":400,"error":{"message":"The model is not supported with your account."}}', "other"),
    ],
)
def test_codex_why_a_turn_failed(message: str, expected: str) -> None:
    again = {"type": "error", "message": f"stream error: {message}; retrying 1/2 in 206ms…"}
    error, end = {"type": "error", "message": message}, {"type": "turn.failed", "error": {"message": message}}
    assert word("codex", again, error, end, code=1) == expected


def test_codex_that_it_connects_again_is_no_reason() -> None:
    again = {"type": "error", "message": "Reconnecting... 2/2"}
    end = {"type": "turn.failed", "error": {"message": "unexpected status 404 Not Found: no such model"}}
    assert word("codex", again, end, code=1) == "other"
    assert word("codex", again, code=-15) == "network"


def test_codex_before_it_said_that_it_connects_again() -> None:
    again = {"type": "error", "message": "stream error: exceeded retry limit, last status: 429; retrying 2/5 in 1.5s…"}
    assert word("codex", again, {"type": "turn.completed", "usage": {}}) == "done"
    finding = found("codex", again, code=-15)
    assert finding is not None
    assert (finding.word, finding.retry_seconds) == ("rate", 1.5)


# --- Gemini CLI -----------------------------------------------------------------------------------------


def test_gemini_a_success_without_an_answer_is_none() -> None:
    result = {"type": "result", "status": "success", "stats": {}}
    said = {"type": "message", "role": "assistant", "content": "It is done.", "delta": True}
    tool = {"type": "tool_result", "tool_id": "t", "status": "success", "output": ""}
    assert word("gemini", result) == "network"
    assert word("gemini", said, tool, result) == "network"
    assert word("gemini", tool, said, said | {"content": ""}, result) == "done"


def test_gemini_a_quota_that_is_there_again_in_seconds_is_a_rate() -> None:
    message = "You exceeded your current quota, please check your plan and billing details.\nPlease retry in {}s."
    ends = {
        seconds: {"type": "result", "status": "error", "error": {"type": "Error", "message": message.format(seconds)}}
        for seconds in (2.5, 7200)
    }
    assert [word("gemini", end, code=1) for end in ends.values()] == ["rate", "usage"]


def test_gemini_gave_up_what_it_waited_for() -> None:
    attempt = "Attempt {} failed: You exceeded your current quota, please check your plan. Retrying after 5797ms..."
    end = {"type": "result", "status": "error", "error": {"type": "unknown", "message": "[API Error: Unknown error.]"}}
    lines = [attempt.format(1), attempt.format(2), end | {"stats": {}}]
    assert word("gemini", *lines, code=1) == "rate"
    assert word("gemini", lines[0], {"type": "tool_use", "tool_id": "t", "tool_name": "x"}, end, code=1) == "other"
    assert word("gemini", end, code=1) == "other"


# --- opencode -------------------------------------------------------------------------------------------


def test_opencode_a_session_that_it_made_shorter_goes_on() -> None:
    def line(kind: str, **part: Any) -> dict[str, Any]:
        return {"type": kind, "sessionID": "ses_1", "part": part}

    long = {"type": "error", "sessionID": "ses_1", "error": {"name": "ContextOverflowError", "data": {}}}
    own = line("text", text="The session was made shorter. Go on.", synthetic=True)
    lines = [long, line("step_start"), line("text", text="It is done."), line("step_finish", reason="stop"), own]
    assert [word("opencode", *lines[:1], code=1), word("opencode", *lines)] == ["context", "done"]
    output = "\n".join(map(json.dumps, lines)).encode()
    story = tell(BY_NAME["opencode"], output, None, NOW)[1]
    assert story.said == "It is done."
    # It exits with 1 because there was an error.
    assert [outcome_word(story, BY_NAME["opencode"], code) for code in (0, 1, 143)] == ["done", "done", "failed"]


# --- mini-swe-agent -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "limits", "expected"),
    [
        ("EOFError", {"step_limit": 3}, "turns"),  # it asks for another limit, of a person who is not there
        ("EOFError", {"cost_limit": 0.01}, "budget"),
        ("EOFError", {"step_limit": 9, "cost_limit": 3.0}, "other"),
        ("AuthenticationError", {"step_limit": 3}, "auth"),
    ],
)
def test_trajectory_that_ends_by_another_name(status: str, limits: dict[str, Any], expected: str) -> None:
    stats = {"instance_cost": 0.012, "api_calls": 3}
    info = {"exit_status": status, "model_stats": stats, "config": {"agent": limits}}
    assert word("trajectory", document={"info": info, "messages": []}, code=1) == expected
