"""How an account stands, and what it may do: what is known of it, and what follows at a given moment.

Times are as recorded, see queue/clock.py; by a clock that was put back no wait of our own making gets longer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from ...queue.clock import check_times, later

SPACING_SECONDS = (2.0, 5.0)  # who starts ten sessions at the moment of a reset is refused the later ones
LONGEST_TOLD_SECONDS = 3600.0
LONGEST_UNTOLD_SECONDS = 3600.0
LONGEST_GUESS_SECONDS = 2 * 86400.0  # that, with what the policy adds: slack, jitter, the hours of a day
TRIAL_SECONDS = 600.0  # after so long without a word of it another trial may begin: its worker may have been killed

Standing = Literal["open", "limited", "backing-off", "refused"]


class Account(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One account. `at` is when it last met a limit, trouble or refusal; `until`: when that is over, by what is told.

    `chance` (0 to 1) is drawn once for all workers. `cap`: how many attempts at once, of the `most` that were when it
    was set. `starts`: how many attempts began since it opened. `asked`: a person or another configuration asks for one
    trial. `guessed`: nobody said `until` when.
    """

    name: str
    at: str
    standing: Standing = "open"
    until: str | None = None
    chance: float = 0.0
    why: str = ""
    window: str = ""
    waits: int = 0
    cap: int | None = None
    most: int = 0
    next_start: str | None = None
    starts: int = 0
    asked: bool = False
    opened: str | None = None
    program: str = ""
    config: int = 0
    guessed: bool = False

    def __post_init__(self) -> None:
        """Anybody may have written the file; what is no time there makes it unreadable, as all else that is wrong."""
        check_times(self.at, self.until, self.next_start, self.opened)


class Kept(Struct, frozen=True):
    """A session of `item` that only `agent` can go on with, on `account`; since when it may be."""

    item: str
    agent: str
    account: str
    at: str

    def __post_init__(self) -> None:
        check_times(self.at)


class State(Struct, frozen=True, omit_defaults=True):
    """All that is known."""

    accounts: tuple[Account, ...] = ()
    kept: tuple[Kept, ...] = ()

    def get(self, name: str | None) -> Account | None:
        return next((one for one in self.accounts if one.name == name), None)


class Policy(NamedTuple):
    """What follows a limit: whether it goes on by itself, how long after, and `within` which hours of the day.

    `within` returns the first moment, of the given one and those after it, at which it may.
    """

    auto: bool = True
    slack_seconds: float = 60.0
    jitter_seconds: float = 30.0
    within: Callable[[str], str] = lambda moment: moment


def opens_at(account: Account, policy: Policy) -> str | None:
    """Return from when on the next attempt may begin, None when that takes a person."""
    moment = account.next_start or account.at
    if account.standing == "open":
        return moment
    by_itself = _opens_by_itself_at(account, policy)
    return moment if account.asked and (by_itself is None or moment < by_itself) else by_itself


def _opens_by_itself_at(account: Account, policy: Policy) -> str | None:
    if account.standing == "backing-off":
        return account.until
    if account.standing == "refused" or not policy.auto:
        return None
    return policy.within(_after_limit(account, policy))


def _after_limit(account: Account, policy: Policy) -> str:
    return later(account.until or account.at, policy.slack_seconds + account.chance * policy.jitter_seconds)


def told_end(account: Account) -> str | None:
    """Return when its limit is over, as that was told; None where nobody did."""
    return account.until if account.standing == "limited" and not account.guessed else None


def held_by(account: Account, policy: Policy) -> str | None:
    """Return the key of the configuration that keeps it from going on when its limit is over, if one does."""
    if account.standing != "limited" or account.asked:
        return None
    if not policy.auto:
        return "after_limit.auto"
    moment = _after_limit(account, policy)
    return "after_limit.window" if policy.within(moment) != moment else None


def may_begin(account: Account | None, policy: Policy, now: str, in_use: int) -> bool:
    """Tell whether another attempt may begin beside the `in_use` that are made."""
    if account is None:
        return True
    if account.cap is not None and in_use >= max(1, account.cap):  # less than one is what nobody of ours writes
        return False
    moment = opens_at(account, policy)
    if moment is None:
        return False
    longest = _longest_seconds(account)
    return moment <= now or (longest < math.inf and moment > later(now, longest))  # then the clock was put back


def _longest_seconds(account: Account) -> float:
    """Return how long it may be at most until the next attempt, for what waits by our own decision."""
    if account.asked:
        return TRIAL_SECONDS
    if account.standing == "limited":
        return LONGEST_GUESS_SECONDS if account.guessed else math.inf
    return SPACING_SECONDS[1] if account.standing == "open" else 1.25 * LONGEST_TOLD_SECONDS


def is_parked(account: Account | None, policy: Policy, now: str) -> bool:
    """Tell whether its programs cannot be used for now, other than for a moment."""
    if account is None or account.standing not in {"limited", "refused"}:
        return False
    moment = opens_at(account, policy)
    return moment is None or now < moment


def needs_person(account: Account, policy: Policy) -> bool:
    return opens_at(account, policy) is None


def asked_by_configuration(account: Account) -> Account:
    """Return what a refused account is under another configuration than the one it was refused with."""
    return account if account.asked else replace(account, asked=True, next_start=account.at)
