"""What happens to accounts, as far as something follows from it: see account.py.

Times are as recorded, see queue/clock.py. `begun` is when the attempt began that met it, `chance` a random number
from 0 to 1.
"""

from __future__ import annotations

from typing import NamedTuple

from ..configuration.settings import MAX_AGENTS


class Limited(NamedTuple):
    """What the account may use is used up, until `resets_at`, where that is told. `begun` is when the attempt began."""

    name: str
    begun: str
    why: str
    resets_at: str | None = None
    window: str = ""
    chance: float = 0.0


class Busy(NamedTuple):
    """Too many requests, or a busy service, while `in_use` attempts were made, this one among them."""

    name: str
    begun: str
    why: str
    in_use: int
    retry_seconds: float | None = None
    chance: float = 0.0


class Refused(NamedTuple):
    """The service does not let the program in, under this configuration of it."""

    name: str
    begun: str
    why: str
    program: str
    config: int


class Succeeded(NamedTuple):
    """An attempt showed that the account is let in."""

    name: str
    begun: str


class Inconclusive(NamedTuple):
    """An attempt ended that says nothing of the account."""

    name: str


class Begun(NamedTuple):
    """An attempt begins, as it may, of one of so many `agents`."""

    name: str
    chance: float = 0.0
    agents: int = MAX_AGENTS


class Resumed(NamedTuple):
    """A person says that the account can be used again, which one trial is to show."""

    name: str


class RunBegun(NamedTuple):
    """A run begins: whoever started it may have logged in. Of limits that says nothing."""


class SessionKept(NamedTuple):
    """An attempt ended whose session only the same agent can go on with."""

    item: str
    agent: str
    account: str


class Taken(NamedTuple):
    """Somebody has begun another attempt at the item."""

    item: str


AccountEvent = Limited | Busy | Refused | Succeeded | Inconclusive | Begun | Resumed
Event = AccountEvent | RunBegun | SessionKept | Taken
