"""When a program goes round in circles, by the calls of its tools; and when it only looks as if it did."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pytest

from parallel_loop.harness.dialects.events import ToolBegun, ToolEnded
from parallel_loop.harness.dialects.opencode import OPENCODE
from parallel_loop.harness.dialects.story import Story, Trouble


class Call(NamedTuple):
    args: str
    output: str = "the same"
    ok: bool = True
    seconds: float = 0.1


TEST = Call("make test", "1 failed", ok=False)
POLL = Call("curl -s ci/status", "pending")


def trouble_of(calls: Iterable[Call], *, told: bool = False) -> Trouble | None:
    """What the calls come to; `told`: the program tells of a call when it is over, and how long it took."""
    story, now = Story(), 0.0
    for number, call in enumerate(calls):
        begin = now
        now += call.seconds
        story.take(ToolBegun(id=str(number), name="bash", args=call.args, at=now if told else begin))
        seconds = call.seconds if told else None
        story.take(ToolEnded(id=str(number), ok=call.ok, output=call.output, seconds=seconds, at=now))
        now += 3.0  # the model thinks
    return story.trouble


@pytest.mark.parametrize(
    ("calls", "trouble"),
    [
        pytest.param([POLL] * 5, None, id="five times"),
        pytest.param([POLL] * 6, "same-call", id="six times"),
        pytest.param([POLL._replace(output=str(n)) for n in range(6)], None, id="with other results"),
        pytest.param([TEST] * 3, None, id="three failures"),
        pytest.param([TEST] * 4, "failing-call", id="four failures"),
        pytest.param([TEST._replace(output=str(n)) for n in range(4)], "failing-call", id="whatever they say"),
        pytest.param([POLL, TEST] * 6, "two-calls", id="two in turn"),
        pytest.param([POLL, TEST] * 5, None, id="not often enough"),
    ],
)
def test_circles(calls: list[Call], trouble: Trouble | None) -> None:
    assert trouble_of(calls) == trouble


def test_tests_that_fail_again_after_each_change_are_work() -> None:
    assert trouble_of(call for n in range(10) for call in (Call(f"edit {n}", "done"), TEST)) is None


@pytest.mark.parametrize("told", [False, True])
def test_who_waits_within_its_calls_is_no_circle(told: bool) -> None:
    """As for a build, or for other people: each call takes a while, and says the same until it is over."""
    assert trouble_of([POLL._replace(seconds=30.0)] * 20, told=told) is None
    assert trouble_of([TEST._replace(seconds=60.0)] * 6, told=told) is None


def test_opencode_tells_of_a_call_when_it_is_over_and_how_long_it_took() -> None:
    line = b"""{"type": "tool_use", "part": {"callID": "c", "tool": "bash", "state":
        {"status": "completed", "input": {}, "output": "", "time": {"start": 1000, "end": 8500}}}}"""
    _, ended = OPENCODE.read(line.replace(b"\n", b" "), 0.0)
    assert isinstance(ended, ToolEnded)
    assert ended.seconds == 7.5
