"""Item ids: what may name an item on disk, in a branch and on a command line."""

from __future__ import annotations

import re
import unicodedata

MAX_ID_LENGTH = 100
_ALLOWED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SLUG_LENGTH = 40


class InvalidId(ValueError):
    """The text cannot name an item; the message says why."""


def check_id(text: str) -> str:
    """Return `text` when it is safe as a file name, as part of a branch name and as an argument.

    Raises InvalidId otherwise.
    """
    problem = _problem(text)
    if problem is not None:
        raise InvalidId(problem)
    return text


def is_id(text: str) -> bool:
    """Tell whether `check_id` accepts `text`."""
    return _problem(text) is None


def _problem(text: str) -> str | None:
    if not text:
        return "an item's id is empty; use letters, digits, '.', '_' and '-', for example fix-login"
    if len(text) > MAX_ID_LENGTH:
        return f"the id {text[:20] + '…'!r} has {len(text)} characters; at most {MAX_ID_LENGTH} are allowed"
    if _ALLOWED.fullmatch(text) is None:
        return (
            f"the id {text!r} is not usable: it must begin with a letter or digit and hold only "
            "letters, digits, '.', '_' and '-'"
        )
    if ".." in text or text.lower().endswith((".", ".lock")):
        return f"the id {text!r} is not usable in a git branch: no '..', and no '.' or '.lock' at its end"
    return None


def slug(text: str) -> str:
    """Make an id out of free text: its first words in lower case, joined by '-'."""
    plain = unicodedata.normalize("NFKD", text[:400]).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    result = ""
    for word in words:
        if len(result) + 1 + len(word) > _SLUG_LENGTH:
            break
        result = f"{result}-{word}" if result else word
    return result or (words[0][:_SLUG_LENGTH] if words else "item")
