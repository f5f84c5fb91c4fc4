"""Fields of JSON that somebody else wrote: each is what it should be, or as good as absent.

Guarantees: none of these raises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_MOST_TOKENS = 1e15  # so that sums of them can be written down
_NOTHING: Mapping[str, Any] = {}


def record(value: object) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else _NOTHING


def records(value: object) -> list[Mapping[str, Any]]:
    """Return the JSON objects in the list `value`."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """Return `value` if it is a text, else an empty one."""
    return value if isinstance(value, str) else ""


def number(value: object) -> float | None:
    """Return `value` as a number, if it is one that can be counted with."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def moment(value: object) -> float | None:
    """Return a time in seconds since 1970; told in milliseconds it would be thousands of years away."""
    found = number(value)
    return found / 1000.0 if found is not None and found > 1e11 else found


def count(value: object) -> int:
    """Return `value` as a number of tokens, 0 if it is none."""
    found = number(value)
    return int(min(found, _MOST_TOKENS)) if found is not None and found > 0 else 0


def whole(value: object) -> int | None:
    """Return `value` as a whole number, also of a text of digits."""
    if isinstance(value, str) and len(value) < 10 and value.isascii() and value.isdigit():
        return int(value)
    found = number(value)
    return int(found) if found is not None and abs(found) < _MOST_TOKENS else None


def said(value: object) -> str:
    """Return the text of a message: as such, or as a list of blocks of which some are text."""
    if isinstance(value, str):
        return value
    return "\n".join(text(block.get("text")) for block in records(value) if "text" in block)


def shown(value: object) -> str:
    """Return any value as one text: as it is, or as JSON."""
    if isinstance(value, str):
        return value
    try:
        return "" if value is None else _encode(value).decode()
    except (RecursionError, TypeError, ValueError):
        return ""
