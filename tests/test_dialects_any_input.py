"""Whatever a program prints: it is read without raising, and what comes later changes nothing of what came before."""

from __future__ import annotations

import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from parallel_loop.harness.dialects.dialect import LONGEST_LINE, LONGEST_ODD, LONGEST_WORDS
from parallel_loop.harness.dialects.events import AnyEvent, Session, Used
from parallel_loop.harness.dialects.story import Story
from parallel_loop.harness.dialects.table import BY_NAME
from parallel_loop.harness.dialects.verdict import find, outcome_word

ALL = sorted(BY_NAME)
# Names that mean something to a dialect, so that what is generated gets further than the first look.
_KEYS = """
    type subtype message content item error result part state status id name input output usage model text data
    session_id thread_id sessionID is_error api_error_status terminal_reason permission_denials rate_limit_info
    resetsAt modelUsage model_usage_since_last_result tool_call shellToolCall stats severity info exit_status
    messages extra response config agent code reason tokens cache responseHeaders responseBody errors
"""
_VALUES = """
    system assistant user result rate_limit_event init api_retry thread.started item.started item.completed
    turn.completed turn.failed error message tool_use tool_result step_start step_finish text success rejected
    command_execution agent_message tool_call started completed <synthetic> Submitted LimitsExceeded
"""
KEYS, VALUES = some.sampled_from(_KEYS.split()), some.sampled_from(_VALUES.split())
LEAVES = some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20) | VALUES
JSON: Any = some.recursive(
    LEAVES, lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEYS, inner, max_size=6), max_leaves=25
)
OBJECTS = some.dictionaries(KEYS, JSON, max_size=8).flatmap(lambda rest: VALUES.map(lambda kind: rest | {"type": kind}))

SAYS_SOMETHING: dict[str, tuple[bytes, ...]] = {
    "claude": (b'{"type":"system","subtype":"init","session_id":"s"}',),
    "codex": (b'{"type":"thread.started","thread_id":"t"}',),
    "cursor": (b'{"type":"system","subtype":"init","session_id":"s"}', b"ConnectError: [unauthenticated] Error"),
    "gemini": (b'{"type":"init","session_id":"s"}', b"Attempt 1 failed: The model is overloaded."),
    "opencode": (
        b'{"type":"step_start","sessionID":"s","part":{"messageID":"m"}}',
        b"! permission requested: bash (rm -rf x); auto-rejecting",
    ),
    "text": (b"litellm.RateLimitError: x",),
    "trajectory": (b"Retrying <unknown> in 4.0 seconds as it raised RateLimitError: x",),
}


def story_of(events: list[AnyEvent]) -> Story:
    story = Story()
    for event in events:
        msgspec.json.encode(event)  # as what is kept of them
        story.take(event)
    story.usage()
    return story


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=200, deadline=None)
@given(line=some.binary(max_size=200) | some.text(max_size=200).map(lambda text: text.encode(errors="replace")))
def test_any_bytes(name: str, line: bytes) -> None:
    dialect = BY_NAME[name]
    find(story_of([*dialect.read(line, 0.0), *dialect.read_document(line, 0.0)]), dialect, 1)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=300, deadline=None)
@given(value=OBJECTS | JSON, now=some.floats(), code=some.none() | some.integers(-64, 255))
def test_any_json(name: str, value: Any, now: float, code: int | None) -> None:
    dialect, line = BY_NAME[name], json.dumps(value).encode()
    assert outcome_word(story_of([*dialect.read(line, now), *dialect.read_document(line, now)]), dialect, code)


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=30, deadline=None)
@given(lines=some.lists(OBJECTS, max_size=4), share=some.floats(0, 1))
def test_a_stream_cut_at_any_byte_says_the_same_up_to_there(name: str, lines: list[Any], share: float) -> None:
    data = b"\n".join(json.dumps(line).encode() for line in lines)
    whole = [event for line in data.split(b"\n") for event in BY_NAME[name].read(line, 0.0)]
    cut = [event for line in data[: int(share * len(data))].split(b"\n") for event in BY_NAME[name].read(line, 0.0)]
    assert cut == whole[: len(cut)]


