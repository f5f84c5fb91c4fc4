"""What is easily misread, program by program; of Claude Code in test_dialects_claude.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from parallel_loop.harness.configuration.settings import DIALECTS
from parallel_loop.harness.dialects.events import Fault, Said, Step, ToolBegun, ToolEnded, Waits
from parallel_loop.harness.dialects.replay import main
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.dialects.table import BY_NAME
from parallel_loop.harness.dialects.verdict import find
from support.dialects import NOW, both, read, word


def test_the_table_has_what_the_configuration_names() -> None:
    assert set(BY_NAME) == set(DIALECTS)


# --- Codex ----------------------------------------------------------------------------------------------


def test_codex_connecting_again_is_a_wait() -> None:
    again = {"type": "error", "message": "Reconnecting... 1/5 (exceeded retry limit, last status: 429 Too Many)"}
    story = read("codex", {"type": "thread.started", "thread_id": "t"}, again)
    assert story.fault is None
    assert story.waits is not None
    assert word("codex", story, -15) == "rate"
    assert word("codex", read("codex", again, {"type": "turn.completed", "usage": {}})) == "done"


def test_codex_usage_is_of_the_whole_thread() -> None:
    line = {"type": "turn.completed", "usage": {"input_tokens": 9000, "cached_input_tokens": 1000, "output_tokens": 5}}
    story = read("codex", line)
    before = read("codex", {"type": "turn.completed", "usage": {"input_tokens": 3000}}).session_usage()
    assert (story.usage(before).input, story.usage(before).cached) == (5000, 1000)


def test_codex_an_error_as_json() -> None:
    message = json.dumps({"type": "error", "status": 400, "error": {"type": "invalid_request_error", "message": "old"}})
    assert word("codex", read("codex", {"type": "turn.failed", "error": {"message": message}}), 1) == "failed"
    message = json.dumps({"status": 401, "error": {"message": "no"}})
    assert word("codex", read("codex", {"type": "turn.failed", "error": {"message": message}}), 1) == "auth"


def test_codex_warnings_are_no_errors_and_new_kinds_of_tools_are_tools() -> None:
    warning = {"type": "item.completed", "item": {"id": "0", "type": "error", "message": "usage limit is near"}}
    tool = {"id": "1", "type": "collab_tool_call", "tool": "spawn_agent"}
    begun, ended = {"type": "item.started", "item": tool}, {"type": "item.completed", "item": tool}
    story = read("codex", warning, begun, ended | {"item": tool | {"status": "completed"}})
    assert (story.fault, story.tools, story.open_tools) == (None, 1, {})


# --- Gemini CLI -----------------------------------------------------------------------------------------


def gemini_result(status: str = "success", **fields: Any) -> dict[str, Any]:
    stats = {"input_tokens": 100, "cached": 40, "output_tokens": 7}
    return {"type": "result", "status": status, "stats": stats} | fields


def test_gemini_going_round_in_circles_is_no_success() -> None:
    warning = {"type": "error", "severity": "warning", "message": "Loop detected, stopping execution"}
    assert word("gemini", read("gemini", warning, gemini_result())) == "loop"
    other = warning | {"message": "Agent execution blocked: the network is slow"}
    said = {"type": "message", "role": "assistant", "content": "It is done."}
    assert word("gemini", read("gemini", other, said, gemini_result())) == "done"


def test_gemini_exit_codes_tell_what_its_words_do_not() -> None:
    failed = gemini_result("error", error={"type": "unknown", "message": "[API Error: hm.]\nrequest a quota increase"})
    codes = {173: "rate", 145: "auth", 247: "overload", 244: "server", 53: "turns", 144: "failed", 1: "failed"}
    assert {code: word("gemini", read("gemini", failed), code) for code in codes} == codes


def test_gemini_retries_are_on_standard_error() -> None:
    story = read("gemini", "Attempt 1 failed: Resource has been exhausted (e.g. check quota).")
    story_of_two = read("gemini", "Attempt 1 failed: The model is overloaded.", "after 1s.. Retrying after 5439ms...")
    assert story.waits is not None
    assert story.waits.kind == "rate"
    assert story_of_two.waits is not None
    assert (story_of_two.waits.kind, story_of_two.waits.seconds) == ("overload", 5.439)


def test_gemini_quota_and_its_time() -> None:
    message = "[API Error: You have exhausted your capacity on this model. Your quota will reset after 2h0m1s.]\nx"
    finding = find(
        read("gemini", gemini_result("error", error={"type": "TerminalQuotaError", "message": message})),
        BY_NAME["gemini"],
        173,
    )
    assert finding is not None
    assert (finding.word, finding.resets_at) == ("usage", NOW + 7201)


def test_gemini_without_result_although_0() -> None:
    assert word("gemini", read("gemini", {"type": "init", "session_id": "s"})) == "no-result"


def test_gemini_words_in_pieces_are_one_text() -> None:
    piece = {"type": "message", "role": "assistant", "delta": True}
    call = {"type": "tool_use", "tool_id": "t", "tool_name": "read_file", "parameters": {}}
    story = read("gemini", piece | {"content": "a"}, call, piece | {"content": "b"}, piece | {"content": "c"})
    assert (story.said, story.steps) == ("bc", 1)
    assert read("gemini", gemini_result()).usage().input == 60


# --- opencode -------------------------------------------------------------------------------------------


def opencode_error(name: str = "APIError", **data: Any) -> dict[str, Any]:
    return {"type": "error", "sessionID": "ses_1", "error": {"name": name, "data": {"message": "hm"} | data}}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (opencode_error(statusCode=429, isRetryable=True), "rate"),
        (opencode_error(statusCode=429, responseBody='{"error":{"code":"insufficient_quota"}}'), "usage"),
        (opencode_error(statusCode=503), "overload"),
        (opencode_error(statusCode=401), "auth"),
        (opencode_error("ProviderAuthError"), "auth"),
        (opencode_error("ContextOverflowError"), "context"),
        (opencode_error(isRetryable=True), "network"),
        (opencode_error(isRetryable=False), "failed"),
        (opencode_error("MessageAbortedError"), "failed"),
    ],
)
def test_opencode_errors(error: dict[str, Any], expected: str) -> None:
    assert word("opencode", read("opencode", error), 1) == expected


def test_opencode_says_when_to_try_again() -> None:
    story = read("opencode", opencode_error(statusCode=429, responseHeaders={"Retry-After": "3600"}))
    assert story.fault is not None
    assert (story.fault.retry_seconds, story.session) == (3600, "ses_1")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("AI_APICallError: Rate limit reached for requests.", "rate"),
        ("AI_APICallError: You exceeded your current quota.", "usage"),
        ("AI_APICallError: The server is overloaded, please try again later.", "overload"),
        ("Error: read ECONNRESET", "network"),
        ("TypeError: undefined is not a function", None),
    ],
)
def test_opencode_tells_in_its_log_what_it_tries_again(error: str, expected: str | None) -> None:
    line = (
        'timestamp=2026-11-28T10:52:49.245Z level=ERROR run=92922c59 message="stream error" providerID=fake '
        f'modelID=model-1 session.id=ses_1 small=false agent=build mode=primary error.error="{error}"'
    )
    waits = read("opencode", line).waits
    assert (waits.kind if waits else None) == expected
    assert read("opencode", line.replace("small=false", "small=true")).waits is None, "that was about a title"
    assert read("opencode", line, {"type": "step_start", "sessionID": "s"}).waits is None


def test_opencode_has_ended_when_its_last_step_stops() -> None:
    start = {"type": "step_start", "sessionID": "ses_1", "part": {"messageID": "m1"}}
    finish = {"type": "step_finish", "part": {"tokens": {"input": 5, "output": 1, "cache": {"read": 2}}, "cost": 0.5}}
    calls, stop = (
        finish | {"part": finish["part"] | {"reason": "tool-calls", "id": "1"}},
        finish | {"part": {"reason": "stop"}},
    )
    assert word("opencode", read("opencode", start, calls)) == "no-result"
    assert word("opencode", read("opencode", start, calls, stop)) == "done"
    assert word("opencode", read("opencode", start, stop, start, calls)) == "no-result"
    second = calls | {"part": calls["part"] | {"id": "2"}}
    assert read("opencode", calls, second).usage().usd == 1.0


def test_opencode_not_allowed() -> None:
    state = {"status": "completed", "input": {"tool": "bash", "error": "unavailable"}, "output": "invalid"}
    assert read("opencode", {"type": "tool_use", "part": {"tool": "invalid", "callID": "1", "state": state}}).denied
    assert read("opencode", "! permission requested: bash (rm -rf x); auto-rejecting").denied[0].tool == "bash"


# --- mini-swe-agent -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "limits", "expected"),
    [
        ("Submitted", {}, "done"),
        ("LimitsExceeded", {"step_limit": 3, "cost_limit": 3.0}, "turns"),
        ("LimitsExceeded", {"step_limit": 0, "cost_limit": 0.01}, "budget"),
        ("TimeExceeded", {}, "turns"),
        ("AuthenticationError", {}, "auth"),
        ("ContextWindowExceededError", {}, "context"),
        ("RateLimitError", {}, "rate"),
        ("RepeatedFormatError", {}, "failed"),
        ("", {}, "no-result"),
    ],
)
def test_trajectory(status: str, limits: dict[str, Any], expected: str) -> None:
    stats = {"instance_cost": 0.012, "api_calls": 3}
    info = {"exit_status": status, "submission": "", "model_stats": stats, "config": {"agent": limits}}
    usage = {"prompt_tokens": 100, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 30}}
    document = {"info": info, "messages": [{"extra": {"response": {"usage": usage}}}, {"role": "exit", "extra": {}}]}
    story = read("trajectory", "mini-swe-agent (step 1, $0.01):", document=document)
    assert word("trajectory", story) == expected
    assert (story.usage().input, story.usage().usd) == (70, 0.012)


def test_trajectory_says_why_it_waits() -> None:
    line = "Retrying <unknown> in 4.0 seconds as it raised RateLimitError: litellm.RateLimitError: too many"
    assert read("trajectory", line).waits == Waits(kind="rate", seconds=4.0, text=line)


# --- aider, and programs that nobody knows --------------------------------------------------------------


def test_text_only_lines_that_are_errors() -> None:
    story = read(
        "text",
        "I looked for litellm.RateLimitError: there is none",
        "> the API key is wrong: 401 Unauthorized",
        "ConnectionError: refused",
        "E   requests.exceptions.ConnectionError: x",
    )
    assert (story.events, word("text", story)) == (0, "done")


def test_text_ends_with_0_whatever_was_wrong() -> None:
    line = "litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key provided."
    assert word("text", read("text", line)) == "auth"
    again = read("text", "litellm.RateLimitError: x", "Retrying in 0.2 seconds...", "Tokens: 1.5k sent, 25 received.")
    assert (word("text", again), again.usage().input, again.usage().output) == ("done", 1500, 25)


def test_text_unknown_program() -> None:
    assert word("text", Story(), 0) == "done"
    assert word("text", Story(), 3) == "failed"


# --- cursor-agent ---------------------------------------------------------------------------------------


def test_cursor() -> None:
    def call(subtype: str, number: str, **fields: Any) -> dict[str, Any]:
        args = {"command": "git status", "toolCallId": number, "requestId": number}
        tools = {"hookAdditionalContexts": [], "shellToolCall": {"args": args} | fields, "toolCallId": number}
        return {"type": "tool_call", "subtype": subtype, "call_id": number, "tool_call": tools}

    ended = call("completed", "1", result={"success": {"exitCode": 1, "executionTime": 3}})
    refused = call("completed", "2", result={"rejected": {"reason": "no"}})
    usage = {"inputTokens": 14, "outputTokens": 3, "cacheReadTokens": 24}
    result = {"type": "result", "subtype": "success", "is_error": False, "result": "x", "usage": usage}
    events, story = both("cursor", call("started", "1"), ended, call("started", "2"), refused, result)
    begun = [event for event in events if isinstance(event, ToolBegun)]
    assert (begun[0].name, begun[0].args) == ("shell", begun[1].args)
    assert [event.ok for event in events if isinstance(event, ToolEnded)] == [False, False]
    assert word("cursor", story) == "denied"
    assert (story.usage().input, story.usage().cached) == (14, 24)
    assert word("cursor", read("cursor", "ConnectError: [unauthenticated] Error"), 1) == "auth"


# --- in all ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["claude", "codex", "gemini", "opencode", "cursor"])
def test_refused_is_what_ends_before_it_begins(dialect: str) -> None:
    assert word(dialect, read(dialect, "error: unexpected argument '--no-such-option' found"), 2) == "refused"
    assert word(dialect, Story(), -9) == "no-result"
    assert word(dialect, Story(), 143) == "no-result"
    assert word(dialect, Story(), 0) == "no-result"


def test_answers_clear_what_was_wrong_before() -> None:
    story = Story()
    for event in (Fault(kind="rate"), Step(), Said(text="x")):
        story.take(event)
    assert story.fault is None


def test_replay_shows_events_and_outcome(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "log").write_text('{"type":"thread.started","thread_id":"t"}\nwords\n{"type":"turn.completed"}\n')
    assert main(["codex", str(tmp_path / "log"), "--exit-code", "0"]) == 0
    *events, told = map(json.loads, capsys.readouterr().out.splitlines())
    assert [event["event"] for event in events] == ["session", "used", "result"]
    assert (told["outcome"], told["session"]) == ("done", "t")
    assert main(["codex", str(tmp_path / "none")]) == 1
