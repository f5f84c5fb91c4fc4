"""What agent programs say of themselves while they run, in one form for all of them.

A dialect (claude.py, codex.py, …) turns what a program prints into these, story.py makes sense of them. Texts are cut
to what a person or the next attempt can use; whatever is not understood stays in the raw log.
"""

from __future__ import annotations

import re
from typing import Literal
from zlib import crc32

from msgspec import Struct

# Why a program could not go on, or did not. What follows from each is in harness/outcome.py.
Kind = Literal[
    "usage",  # what the account may use is used up, until a time that is often told
    "rate",  # too many requests just now
    "overload",  # the model's service is busy
    "auth",  # it does not let us in
    "context",  # the session has grown longer than the model can read
    "network",  # the service cannot be reached, or the connection broke
    "server",  # the service made a mistake
    "denied",  # the program was not allowed what it wanted to do
    "budget",  # what it may cost is spent
    "turns",  # what the run may take in steps is taken
    "loop",  # it did the same over and over
    "other",
]
Scope = Literal[
    "step", "part", "run", "session"
]  # steps and parts of a run add up; of runs and sessions the last counts

_SESSION_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@+=~-]{0,199}")
_MOST_USD = 1e6
MOST_TEXT = 4000  # characters of a text
MOST_DETAIL = 1000  # of a tool's arguments, or of what came of it


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """Something that a program said. `at` is seconds since it was started, filled in by who reads."""

    at: float = 0.0


class Session(Event, frozen=True, tag="session"):
    """The program's name for what it can go on with later."""

    id: str
    model: str | None = None


class Said(Event, frozen=True, tag="said"):
    """Words of the model, for whoever reads. `more`: they go on where the last ones ended."""

    text: str
    more: bool = False


class Step(Event, frozen=True, tag="step"):
    """The model answered once more. One answer may be told of in parts, which then have the same `id`."""

    id: str = ""


class ToolBegun(Event, frozen=True, tag="tool"):
    """A tool was started. `args` are its arguments in full as far as they are compared, cut by `brief`."""

    id: str
    name: str
    args: str = ""


class ToolEnded(Event, frozen=True, tag="tool-ended"):
    """What came of it. `ok`, and the `seconds` that it took, are None where the program does not say."""

    id: str
    ok: bool | None = None
    seconds: float | None = None
    output: str = ""


class Alive(Event, frozen=True, tag="alive"):
    """A tool that was begun goes on."""


class Waits(Event, frozen=True, tag="waits"):
    """The program will try again by itself: after `seconds`, where it says so."""

    kind: Kind
    seconds: float | None = None
    text: str = ""


class Quota(Event, frozen=True, tag="quota"):
    """How much of what the account may use is used: `used` is a share of 1. Times are seconds since 1970."""

    window: str = ""
    used: float | None = None
    resets_at: float | None = None


class Denied(Event, frozen=True, tag="denied"):
    """It was not allowed to use a tool. `id` is the call's, if it is told."""

    tool: str
    id: str = ""
    text: str = ""


class Warned(Event, frozen=True, tag="warned"):
    """It said that something is not as it should be, and went on."""

    text: str


class Fault(Event, frozen=True, tag="fault"):
    """It cannot go on, as it says. `resets_at`: when what is used up is there again, seconds since 1970."""

    kind: Kind
    text: str = ""
    resets_at: float | None = None
    retry_seconds: float | None = None


class Used(Event, frozen=True, tag="used"):
    """Tokens and US dollars. `input` counts those that were not `cached`; `scope` says of what these are the numbers.

    Numbers of a step that has an `id` replace those that were told of it before.
    """

    input: int = 0
    cached: int = 0
    output: int = 0
    usd: float | None = None
    scope: Scope = "step"
    id: str = ""


class Result(Event, frozen=True, tag="result"):
    """The program's last word on the run."""

    ok: bool
    text: str = ""


AnyEvent = (
    Session | Said | Step | ToolBegun | ToolEnded | Alive | Waits | Quota | Denied | Warned | Fault | Used | Result
)


# --- what a file of events holds besides: see harness/listener.py -----------------------------------------


class Begun(Event, frozen=True, tag="begun"):
    """From here on the log, which was so many bytes long, is of the program; `plain`: it is text for people."""

    log: int
    plain: bool = False


class Printed(Event, frozen=True, tag="printed"):
    """A line that says nothing in the program's dialect, such as an error of its interpreter."""

    text: str


class Over(Event, frozen=True, tag="over"):
    """The program has ended; what comes after so many bytes of the log is of other commands."""

    log: int


KeptEvent = AnyEvent | Begun | Printed | Over


def is_session_name(text: str) -> bool:
    """Tell whether a program may be given this as an argument: no option, no path, nothing without end."""
    return _SESSION_NAME.fullmatch(text) is not None


def dollars(told: float | None) -> float | None:
    """Return what was told as a sum that can be counted with and written down."""
    return None if told is None else min(max(told, 0.0), _MOST_USD)


def brief(text: str, most: int = MOST_TEXT) -> str:
    """Return `text`, its middle left out when it is longer than `most` characters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} … {text[-half:]}"


def detail(text: str) -> str:
    """Return a tool's arguments or output, cut, so that two that differ anywhere still differ."""
    if len(text) <= MOST_DETAIL:
        return text
    half = MOST_DETAIL // 2
    return f"{text[:half]} …{crc32(text.encode(errors='replace')):08x}… {text[-half:]}"
