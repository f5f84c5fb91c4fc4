"""Times and quantities as people read them: in their own time zone, and in figures that fit into a column."""

from __future__ import annotations

import math

from ...queue.clock import seconds_between, to_datetime


def clock(at: str | None) -> str:
    """Return the local time of day of a recorded time, for example `12:03:04`; question marks when it is none."""
    return _local(at, "%H:%M:%S") or "??:??:??"


def date_and_clock(at: str | None) -> str:
    """Return the local date and time of a recorded time, for example `2026-01-31 12:03:04`."""
    return _local(at, "%Y-%m-%d %H:%M:%S") or "?"


def _local(at: str | None, form: str) -> str:
    try:
        return to_datetime(at).astimezone().strftime(form) if at else ""
    except (ValueError, OverflowError, OSError):
        return ""


def seconds_since(at: str | None, now: str) -> float | None:
    """Return the seconds from `at` to `now`, never below 0; None when one of them is not a recorded time."""
    try:
        return max(0.0, seconds_between(at, now)) if at else None
    except ValueError:
        return None


def short(seconds: float | None) -> str:
    """Return a duration in at most six characters: `0.4s`, `12s`, `2m04s`, `1h05m`, `3d02h`; nothing for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    minutes = whole // 60
    if minutes < 1440:
        return f"{minutes // 60}h{minutes % 60:02d}m"
    return f"{minutes // 1440}d{minutes % 1440 // 60:02d}h"


def short_size(size_bytes: int) -> str:
    """Return a size in at most six characters: `48M`, `1.2G`."""
    megabytes = size_bytes / 1e6
    return f"{megabytes:.0f}M" if megabytes < 999.5 else f"{megabytes / 1000:.1f}G"
