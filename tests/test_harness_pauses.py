"""When a program is paused and tried again: the table of what is known, what happened, and what is known then."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from parallel_loop.harness.pausing.likeness import alike, last_line
from parallel_loop.harness.pausing.pauses import (
    Event,
    Failed,
    Failure,
    Resumed,
    RunBegun,
    State,
    Succeeded,
    TrialBegun,
    TrialOver,
    after,
    costs_nothing,
    pause_of,
)
from parallel_loop.queue.clock import later, seconds_between

NOW = "2026-01-01T00:00:00.000000Z"
BASE = Failure(
    key="mine",
    config=1,
    program="mine",
    outcome="failed",
    exit_code=127,
    end="0: not found",
    said="sh: not found",
    item="a",
    seconds=0.1,
)


def failed(item: str = "a", *, trial: bool = False, **fields: object) -> Failed:
    return Failed(replace(BASE, item=item, **fields), trial)


def play(*events: Event, state: State = (), now: str = NOW) -> State:
    for event in events:
        state = after(state, event, now)
    return state


def waits(state: State, now: str = NOW) -> list[float]:
    """For how long each pause goes on."""
    return [seconds_between(now, one.until) for one in state if one.until is not None]


THREE = (failed("a"), failed("b"), failed("a"))


@pytest.mark.parametrize(
    ("events", "paused"),
    [
        (THREE, True),
        ((failed("a"), failed("b"), failed("c")), True),
        ((failed("a"), failed("b")), False),
        ((failed("a"), failed("a"), failed("a"), failed("a")), False),
        ((failed("a"), failed("a"), failed("a"), failed("b")), True),
        ((failed("a"), failed("b"), Succeeded("mine"), failed("c")), False),
        ((failed("a"), failed("b"), Succeeded("yours"), failed("c")), True),
        ((failed("a"), failed("b"), failed("c", seconds=10.0)), False),
        ((failed("a"), failed("b"), failed("c", seconds=10.0), failed("d")), True),
        ((failed("a"), failed("b"), failed("c", exit_code=1)), False),
        ((failed("a"), failed("b"), failed("c", end="0: denied")), False),
        ((failed("a"), failed("b"), failed("c", outcome="error")), False),
        ((failed("a"), failed("b"), failed("c", key="yours", program="yours")), False),
        ((failed("a"), failed("b"), failed("c", config=2)), False),
        ((failed("a"), failed("b", end="0: denied"), failed("c", end="0: denied"), failed("d"), failed("e")), True),
        ((failed("a"), failed("b"), Resumed("mine"), failed("c")), False),
        ((failed("a"), failed("b"), RunBegun(), failed("c")), True),
    ],
)
def test_what_pauses_a_program(events: tuple[Event, ...], paused: bool) -> None:
    assert (waits(play(*events)) == [60.0]) == paused
    assert (pause_of(play(*events), "mine") is not None) == paused


@pytest.mark.parametrize(
    ("event", "left"),
    [
        (Succeeded("mine"), []),
        (Succeeded("yours"), [60.0]),
        (Resumed("mine"), [0.0]),
        (Resumed("yours"), [60.0]),
        (failed("c"), [60.0]),
        (failed("c", end="0: denied"), [60.0]),
        (failed("c", seconds=99.0), [60.0]),
        (failed("c", config=2), []),
        (failed("c", trial=True), [120.0]),
        (failed("c", trial=True, end="0: denied"), [120.0]),
        (failed("c", trial=True, seconds=99.0), []),
        (TrialBegun("mine"), [60.0]),
        (TrialOver("mine"), [60.0]),
        (RunBegun(), [0.0]),
    ],
)
def test_what_becomes_of_a_pause(event: Event, left: list[float]) -> None:
    assert waits(play(*THREE, event)) == left


def test_a_trial_is_begun_by_one_after_1_2_4_and_at_most_30_minutes() -> None:
    state, now, seen = play(*THREE), NOW, []
    for _ in range(8):
        (pause,) = state
        seen.append(seconds_between(now, pause.until) / 60)
        assert play(TrialBegun("mine"), state=state, now=later(pause.until, -1)) == state, "it is not time yet"
        now = pause.until
        state = play(TrialBegun("mine"), state=state, now=now)
        assert state[0].trial
        assert waits(state, now) == [seen[-1] * 60], "who is killed in a trial lets the others wait as long as before"
        assert play(TrialBegun("mine"), state=state, now=now) == state, "another was first"
        state = play(failed("a", trial=True), state=state, now=now)
        assert not state[0].trial
    assert seen == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_trial_that_came_to_nothing_is_followed_by_another_soon() -> None:
    (pause,) = play(*THREE)
    state = play(TrialBegun("mine"), TrialOver("mine"), state=(pause,), now=pause.until)
    assert waits(state, pause.until) == [5.0]
    assert not state[0].trial
    assert state[0].waits == pause.waits, "and the next wait is as long as it was"


def test_who_is_asked_to_resume_makes_one_trial_and_after_a_failure_waits_as_at_the_beginning() -> None:
    other = failed("e", key="other", program="other")
    state = play(*THREE, RunBegun(), TrialBegun("mine"), failed("d", trial=True), other)
    assert waits(state) == [120.0]
    state = play(Resumed("mine"), state=state)
    assert [one.key for one in state] == ["other", "mine"], "others are suspected as before"
    state = play(TrialBegun("mine"), state=state)
    assert play(TrialBegun("mine"), state=state) == state, "one is enough"
    assert waits(state) == [60.0]
    assert costs_nothing(state, failed("d").failure)
    assert waits(play(failed("d", trial=True), state=state)) == [60.0]


def test_a_clock_that_was_put_back_prolongs_no_pause() -> None:
    (pause,) = play(*THREE)
    assert not pause.is_due(NOW)
    assert pause.is_due(later(NOW, -3600))


@pytest.mark.parametrize(
    ("event", "free"),
    [
        (failed("c"), True),
        (failed("c", trial=True), True),
        (failed("c", end="0: denied"), False),
        (failed("c", exit_code=1), False),
        (failed("c", seconds=10.0), False),
        (failed("c", config=2), False),
        (failed("c", key="yours"), False),
    ],
)
def test_only_a_failure_that_says_what_is_known_costs_nothing(event: Failed, free: bool) -> None:
    assert costs_nothing(play(*THREE), event.failure) == free
    assert not costs_nothing(play(*THREE[:2]), event.failure)


def test_what_is_known_is_forgotten_in_time_and_stays_small() -> None:
    assert play(failed("c"), state=play(*THREE[:2]), now=later(NOW, 3601))[0].attempts == 1
    assert play(failed("c"), state=play(*THREE[:2]), now=later(NOW, 3599))[0].until is not None
    assert len(play(RunBegun(), state=play(*THREE), now=later(NOW, 86400))) == 1
    assert play(Succeeded("yours"), state=play(*THREE), now=later(NOW, 2 * 86400)) == ()
    many = play(*(failed(key=f"shell {number}") for number in range(300)))
    assert len(many) == 100
    assert many[-1].key == "shell 299"


# --- likeness ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("no such file: /home/u/worktrees/agent-1/x.py", "no such file: /home/u/worktrees/agent-2/lib/y.py"),
        ("error in src/app/main.py: boom", "error in lib/main.py: boom"),
        ("[2026-01-31 12:03:04.567] refused", "[2026-02-01 1:03:04] refused"),
        ("Mon Jan 5 03:00:01 PM UTC: refused", "Tue Feb 15 11:59:00 AM CET: refused"),
        ("timed out after 350ms", "timed out after 1.2s"),
        ("timed out after 1m 3s", "timed out after 59 s"),
        ("request req_011CSHoEeqs5C35K2 failed", "request req_9fkDb7aaaaabbbb12 failed"),
        ("id 3f2504e0-4f89-11d3-9a0c-0305e82c3301", "id 16fd2706-8baf-433b-82eb-8c7fada847da"),
        ("pid 31: cannot do fix-login", "pid 4711: cannot do other-thing"),
        ("connecting to https://api.example/v1/a?b=1: refused", "connecting to https://api.example/v2/c: refused"),
        ("what the item is about\n1\n2\n3\n4: no", "something else\n5\n6\n7\n8: no\n\n"),
    ],
)
def test_ends_that_differ_in_numbers_ids_paths_and_times_are_alike(one: str, other: str) -> None:
    assert alike(one, "fix-login") == alike(other, "other-thing")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("my-agent: not found", "my-agent: permission denied"),
        ("login required", "quota used up"),
        ("a: no", "a: no\nb: no"),
        ("", "no"),
    ],
)
def test_ends_that_say_something_else_are_not_alike(one: str, other: str) -> None:
    assert alike(one, "a") != alike(other, "a")


@pytest.mark.timeout(20)
def test_the_end_of_an_endless_line_is_compared_at_once() -> None:
    for text in ("x" * 10**6, "a-" * 10**6, "1." * 10**6, "0 " * 10**6, "a/" * 10**6):
        assert len(alike(text, "one")) <= 400


def test_the_last_line_is_the_last_that_says_something() -> None:
    assert last_line("one\n two \n\n \n") == "two"
    assert last_line("") == ""
