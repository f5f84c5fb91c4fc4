"""When something is there again, as programs put it in words: "resets 1:02am (UTC)", "in 3 hours 20 minutes".

Guarantees: no text raises; an answer is after `now` and within a year. A time of day that has passed is tomorrow's.
Programs cut off what is smaller than what they tell, so where only minutes are told one is added.

Assumes: times without a zone are of this machine, whose `now` is in seconds since 1970.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo

_LONGEST_TEXT = 4000
_YEAR = 366 * 86400.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_AMOUNT = (
    r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?![a-z])"
)
_DURATION = re.compile(
    r"\b(?:in|after|within|wait(?: for)?)\s+(?:about\s+|another\s+|~\s*)?((?:"
    + _AMOUNT
    + r"(?:\s*,?\s*(?:and\s+)?)?)+)",
    re.IGNORECASE,
)
_PART = re.compile(_AMOUNT, re.IGNORECASE)
_EPOCH = re.compile(r"(?:\||\b(?:reset|resets|until|at)\b\D{0,6})(1\d{9}|1\d{12})(?!\d)", re.IGNORECASE)
_ISO = re.compile(r"(20\d\d-\d\d-\d\d)[t ](\d\d:\d\d(?::\d\d)?)(?:\.\d+)?\s*(z|utc|gmt|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_WHEN = re.compile(r"\b(?:resets?|try again|retry|again|until|available|renews?|back)\b", re.IGNORECASE)
_CLOCK = re.compile(
    r"(?:\b(?P<day>mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?"
    r"(?:(?:(?P<month>jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?\s+(?P<date>\d{1,2})(?:st|nd|rd|th)?"
    r"(?:,?\s+(?P<year>20\d\d))?,?\s+)(?:at\s+)?)?"
    r"(?:at\s+)?(?<![\d:.])(?P<hour>\d{1,2})(?::(?P<minute>\d\d)(?::(?P<second>\d\d))?)?\s*(?P<half>[ap]\.?m\b)?"
    r"(?:\s*\((?P<zone>[^()]{1,60})\)|\s+(?P<utc>utc|gmt)\b)?",
    re.IGNORECASE,
)


def reset_time(words: str, now: float) -> float | None:
    """Return when what `words` speak of is there again, in seconds since 1970; None if they do not say."""
    words = words[:_LONGEST_TEXT]
    try:
        found = _epoch(words) or _iso(words) or _after(words, now) or _clock(words, now)
    except (ValueError, OverflowError, OSError, KeyError):
        return None
    return found if found is not None and now < found < now + _YEAR else None


def retry_after(value: object, now: float) -> float | None:
    """Return the seconds to wait by an HTTP `retry-after`: a number of them, or a date."""
    try:
        seconds = float(str(value))
    except ValueError:
        try:
            seconds = parsedate_to_datetime(str(value)).timestamp() - now
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return seconds if math.isfinite(seconds) and 0 <= seconds < _YEAR else None


def duration(words: str) -> float | None:
    """Return the seconds that follow "in", "after", "wait" in `words`, None if there are none."""
    found = _DURATION.search(words[:_LONGEST_TEXT])
    return _seconds(found[1])[0] if found else None


def _seconds(amounts: str) -> tuple[float, bool]:
    """Return the sum of `amounts`, and whether it goes down to seconds."""
    parts = [
        (float(part[1]), "ms" if part[2].lower().startswith(("ms", "milli")) else part[2][0].lower())
        for part in _PART.finditer(amounts)
    ]
    return sum(much * _UNITS[unit] for much, unit in parts), any(unit in {"ms", "s"} for _, unit in parts)


def _after(words: str, now: float) -> float | None:
    found = _DURATION.search(words)
    if found is None:
        return None
    seconds, exact = _seconds(found[1])
    return now + seconds + (0.0 if exact else 60.0)


def _epoch(words: str) -> float | None:
    found = _EPOCH.search(words)
    return float(found[1][:10]) if found else None


def _iso(words: str) -> float | None:
    found = _ISO.search(words)
    if found is None:
        return None
    zone = {"z": "+00:00", "utc": "+00:00", "gmt": "+00:00", None: ""}.get(found[3] and found[3].lower(), found[3])
    at = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}").timestamp()
    return at if found[2].count(":") == 2 else at + 60.0


def _clock(words: str, now: float) -> float | None:
    """Return the first time of day after a word that announces one."""
    for announced in _WHEN.finditer(words):
        for found in _CLOCK.finditer(words, announced.end(), announced.end() + 80):
            if found["half"] or found["minute"]:
                return _moment(found, now)
    return None


def _moment(found: re.Match[str], now: float) -> float | None:
    zone = _zone(found["zone"] or found["utc"] or "local")
    hour, minute, second = int(found["hour"]), int(found["minute"] or 0), int(found["second"] or 0)
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    more = 0.0 if found["second"] else 60.0
    today = datetime.fromtimestamp(now, zone).date()
    for day in _days(found, today):
        moment = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=zone).timestamp() + more
        if moment > now:
            return moment
    return None


def _days(found: re.Match[str], today: date) -> list[date]:
    """Return the days that may be meant, the likeliest first."""
    if found["month"]:
        month, day = _MONTHS.index(found["month"].lower()) + 1, int(found["date"])
        if found["year"]:
            return [date(int(found["year"]), month, day)]
        this = date(today.year, month, day)
        # A date that has only just passed was meant, and is of no use; half a year ago, next year's was meant.
        return [this] if (today - this).days < 183 else [date(today.year + 1, month, day)]
    first = (_DAYS.index(found["day"].lower()) - today.weekday()) % 7 if found["day"] else 0
    return [today + timedelta(days=first), today + timedelta(days=first + (7 if found["day"] else 1))]


def _zone(told: str) -> ZoneInfo | None:
    """Return the zone that is meant, None for that of this machine. Raises KeyError or ValueError for one unknown."""
    if "local" in told.lower():
        return None
    return ZoneInfo(told if "/" in told else told.upper())
