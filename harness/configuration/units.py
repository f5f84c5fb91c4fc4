"""Durations, sizes and shares as people write them: `90s`, `1h30m`, `2GB`, `50%`.

Every parser takes what a document or a command line may hold (text or a number) and raises ValueError with one sentence
that shows what was given and what is accepted.
"""

from __future__ import annotations

import math
import re

from .wording import shown

# More than anyone means or any machine has: beyond these it is a typing error.
LONGEST_SECONDS = 10 * 365 * 86400
_LARGEST_BYTES = 10**18
_MOST_CORES = 1024

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
# Largest unit first and each at most once, so that `30m1h` and `1h1h` are refused instead of guessed at.
_DURATION = re.compile(r"\s*".join(rf"(?:(?P<{unit}>{_NUMBER})\s*{unit}(?![a-z]))?" for unit in _SECONDS))
_BYTES = {"b": 1}
_BYTES |= {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgt", start=1)}
_BYTES |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgt", start=1)}
_SIZE = re.compile(rf"({_NUMBER})\s*([a-z]+)")
_TIMES_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])\s*-\s*([01]?[0-9]|2[0-3]):([0-5][0-9])")
_PERCENT = re.compile(rf"({_NUMBER})\s*%")


def parse_duration(value: object) -> float:
    """Return seconds. Takes `90s`, `20m`, `1h30m`, `2d`, `500ms`, or a bare number of seconds. Raises ValueError."""
    seconds = _duration(value)
    if seconds is None:
        raise ValueError(f"{shown(value)} is not a duration; write for example 90s, 20m, 1h30m or 500ms")
    if seconds > LONGEST_SECONDS:
        raise ValueError(f"{shown(value)} is longer than ten years; write for example 90s, 20m, 1h30m or 500ms")
    return seconds


def parse_size(value: object) -> int:
    """Return bytes. `KB`, `MB`, `GB`, `TB` are powers of 1000, `KiB` to `TiB` of 1024; a bare whole number is bytes.

    `2G` is refused: half of all programs read it as 1000^3 and the other half as 1024^3. Raises ValueError.
    """
    size = _size(value)
    if size is None:
        raise ValueError(f"{shown(value)} is not a size; write for example 512MB, 2GB or 1GiB")
    if size > _LARGEST_BYTES:
        raise ValueError(f"{shown(value)} is larger than any machine; write for example 512MB, 2GB or 1GiB")
    return int(size)


def parse_percent(value: object) -> float:
    """Return processor cores: `50%` is 0.5, `200%` is 2.0. Raises ValueError, for a bare number too: which is it?"""
    match = _PERCENT.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{shown(value)} is not a share of a processor core; write for example 50% or 200%")
    cores = float(match[1]) / 100
    if cores > _MOST_CORES:
        raise ValueError(f"{shown(value)} is more than {_MOST_CORES} cores; write for example 50% or 200%")
    return cores


def parse_times_of_day(value: object) -> tuple[int, int]:
    """Return from which minute of the day until which: `22:00-07:00` is 1320, 420. Raises ValueError."""
    match = _TIMES_OF_DAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f'{shown(value)} is not from one time of day to another; write for example "22:00-07:00"')
    begin, end = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if begin == end:
        raise ValueError(f'{shown(value)} ends when it begins; write for example "22:00-07:00", or leave it out')
    return begin, end


def format_duration(seconds: float) -> str:
    """Return a short text for tables: `350 ms`, `12.3 s`, `4m 05s`, `1h 05m`, `2d 03h`.

    A clock that stepped back gives negative seconds; a table shows them as nothing elapsed rather than fail.
    """
    if not math.isfinite(seconds):
        return "?"
    seconds = max(0.0, seconds)
    if round(seconds * 1000) < 1000:
        return f"{round(seconds * 1000)} ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    # Each is rounded before it is split, so that 59 min 59.9 s is `1h 00m` and never `59m 60s`.
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    minutes = round(seconds / 60)
    if minutes < 1440:
        return f"{minutes // 60}h {minutes % 60:02d}m"
    hours = round(seconds / 3600)
    return f"{hours // 24}d {hours % 24:02d}h"


def format_size(size: float) -> str:
    """Return a short text for messages: `512 B`, `4.2 kB`, `350 MB`, `12.3 GB`; powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if round(size, 1) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _duration(value: object) -> float | None:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value < math.inf:  # also refuses nan, which compares as false
            return None
        return float(min(value, 2 * LONGEST_SECONDS))  # an int of 400 digits has no float
    if not isinstance(value, str):
        return None
    text = value.strip()
    if re.fullmatch(_NUMBER, text):
        return float(text)
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        return None
    return sum(float(count) * _SECONDS[unit] for unit, count in match.groupdict().items() if count)


def _size(value: object) -> float | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if text.isascii() and text.isdigit():
        return float(text)
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in _BYTES:
        return None
    return float(match[1]) * _BYTES[match[2]]