@pytest.mark.parametrize("name", ALL)
def test_what_is_too_long_or_too_deep_is_not_read(name: str) -> None:
    dialect = BY_NAME[name]
    for line in SAYS_SOMETHING[name]:
        longest = LONGEST_LINE if line.startswith(b"{") else LONGEST_WORDS
        assert dialect.read(line + b" " * (longest - len(line)), 0.0)
        assert not dialect.read(line + b" " * (longest - len(line) + 1), 0.0)
    for line in (b"{" + b" " * LONGEST_LINE, b'{"type":' * 5000, b"[" * 100_000, b"\xff\xfe{}", b"x" * 1_000_000):
        assert not dialect.read(line, 0.0)
        assert not dialect.read_document(line, 0.0)


def test_no_name_is_longer_than_a_text() -> None:
    block = {"type": "tool_use", "id": "i" * 100_000, "name": "n" * 100_000, "input": {}}
    line = json.dumps({"type": "assistant", "message": {"id": "m" * 100_000, "content": [block]}}).encode()
    events = BY_NAME["claude"].read(line, 0.0)
    assert len(events) == 2
    assert all(len(msgspec.json.encode(event)) < 20_000 for event in events)


@pytest.mark.parametrize(
    "name", ["", "--dangerously-skip-permissions", "../../x", "a/b", "a\0b", "a\nb", "{prompt}", "x" * 1000, ".."]
)
def test_a_session_is_not_called_what_is_an_option_a_path_or_without_end(name: str) -> None:
    story = story_of([Session(id="0198-ab"), Session(id=name)])
    assert story.session == "0198-ab"


def test_what_is_no_sum_of_money_is_none() -> None:
    assert story_of([Used(usd=-5.0), Used(usd=1.5)]).usage().usd == 1.5
    assert story_of([Used(usd=1e308), Used(usd=1e308)]).usage().usd == 2e6


ENDED = b'{"type":"result","subtype":"success","is_error":true,"api_error_status":429,"result":"no"}'


@pytest.mark.parametrize(
    "line",
    [
        ENDED + b"\r",
        b"\xef\xbb\xbf" + ENDED,
        b"\x1b[0m\x1b[?25h" + ENDED + b"\x1b[0m",
        b"\x1b]0;a title\x07" + ENDED,
        b"\0\0" + ENDED,
        ENDED + b"Error: what another wrote behind it",
        ENDED.replace(b"no", b"half of a smile: \\ud83d"),
        ENDED.replace(b"no", b"no text: \xff\xfe"),
        ENDED.replace(b'"no"', b'"no","share":NaN'),
        ENDED.replace(b"no", b"a tab: \t"),
    ],
)
def test_what_programs_and_terminals_put_around_json(line: bytes) -> None:
    dialect = BY_NAME["claude"]
    assert outcome_word(story_of(list(dialect.read(line, 0.0))), dialect, 1) == "rate"


def test_what_is_odd_and_long_is_not_read() -> None:
    for count, events in ((LONGEST_ODD // 2, 2), (LONGEST_ODD, 0)):
        assert len(BY_NAME["claude"].read(ENDED.replace(b"no", b"\xff" * count), 0.0)) == events


def test_what_is_odd_costs_no_more_than_what_is_not() -> None:
    marks = b"\x1b[0m \0\xef\xbb\xbf" * 100_000
    begun = time.process_time()
    deep, wrong = b"{" + b'"a":[' * 200_000 + b"}", b"{" + b"\xff" * 10**7
    for line in (marks + b"x", b"{" + marks, deep, wrong, b"\x1b]" * 500_000):
        assert not BY_NAME["claude"].read(line, 0.0)
    assert time.process_time() - begun < 10


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("opencode", b"timestamp=x level=ERROR " + b'"stream error" ' * 2000 + b"small=false " * 2000),
        ("gemini", b'{"type":"result","error":{"message":"' + b"[API Error: " * 100_000 + b'"}}'),
        ("claude", b"\0" * (LONGEST_LINE - 1) + b"x"),
        ("text", b"Tokens: 1k sent," + b" 1k cache hit," * 5000),
    ],
)
def test_what_begins_to_say_something_again_and_again_is_looked_through_once(name: str, line: bytes) -> None:
    begun = time.process_time()
    BY_NAME[name].read(line, 0.0)
    assert time.process_time() - begun < 1
