"""What an account may do, after what its programs met: its limit, a busy service, a refusal.

A pure function from what was known and what happened to what is known then, as pausing/pauses.py is. `account_file.py`
keeps it between processes, `governor.py` obeys it.

Guarantees:
- a used-up limit keeps the account from starting anything until it is over, and then as many attempts as there are
  agents start one by one, two to five seconds apart, of all workers together;
- too many requests, or a busy service, let nothing start for a while that doubles each time, and then half as many at
  once as before, one more after each success;
- who was refused starts nothing until a person says so or the configuration is another one, and then one to try;
- what an attempt met that had begun before the last such event makes none of this worse. What is known stays small.

An account that is not known of is open. What follows from how one stands is in standing.py.
"""

from __future__ import annotations

from msgspec.structs import replace

from ...queue.clock import FIRST, later
from . import standing
from .events import (
    AccountEvent,
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
from .standing import LONGEST_TOLD_SECONDS, TRIAL_SECONDS, Account, Kept, State

_UNTOLD_SECONDS = 900.0  # until a limit is looked at again of which nobody said when it is over
_FURTHEST_SECONDS = 40 * 86400.0  # limits are by the month at most; what is later was misread
_FIRST_BACK_OFF_SECONDS = 10.0
_LONGEST_BACK_OFF_SECONDS = 600.0
_AGAIN_SECONDS = 5.0  # after a trial that came to nothing
_CROWD_SECONDS = 60.0  # without a start, and all who waited have started
_CAPPED_SECONDS = 3600.0  # without more trouble, and nothing is known any more of how much is too much
_KEPT_SECONDS = 7 * 86400.0
_MOST = 100
_MOST_KEPT = 200


def after(state: State, event: Event, now: str) -> State:
    """Return what is known after `event`, which happened at `now`."""
    accounts, kept = state.accounts, state.kept
    match event:
        case SessionKept(item, agent, name):
            kept = (*(one for one in kept if one.item != item), Kept(item, agent, name, now))
        case Taken(item):
            kept = tuple(one for one in kept if one.item != item)
        case RunBegun():
            accounts = tuple(_asked(one, now) if one.standing == "refused" else one for one in accounts)
        case _:
            known = state.get(event.name)
            found = _after(known, event, now)
            accounts = tuple(one for one in accounts if one is not known)
            accounts = accounts if found is None else (*accounts, found)
    accounts = tuple(one for one in accounts if _is_of_interest(one, now))
    old = later(now, -_KEPT_SECONDS)
    return State(accounts[-_MOST:], tuple(one for one in kept if one.at > old)[-_MOST_KEPT:])


def _after(account: Account | None, event: AccountEvent, now: str) -> Account | None:
    known = account or Account(name=event.name, at=FIRST)
    match event:
        case Limited():
            return _limited(known, event, now)
        case Busy():
            return _busy(known, event, now)
        case Refused():
            return _refused(known, event, now)
        case _:
            return None if account is None else _after_use(account, event, now)


def _after_use(account: Account, event: AccountEvent, now: str) -> Account:
    match event:
        case Succeeded(begun=begun) if not _is_late(account, begun, now):
            return _succeeded(account, now)
        case Inconclusive() if account.asked:
            return replace(account, next_start=later(now, _AGAIN_SECONDS))
        case Begun():
            return _begun(account, event, now)
        case Resumed():
            return _asked(account, now)
        case _:
            return account


def _is_late(account: Account, begun: str, now: str) -> bool:
    """Whether the attempt had begun before what is known was met; by a clock that was put back nobody can say that."""
    return begun < account.at <= now


def _limited(account: Account, event: Limited, now: str) -> Account:
    told = event.resets_at if event.resets_at is not None and event.resets_at < later(now, _FURTHEST_SECONDS) else None
    is_of_the_same_crowd = account.standing in {"limited", "refused"} and _is_late(account, event.begun, now)
    if is_of_the_same_crowd:
        if account.standing == "limited" and told is not None and told > (account.until or ""):
            return replace(account, until=told, why=event.why, window=event.window, guessed=False)
        return account
    again = account.waits if account.standing == "limited" or account.opened else 0
    untold = min(standing.LONGEST_UNTOLD_SECONDS, _UNTOLD_SECONDS * 2.0 ** min(again, 10))
    # A time that is over already, twice in a row, is one that we do not understand.
    least = later(now, min(untold, 2.0 ** min(again, 20) - 1.0))
    until = later(now, untold) if told is None else max(told, least)
    return replace(
        account,
        at=now,
        standing="limited",
        until=until,
        chance=event.chance,
        why=event.why,
        window=event.window,
        waits=again + 1,
        next_start=None,
        asked=False,
        guessed=told is None,
    )


def _refused(account: Account, event: Refused, now: str) -> Account:
    if account.standing == "refused" and _is_late(account, event.begun, now):
        return account
    return replace(
        account,
        at=now,
        standing="refused",
        until=None,
        why=event.why,
        window="",
        next_start=None,
        asked=False,
        guessed=False,
        program=event.program,
        config=event.config,
    )


def _busy(account: Account, event: Busy, now: str) -> Account:
    is_late = _is_late(account, event.begun, now)
    if account.standing in {"limited", "refused"} and (is_late or not account.asked):
        return account
    told = max(0.0, min(event.retry_seconds or 0.0, LONGEST_TOLD_SECONDS))
    if is_late:
        until = later(now, told)
        is_longer = account.standing == "backing-off" and until > (account.until or "")
        return replace(account, until=until) if is_longer else account
    waits = account.waits + 1 if account.standing in {"open", "backing-off"} else 1
    wait = min(_LONGEST_BACK_OFF_SECONDS, _FIRST_BACK_OFF_SECONDS * 2.0 ** min(waits - 1, 10))
    in_use = max(1, event.in_use)
    cap = max(1, min(in_use, account.cap or in_use) // 2)
    return replace(
        account,
        at=now,
        standing="backing-off",
        until=later(now, max(told, wait) + (0.25 * event.chance * wait)),
        why=event.why,
        window="",
        waits=waits,
        cap=cap,
        most=max(account.most, in_use),
        next_start=None,
        asked=False,
        guessed=False,
    )


def _succeeded(account: Account, now: str) -> Account:
    cap = account.cap
    if cap is not None:
        cap = cap + 1 if cap + 1 < account.most else None
    opened = account.opened if account.standing == "open" else now
    return replace(
        account,
        standing="open",
        until=None,
        waits=0,
        cap=cap,
        most=account.most if cap is not None else 0,
        asked=False,
        guessed=False,
        next_start=_not_after(account.next_start, later(now, standing.SPACING_SECONDS[1])),
        opened=opened,
    )


def _not_after(moment: str | None, latest: str) -> str | None:
    return None if moment is None else min(moment, latest)


def _begun(account: Account, event: Begun, now: str) -> Account:
    if account.asked and not (account.until is not None and account.until <= now):
        return replace(account, next_start=later(now, TRIAL_SECONDS))
    least, most = standing.SPACING_SECONDS
    was_open = account.standing == "open"
    starts = account.starts + 1 if was_open else 1
    next_start = later(now, least + event.chance * (most - least))
    return replace(
        account,
        standing="open",
        until=None,
        next_start=next_start if starts < event.agents else None,  # each has had its turn: nobody waits any more
        starts=starts,
        asked=False,
        opened=account.opened if was_open else now,
        guessed=False,
    )


def _asked(account: Account, now: str) -> Account:
    if account.standing == "open":
        return replace(account, next_start=None, cap=None, most=0)
    return replace(account, asked=True, next_start=now)


def _is_of_interest(account: Account, now: str) -> bool:
    if account.standing != "open":
        return account.at > later(now, -_FURTHEST_SECONDS)
    last = max(account.at, account.next_start or "")
    if last > later(now, _FURTHEST_SECONDS):  # the clock was put back by as much
        return False
    return last > later(now, -(_CROWD_SECONDS if account.cap is None else _CAPPED_SECONDS))
