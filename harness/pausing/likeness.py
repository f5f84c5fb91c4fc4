"""How the end of what a program printed is compared with that of another attempt: without what differs each time."""

from __future__ import annotations

import re

_LINES = 3  # the last ones say what was wrong; those before may say what the item was
_LONGEST = 400
_LONGEST_READ = 2000  # a word of a megabyte would keep the expressions below busy for hours
_SAME = "0"  # what stands in place of all that differs
_URL_OR_PATH = re.compile(r"(?:[a-z][a-z+.-]*://|[\w.@+~-]*/)[^\s'\"`,;:)\]}>]*", re.IGNORECASE)
_NAME_OF_TIME = re.compile(
    r"\b(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|sat(?:ur)?|sun)(?:day)?\b"
    r"|\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|june?|july?|aug(?:ust)?|sept?(?:ember)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b|\b(?:utc|gmt|cet|cest|am|pm)\b",
    re.IGNORECASE,
)
_ID = re.compile(r"\b(?=[\w-]*\d)[\w-]*[a-z_-][\w-]*\b", re.IGNORECASE)  # digits and letters in one word
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*(?:\s?(?:[nuµm]?s|sec|seconds?|m|min|minutes?|h|hours?)\b)?")
_REPEATED = re.compile(rf"{_SAME}(?:[\s:,.+-]*{_SAME})+")


def alike(text: str, item_id: str) -> str:
    """Return the end of `text` with digits, ids, paths and times made the same, `item_id` wherever it is a word."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    end = "\n".join(lines[-_LINES:])[-_LONGEST_READ:]
    end = re.sub(rf"(?<![\w-]){re.escape(item_id)}(?![\w-])", _SAME, end)
    for differing in (_URL_OR_PATH, _NAME_OF_TIME, _NUMBER, _ID, _REPEATED):
        end = differing.sub(_SAME, end)
    return end[-_LONGEST:]


def last_line(text: str) -> str:
    """Return the last line of `text` that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
