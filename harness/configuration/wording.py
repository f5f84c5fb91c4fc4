"""How messages show what a person wrote: on one line, of bounded length, in the words of the file it came from."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LONGEST_VALUE = 60
_LONGEST_MESSAGE = 1000


def shown(value: object) -> str:
    """Return `value` as its writer knows it: `'20 parsecs'`, `true`, `a list`."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return repr(value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 1] + "…")
    if isinstance(value, int) and abs(value) > 10**18:
        return "a huge number"  # Python refuses to print one of more than 4300 digits
    return str(value)


def one_line(text: str) -> str:
    """Return `text`, cut when endless, with everything that would break the line or move the cursor as an escape."""
    if len(text) > _LONGEST_MESSAGE:
        text = text[:_LONGEST_MESSAGE] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def in_utf8(text: str) -> str:
    """Return `text` as JSON can hold it: names of files and of branches may have any bytes, which become escapes."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def nearest(word: str, known: Iterable[str], also: str = "") -> str:
    """Return the remedy for an unknown word: the nearest known one, else all of them; and `also`."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1)
    if close:
        return f"did you mean `{close[0]}`?" + (f" {also}" if also else "")
    return "known here: " + ", ".join(names) + (f"; {also}" if also else "")
