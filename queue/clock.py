"""Recorded times: UTC, ISO 8601, microseconds, fixed width, so that text order is time order."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
FIRST, LAST = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"


def utc_now() -> str:
    """Return the time now, for example ``2026-01-31T12:00:00.000000Z``."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    """Return the beginning that all recorded times of one second have."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def to_second(text: str) -> str:
    """Return the beginning of the second in which a recorded time lies."""
    return f"{text[:-7]}000000Z"


def to_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


def to_datetime(text: str) -> datetime:
    """Read a recorded time. Raises ValueError when it is not one."""
    return datetime.strptime(text, _FORMAT).replace(tzinfo=UTC)


def check_times(*moments: str | None) -> None:
    """Raise ValueError when one of them, other than None, is no recorded time."""
    for moment in moments:
        if moment is not None:
            to_datetime(moment)


def later(text: str, seconds: float) -> str:
    """Return the recorded time `seconds` after `text`; the first or last of all where there is none such."""
    try:
        return to_text(to_datetime(text) + timedelta(seconds=seconds))
    except OverflowError:
        return LAST if seconds > 0 else FIRST


def seconds_until(moment: str | None, now: str) -> float:
    """Return how long it is from `now` to `moment`, which may be a `file_time`; for ever where that is no time."""
    try:
        then = datetime.fromisoformat(moment or "")
    except ValueError:
        return math.inf
    return max(0.0, (then - to_datetime(now)).total_seconds()) if then.tzinfo is not None else math.inf


def seconds_between(earlier: str, later_: str) -> float:
    return (to_datetime(later_) - to_datetime(earlier)).total_seconds()
