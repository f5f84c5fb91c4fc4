"""What an error is, and when what it speaks of is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as some

from parallel_loop.harness.dialects.reset_times import duration, reset_time, retry_after
from parallel_loop.harness.dialects.words import fault_of, kind_of_error, kind_of_name, kind_of_words


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


NOW = at("2026-11-20T22:30:00")  # a Friday


pytestmark = pytest.mark.usefixtures("utc")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("You've hit your 5-hour limit · resets 1:02am (UTC)", "2026-11-21T01:03:00"),
        ("You've hit your session limit · resets 11:13pm (UTC)", "2026-11-20T23:14:00"),
        ("You've hit your weekly limit · resets Nov 23, 3:09am (America/New_York)", "2026-11-23T08:10:00"),
        ("resets at 9pm (America/Port-au-Prince)", "2026-11-21T02:01:00"),
        ("Resets 1AM (local time)", "2026-11-21T01:01:00"),
        ("resets 3am (Europe/Berlin)", "2026-11-21T02:01:00"),
        ("resets Jan 2, 9am (UTC)", "2027-01-02T09:01:00"),
        ("resets Monday 9am (UTC)", "2026-11-23T09:01:00"),
        ("or try again at 7:45 PM.", "2026-11-21T19:46:00"),
        ("or try again at Nov 27th, 2026 6:15 PM.", "2026-11-27T18:16:00"),
        ("available again at 23:15", "2026-11-20T23:16:00"),
        ("Try again in 3 hours 20 minutes.", "2026-11-21T01:51:00"),
        ("Suggested retry after 3600s..", "2026-11-20T23:30:00"),
        ("Your quota will reset after 2h3m4s.", "2026-11-21T00:33:04"),
        ("Please try again in 7m12s", "2026-11-20T22:37:12"),
        ("Please retry in 45.5s", "2026-11-20T22:30:45.500000"),
        ("Claude AI usage limit reached|1795300000", "2026-11-21T22:26:40"),
        ("quota resets at 2026-11-21T08:00:00Z", "2026-11-21T08:00:00"),
        ("quota resets at 2026-11-21 08:00 UTC", "2026-11-21T08:01:00"),
    ],
)
def test_reset_times(words: str, expected: str) -> None:
    assert reset_time(words, NOW) == at(expected)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "resets 25:99am (UTC)",
        "resets 13pm",
        "resets 1:02am (Nowhere/Land)",
        "resets 1:02am (../../etc/passwd)",
        "resets Feb 30, 3:09am (UTC)",
        "resets Nov 18, 3:09am (UTC)",  # has only just passed: no time of next year
        "try again at Nov 1st, 2026 6:15 PM.",
        "try again in 999999999999 days",
        "usage limit reached|1000000000",
        "there were 12:30 failures",
        "resets soon",
    ],
)
def test_what_is_no_time_to_come_is_none(words: str) -> None:
    assert reset_time(words, NOW) is None


def test_local_times_are_of_this_machine(zone: Callable[[str], None]) -> None:
    zone("America/New_York")
    assert reset_time("try again at 7:45 PM.", NOW) == at("2026-11-21T00:46:00")


def test_a_time_within_the_told_minute_is_not_tomorrows() -> None:
    assert reset_time("resets 10:30pm (UTC)", NOW + 30) == NOW + 60


def test_retry_after() -> None:
    assert retry_after("3600", NOW) == 3600
    assert retry_after(2.5, NOW) == 2.5
    assert retry_after("Fri, 20 Nov 2026 22:31:00 GMT", NOW) == 60
    assert [retry_after(value, NOW) for value in ("", "soon", "-1", "nan", "inf", None, [])] == [None] * 7
    assert duration("Retrying in 500 ms") == 0.5


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("API Error: 529 Overloaded. This is a server-side issue", "overload"),
        ("Selected model is at capacity. Please try a different model.", "overload"),
        ("exceeded retry limit, last status: 429 Too Many Requests", "rate"),
        ("Server is temporarily limiting requests (not your usage limit) · This request would exceed", "rate"),
        ("Resource has been exhausted (e.g. check quota).", "rate"),
        ("Quota exceeded for quota metric 'Generate requests per minute'", "rate"),
        ("You exceeded your current quota, please check your plan and billing details.", "usage"),
        ("You’ve hit your usage limit. Upgrade to Pro", "usage"),  # noqa: RUF001 (as Codex prints it)
        ("Your credit balance is too low to access the Anthropic API.", "usage"),
        ("unexpected status 401 Unauthorized: Incorrect API key provided.", "auth"),
        ("Invalid API key · Please run /login", "auth"),
        ("Prompt is too long · the request is ~250000 tokens (limit 200000)", "context"),
        ("This model's maximum context length is 128000 tokens.", "context"),
        ("The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).", "context"),
        ("Codex ran out of room in the model's context window.", "context"),
        ("stream disconnected before completion: Transport error: network error", "network"),
        ("connect ECONNREFUSED 127.0.0.1:443", "network"),
        ("getaddrinfo EAI_AGAIN api.example.com", "network"),
        ("terminated", "network"),
        ("unexpected status 500 Internal Server Error", "server"),
        ("unexpected status 502 Bad Gateway", "server"),
        ("Reached maximum number of turns (3)", "turns"),
        ("Reached maximum budget ($0.03)", "budget"),
        ("the file was not what was expected", "other"),
        ("the count of 503 is odd", "other"),
    ],
)
def test_words(words: str, kind: str) -> None:
    assert kind_of_words(words) == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("rate_limit_error", "rate"),
        ("litellm.RateLimitError", "rate"),
        ("RESOURCE_EXHAUSTED", "rate"),
        ("insufficient_quota", "usage"),
        ("ContextWindowExceededError", "context"),
        ("context_length_exceeded", "context"),
        ("overloaded_error", "overload"),
        ("ServiceUnavailableError", "overload"),
        ("authentication_error", "auth"),
        ("APIConnectionError", "network"),
        ("InternalServerError", "server"),
        ("FatalTurnLimitedError", "turns"),
        ("invalid_request_error", None),
        ("unknown", None),
        ("", None),
    ],
)
def test_names(name: str, kind: str | None) -> None:
    assert kind_of_name(name) == kind


def test_what_is_exact_counts_before_what_is_general() -> None:
    assert kind_of_error("", 429, ["usage_limit_reached", "rate_limit_error"]) == "usage"
    assert kind_of_error("You exceeded your current quota", 429) == "usage"
    assert kind_of_error("prompt is too long", 400, ["invalid_request_error"]) == "context"
    assert kind_of_error("no such model", 404) == "other"
    assert kind_of_error("this speaks of a network timeout", 401) == "auth"
    assert kind_of_error("anything", 500, ["overloaded_error"]) == "overload"
    assert kind_of_error("anything", 401, ["ApiError"]) == "auth"


def test_json_in_words_counts_like_fields() -> None:
    words = (
        '{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"no","resets_in_seconds":600}}'
    )
    assert fault_of(words, NOW).resets_at == NOW + 600
    google = '{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow","details":[{"retryDelay":"3.5s"}]}}'
    assert (fault_of(google, NOW).kind, fault_of(google, NOW).retry_seconds) == ("rate", 3.5)
    assert fault_of("refused", NOW, body='{"error":{"code":"invalid_api_key"}}').kind == "auth"


@given(some.text(), some.floats(0, 4e9))
def test_any_words(words: str, now: float) -> None:
    fault_of(words, now)
    found = reset_time("resets " + words, now)
    assert found is None or now < found < now + 366 * 86400
