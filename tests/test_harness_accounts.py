"""What an account may do after what its programs met: the pure function, as a table and under any order of events."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parallel_loop.harness.accounts.account import after
from parallel_loop.harness.accounts.account_file import policy_of
from parallel_loop.harness.accounts.events import (
    Begun,
    Busy,
    Event,
    Inconclusive,
    Limited,
    Refused,
    Resumed,
    RunBegun,
    SessionKept,
    Succeeded,
    Taken,
)
from parallel_loop.harness.accounts.standing import (
    Account,
    Policy,
    State,
    asked_by_configuration,
    is_parked,
    may_begin,
    needs_person,
    opens_at,
)
from parallel_loop.harness.configuration.settings import AfterLimit, Config
from parallel_loop.queue.clock import FIRST, later, seconds_between
from support.queues import START

AT_ONCE = Policy(slack_seconds=0.0, jitter_seconds=0.0)


def at(seconds: float) -> str:
    return later(START, seconds)


def limited(begun: float = 0.0, resets: float | None = 1000.0, chance: float = 0.0) -> Limited:
    return Limited("a", at(begun), "used up", None if resets is None else at(resets), "five_hour", chance)


def busy(begun: float = 0.0, in_use: int = 8, retry: float | None = None) -> Busy:
    return Busy("a", at(begun), "too many requests", in_use, retry)


def refused(begun: float = 0.0) -> Refused:
    return Refused("a", at(begun), "401", "mine", 7)


def told(*events: tuple[float, Event]) -> Account | None:
    """The account after these events at those seconds."""
    state = State()
    for seconds, event in events:
        state = after(state, event, at(seconds))
    return state.get("a")


def starts(account: Account | None, seconds: float, in_use: int = 0, policy: Policy = AT_ONCE) -> bool:
    return may_begin(account, policy, at(seconds), in_use)


def test_an_account_that_is_not_known_of_is_open() -> None:
    assert told() is None
    assert starts(None, 0)
    assert told((1, Succeeded("a", at(0))), (2, Inconclusive("a")), (3, Begun("a")), (4, Resumed("a"))) is None


def test_a_limit_parks_the_account_until_it_is_over_and_slack_and_jitter_are_too() -> None:
    account = told((10, limited(chance=0.5)))
    assert account is not None
    assert (account.standing, account.why, account.window) == ("limited", "used up", "five_hour")
    for policy, opens in ((AT_ONCE, 1000.0), (Policy(), 1075.0), (Policy(True, 5.0, 0.0), 1005.0)):
        assert opens_at(account, policy) == at(opens)
        assert not starts(account, opens - 0.001, policy=policy)
        assert is_parked(account, policy, at(opens - 0.001))
        assert starts(account, opens, policy=policy)
        assert not is_parked(account, policy, at(opens))


def test_after_a_limit_one_starts_after_the_other() -> None:
    account = told((10, limited()), (1000, Begun("a", chance=0.0)))
    assert account is not None
    assert account.standing == "open"
    assert not starts(account, 1001.9)
    assert starts(account, 1002)
    account = told((10, limited()), (1000, Begun("a", 0.0)), (1002, Begun("a", 1.0)))
    assert not starts(account, 1006.9)
    assert starts(account, 1007)


def test_when_each_agent_has_had_its_turn_nobody_waits_for_another() -> None:
    two = [(10, limited()), (1000, Begun("a", 0.0, agents=2)), (1002, Begun("a", 0.0, agents=2))]
    assert not starts(told(*two[:2]), 1001.9)
    assert starts(told(*two), 1002)
    assert starts(told(*two, (1002, Begun("a", 0.0, agents=2))), 1002)
    again = told(*two, (1003, limited(begun=1002.5, resets=2000)), (2000, Begun("a", 0.0, agents=2)))
    assert not starts(again, 2001.9), "after the next limit they wait again"


def test_when_nobody_has_started_for_a_minute_nothing_is_known_any_more() -> None:
    begun = [(10, limited()), (1000, Begun("a"))]
    assert told(*begun, (1061, RunBegun())) is not None
    assert told(*begun, (1063, RunBegun())) is None


def test_of_several_who_met_the_limit_the_latest_reset_counts_and_no_earlier_one() -> None:
    crowd = [(10, limited()), (11, limited(resets=900.0)), (12, limited(resets=None)), (13, limited(chance=0.9))]
    account = told(*crowd)
    assert account is not None
    assert (account.until, account.chance, account.waits) == (at(1000), 0.0, 1)
    weekly = told(*crowd, (14, limited(resets=500_000.0)))
    assert weekly is not None
    assert weekly.until == at(500_000)


def test_a_limit_of_which_no_end_is_told_is_looked_at_again_after_15_30_60_minutes() -> None:
    events: list[tuple[float, Event]] = []
    now = 10.0
    for minutes in (15, 30, 60, 60):
        events.append((now, limited(begun=now, resets=None)))
        account = told(*events)
        assert account is not None
        assert account.until == at(now + 60 * minutes)
        now += 60 * minutes
        events.append((now, Begun("a")))
        now += 1.0
    assert told(*events, (now, Succeeded("a", at(now - 1)))) == Account(
        name="a",
        at=told(*events).at,
        why="used up",
        window="five_hour",
        next_start=at(now + 1),
        starts=1,
        opened=at(now - 1),
    )


def test_an_end_that_is_over_is_believed_once_and_one_that_is_years_away_never() -> None:
    first = told((2000, limited(resets=1000)))
    assert first is not None
    assert starts(first, 2000)
    again = told((2000, limited(resets=1000)), (2000, Begun("a")), (2001, limited(begun=2000.5, resets=1000)))
    assert again is not None
    assert again.until == at(2002)
    far = told((0, limited(resets=10 * 365 * 86400.0)))
    assert far is not None
    assert far.until == at(900)


def test_without_auto_a_limit_needs_a_person_and_one_trial() -> None:
    manual = Policy(auto=False)
    account = told((10, limited()))
    assert account is not None
    assert needs_person(account, manual)
    assert not starts(account, 1e6, policy=manual)
    asked = told((10, limited()), (20, Resumed("a")))
    assert asked is not None
    assert starts(asked, 20, policy=manual), "at once, whatever the limit"
    trial = told((10, limited()), (20, Resumed("a")), (21, Begun("a")))
    assert trial is not None
    assert not starts(trial, 600, policy=manual), "one is enough"
    assert starts(trial, 621, policy=manual), "unless it was killed"
    opened = told((10, limited()), (20, Resumed("a")), (21, Begun("a")), (30, Succeeded("a", at(21))))
    assert opened is not None
    assert starts(opened, 35, policy=manual)
    again = told((10, limited()), (20, Resumed("a")), (21, Begun("a")), (30, limited(begun=21)))
    assert again is not None
    assert needs_person(again, manual)


def test_who_is_refused_waits_for_a_person_another_configuration_or_a_run() -> None:
    account = told((10, refused()))
    assert account is not None
    assert needs_person(account, AT_ONCE)
    assert is_parked(account, AT_ONCE, at(1e6))
    assert not starts(account, 1e6)
    for ask in (Resumed("a"), RunBegun()):
        asked = told((10, refused()), (20, ask))
        assert starts(asked, 20)
        assert not starts(told((10, refused()), (20, ask), (20, Begun("a"))), 21)
    assert starts(asked_by_configuration(account), 10)
    late = told((10, refused()), (20, Resumed("a")), (21, refused(begun=5)))
    assert late == told((10, refused()), (20, Resumed("a"))), "what had begun before says it again"
    assert told((10, refused()), (11, Succeeded("a", at(5)))) == account


def test_a_trial_that_says_nothing_is_repeated_soon() -> None:
    asked = [(10, refused()), (20, Resumed("a")), (21, Begun("a")), (30, Inconclusive("a"))]
    account = told(*asked)
    assert not starts(account, 34)
    assert starts(account, 35)


def test_who_asks_for_a_trial_makes_no_wait_longer() -> None:
    """Its worker may be killed, or it may say nothing for long."""
    for stop, opens in ((limited(resets=30), 30), (busy(), 20)):
        trial = [(10, stop), (11, Resumed("a")), (12, Begun("a"))]
        assert not starts(told(*trial), opens - 1)
        assert starts(told(*trial), opens)
        begun = told(*trial, (opens, Begun("a")))
        assert not starts(begun, opens + 1), "one after the other"
        assert starts(begun, opens + 5)


def test_a_busy_service_halves_what_is_done_at_once_and_successes_bring_it_back() -> None:
    account = told((10, busy(in_use=8)))
    assert account is not None
    assert (account.standing, account.cap, account.until) == ("backing-off", 4, at(20))
    assert not starts(account, 19.9)
    assert not starts(account, 20, in_use=4)
    assert starts(account, 20, in_use=3)
    assert not is_parked(account, AT_ONCE, at(11)), "for a moment nobody falls back"
    crowd = told((10, busy(in_use=8)), (11, busy(in_use=7)), (12, busy(in_use=6)))
    assert crowd == account, "they had all begun before"
    events: list[tuple[float, Event]] = [(10, busy(in_use=8)), (20, Begun("a")), (25, busy(begun=20, in_use=4))]
    account = told(*events)
    assert account is not None
    assert (account.cap, account.until, account.most) == (2, at(45), 8)
    for cap in (3, 4, 5, 6, 7, None):
        events.append((60, Succeeded("a", at(50))))
        account = told(*events)
        assert account is not None
        assert (account.standing, account.cap, account.waits) == ("open", cap, 0)


def test_what_is_told_of_the_wait_counts_and_the_wait_has_an_end() -> None:
    account = told((10, busy(retry=120)))
    assert account is not None
    assert account.until == at(130)
    account = told((10, busy()), (11, busy(retry=60)))
    assert account is not None
    assert account.until == at(71)
    events: list[tuple[float, Event]] = [(turn * 1000.0, busy(turn * 1000.0, in_use=1)) for turn in range(20)]
    account = told(*events)
    assert account is not None
    assert (account.cap, account.until) == (1, at(19_600))


def test_a_limit_or_a_refusal_counts_more_than_a_busy_service() -> None:
    for stop in (limited(), refused()):
        account = told((10, stop))
        assert told((10, stop), (11, busy(begun=0))) == account
        assert told((10, stop), (11, busy(begun=10.5))) == account


def test_a_clock_that_was_put_back_makes_no_wait_longer() -> None:
    account = told((100_000, busy(in_use=2)))
    assert starts(account, 10)
    assert starts(told((100_000, refused()), (100_001, Resumed("a")), (100_002, Begun("a"))), 10)
    spaced = told((100_000, limited(begun=99_999, resets=100_000)), (100_000, Begun("a")))
    assert starts(spaced, 10)
    assert not starts(told((100_000, limited(begun=99_999, resets=100_000))), 10), "that is no wait of ours"
    guessed = told((1_000_000, limited(begun=999_999, resets=None)))
    assert starts(guessed, 10)
    assert not starts(guessed, 1_000_010)


@pytest.mark.parametrize("again", [limited(begun=20, resets=None), busy(begun=20), refused(begun=20)])
def test_by_a_clock_that_was_put_back_nothing_is_of_a_crowd(again: Event) -> None:
    """What was met in time to come says nothing of who began before: else nobody would wait until then."""
    for before in (busy(begun=99_999), limited(begun=99_999, resets=None)):
        account = told((100_000, before), (20, Resumed("a")), (20, Begun("a")), (21, again))
        assert not starts(account, 22)
    open_again = told((100_000, busy(begun=99_999)), (20, Begun("a")), (21, Succeeded("a", at(20))))
    assert open_again is not None
    assert (open_again.standing, open_again.waits) == ("open", 0)
    assert not starts(told((100_000, busy(begun=99_999)), (20, Begun("a")), (21, busy(begun=20))), 30)


@pytest.mark.parametrize("retry", [-1e300, -1.0, 1e300])
def test_a_wait_that_cannot_be_is_none(retry: float) -> None:
    account = told((10, busy()), (11, busy(begun=0, retry=retry)), (12, busy(begun=11, retry=retry)))
    assert account is not None
    assert account.until is not None
    assert at(12) < account.until <= at(13 + 1.25 * 3600)


def test_sessions_are_kept_until_somebody_takes_the_item() -> None:
    state = after(State(), SessionKept("i", "agent-1", "a"), at(1))
    state = after(state, SessionKept("j", "agent-2", "a"), at(2))
    state = after(state, SessionKept("i", "agent-3", "a"), at(3))
    assert [(one.item, one.agent) for one in state.kept] == [("j", "agent-2"), ("i", "agent-3")]
    state = after(state, Taken("j"), at(4))
    assert [one.item for one in state.kept] == ["i"]
    assert after(state, RunBegun(), at(8 * 86400)) == State()


# --- the hours of the day -----------------------------------------------------------------------------


@pytest.fixture
def berlin(zone: Callable[[str], None]) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")


NIGHT, DAY = (22 * 60, 7 * 60), (9 * 60, 17 * 60)


@pytest.mark.usefixtures("berlin")
@pytest.mark.parametrize(
    ("window", "reset", "opens"),
    [
        (NIGHT, "2026-01-10T20:59", "2026-01-10T21:00"),  # 21:59 here
        (NIGHT, "2026-01-10T21:00", "2026-01-10T21:00"),
        (NIGHT, "2026-01-11T05:59", "2026-01-11T05:59"),
        (NIGHT, "2026-01-11T06:00", "2026-01-11T21:00"),
        (NIGHT, "2026-01-10T23:30", "2026-01-10T23:30"),  # half past midnight
        (DAY, "2026-01-10T07:00", "2026-01-10T08:00"),
        (DAY, "2026-01-10T16:00", "2026-01-11T08:00"),
        (DAY, "2026-03-28T16:00", "2026-03-29T07:00"),  # clocks are put forward in between
        (None, "2026-01-10T16:00", "2026-01-10T16:00"),
    ],
)
def test_a_window_holds_what_resumes_by_itself_until_its_hours(
    window: tuple[int, int] | None, reset: str, opens: str
) -> None:
    policy = policy_of(Config(after_limit=AfterLimit(slack_seconds=0.0, jitter_seconds=0.0, window=window)))
    account = Account(name="a", at=START, standing="limited", until=f"{reset}:00.000000Z")
    assert opens_at(account, policy) == f"{opens}:00.000000Z"


def test_what_nobody_of_ours_wrote_shuts_no_account_for_ever(zone: Callable[[str], None]) -> None:
    zone("EST5")
    policy = policy_of(Config(after_limit=AfterLimit(window=NIGHT)))
    for account in (
        Account(name="a", at=START, cap=0),
        Account(name="a", at=START, cap=-1),
        Account(name="a", at=START, standing="limited", until=FIRST),
    ):
        assert may_begin(account, policy, at(1), 0)


# --- any order of events ------------------------------------------------------------------------------

SECONDS = st.floats(0, 4000, allow_nan=False)
CHANCE = st.floats(0, 1)
EVENTS = st.one_of(
    st.builds(lambda ago, left, chance: ("limited", ago, left, chance), SECONDS, st.none() | SECONDS, CHANCE),
    st.builds(lambda ago, retry, chance: ("busy", ago, retry, chance), SECONDS, st.none() | SECONDS, CHANCE),
    st.builds(lambda ago: ("refused", ago, None, 0.0), SECONDS),
    st.builds(lambda ago: ("succeeded", ago, None, 0.0), SECONDS),
    st.builds(lambda kind: (kind, 0.0, None, 0.0), st.sampled_from(("end", "resumed", "run"))),
    *[st.builds(lambda chance: ("begin", 0.0, None, chance), CHANCE)] * 5,  # else hardly ever as many as may
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 900), EVENTS), max_size=40))
def test_whatever_happens_nobody_starts_who_may_not_and_everybody_does_in_the_end(
    happenings: list[tuple[float, tuple[str, float, float | None, float]]],
) -> None:
    state, now, in_use, begun_at = State(), 0.0, 0, -1e9
    for wait, (kind, ago, seconds, chance) in happenings:
        now += wait
        known, before = state.get("a"), in_use
        begun, moment = at(max(-1.0, now - ago)), None if seconds is None else at(now + seconds)
        if kind == "begin":
            if not may_begin(known, AT_ONCE, at(now), in_use):
                continue
            if known is not None:
                assert known.cap is None or in_use < known.cap
                assert known.standing != "limited" or known.asked or at(now) >= (known.until or "")
                assert known.standing != "refused" or known.asked
                assert now - begun_at >= 2.0 or known.next_start is None or known.asked
            in_use, begun_at = in_use + 1, now
        in_use = max(0, in_use - 1) if kind in {"end", "succeeded"} else in_use
        event: Event = {
            "limited": Limited("a", begun, "x", moment, "", chance),
            "busy": Busy("a", begun, "x", before, seconds, chance),
            "refused": Refused("a", begun, "x", "mine", 1),
            "succeeded": Succeeded("a", begun),
            "begin": Begun("a", chance, agents=4),
            "end": Inconclusive("a"),
            "resumed": Resumed("a"),
            "run": RunBegun(),
        }[kind]
        state = after(state, event, at(now))
        assert len(state.accounts) <= 1
        account = state.get("a")
        if account is None:
            continue
        assert account.cap is None or account.cap >= 1
        moment = opens_at(account, AT_ONCE)
        assert (moment is None) == (account.standing == "refused" and not account.asked)
        if moment is not None:
            assert seconds_between(at(now), moment) <= 4600.0
            assert may_begin(account, AT_ONCE, max(moment, at(now)), 0), "with nothing in use it opens by itself"
