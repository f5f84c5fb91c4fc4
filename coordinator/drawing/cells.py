"""Text that anybody may have written, on a terminal: made harmless, measured in cells, cut and padded to fit.

Guarantees: what `clean` returns is one line without control, formatting or direction characters, so a terminal
shows it and obeys nothing in it; `width` of what `cut` and `pad` return is what was asked for.
Assumes: a terminal shows a character in the cells that the Unicode tables give it. What terminals disagree about
(joined emoji, variation selectors, skin tones) is taken out of the text, so that they need not agree.
"""

from __future__ import annotations

import unicodedata

# No title or reason is worth more: a record may hold a megabyte, and every character is looked at at each redraw.
MOST_CHARACTERS = 1000
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)
_SKIN_TONES = range(0x1F3FB, 0x1F400)


def clean(text: str, *, ascii_only: bool = False, most: int = MOST_CHARACTERS) -> str:
    """Return `text` as one harmless line of at most `most` characters; what cannot be shown becomes a question mark."""
    if len(text) > most:
        text = text[: most - 3] + "..."
    if text.isascii():
        return text if text.isprintable() else "".join(map(_harmless, text))
    text = "".join(map(_harmless, unicodedata.normalize("NFC", text)))
    return text.encode("ascii", "replace").decode() if ascii_only else text


def _harmless(char: str) -> str:
    code = ord(char)
    if code in _VARIATION_SELECTORS or code in _SKIN_TONES:
        return ""
    if char.isprintable():
        return char
    if char.isspace():
        return " "
    return "" if unicodedata.category(char) == "Cf" else "?"


def width(text: str) -> int:
    """Return how many cells `text`, which is clean, takes."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in {"W", "F"} else 1


def cut(text: str, cells: int, *, ascii_only: bool = False, keep: str = "") -> str:
    """Return `text` in at most `cells` cells, with a sign where it was cut; `keep` is added after the cut, whole."""
    if width(text) + width(keep) <= cells:
        return text + keep
    sign = "~" if ascii_only else "…"
    room = cells - width(keep) - 1
    if room < 0:
        return _first(text + keep, cells)
    return _first(text, room) + sign + keep


def _first(text: str, cells: int) -> str:
    taken = 0
    for index, char in enumerate(text):
        taken += _cells(char)
        if taken > cells:
            return text[:index]
    return text


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """Return `text`, which fits, filled with spaces to `cells` cells; `right` puts it at the right edge."""
    space = " " * (cells - width(text))
    return space + text if right else text + space


def wrap(text: str, cells: int, most: int, *, ascii_only: bool = False) -> list[str]:
    """Return `text` on at most `most` lines of `cells` cells, broken between words where that is possible."""
    lines: list[str] = []
    rest = text.strip()
    while rest and len(lines) < most - 1 and width(rest) > cells:
        line = _first(rest, cells) or rest[0]
        if len(line) < len(rest) and rest[len(line)] != " " and " " in line:
            line = line[: line.rindex(" ")]
        lines.append(line.rstrip())
        rest = rest[len(line) :].lstrip()
    return [*lines, cut(rest, cells, ascii_only=ascii_only)] if rest else lines
