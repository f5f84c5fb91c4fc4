"""The entries of an import: a YAML or JSON list, or JSON lines, recognised by content.

Guarantees: each entry is a mapping and knows its place in the file; anything else is a DocumentError with its place.
Assumes: the whole text fits into memory. JSON is read at some hundred megabytes a second; YAML at about one, so that a
long list belongs in JSON lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from ...harness.configuration.documents import DocumentError, read_with_lines
from ...harness.configuration.wording import shown

_MAX_YAML_BYTES = 10_000_000
_YAML_FLOW = re.compile(r"\s*\[\s*\{\s*[^\s\"}]")  # `[{prompt: …`: JSON has quotes there


@dataclass(frozen=True)
class Entry:
    """One entry of an import; `where` is `line 3`, or `entry 2` in a JSON list, whose lines mean nothing."""

    where: str
    fields: dict[str, Any]


def read_items(text: str, name: str) -> list[Entry]:
    """Return the entries of `text`; none for an empty text. Raises DocumentError, and then nothing of it was used.

    As everywhere in JSON, the last of two equal keys counts there; YAML refuses the second.
    """
    text = text.removeprefix("\ufeff")
    first = re.search(r"\S", text)
    if first is None:
        return []
    if first[0] == "{":
        return _json_lines(text, name)
    if first[0] == "[" and not _YAML_FLOW.match(text):
        return _json_list(text, name)
    return _yaml_list(text, name)


def _json_list(text: str, name: str) -> list[Entry]:
    try:
        value = _json(text)
    except ValueError as error:
        raise DocumentError(name, _line_of(error, text), f"not valid JSON: {error}; correct it there") from None
    assert isinstance(value, list)
    return _entries(name, ((f"entry {index}", None, entry) for index, entry in enumerate(value, start=1)))


def _json_lines(text: str, name: str) -> list[Entry]:
    found: list[tuple[str, int | None, object]] = []
    # Not splitlines(), which also splits at characters that JSON allows inside a text, such as U+2028.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line or line.isspace():
            continue
        try:
            found.append((f"line {number}", number, _json(line)))
        except ValueError as error:
            raise _not_json_lines(text, name, number, error) from None
    return _entries(name, found)


def _not_json_lines(text: str, name: str, number: int, error: ValueError) -> DocumentError:
    try:
        _json(text)
    except ValueError:
        return DocumentError(name, number, f"not a JSON object on one line: {error}; write one object on each line")
    return DocumentError(name, None, "must be a list of entries, not one mapping; put it between `[` and `]`")


def _yaml_list(text: str, name: str) -> list[Entry]:
    document = read_with_lines(text, name, _MAX_YAML_BYTES)
    value = document.value
    if value is None:
        return []
    if not isinstance(value, list):
        raise DocumentError(name, None, f"must be a list of entries, not {shown(value)}; begin each entry with `- `")
    lines = [document.line((index,)) for index in range(len(value))]
    return _entries(name, ((f"line {line}", line, entry) for line, entry in zip(lines, value, strict=True)))


def _entries(name: str, found: Iterable[tuple[str, int | None, object]]) -> list[Entry]:
    entries = []
    for where, line, fields in found:
        if not isinstance(fields, dict):
            place = "" if line else f"{where} "
            problem = f"{place}must be a mapping such as {{prompt: Fix the login}}, not {shown(fields)}"
            raise DocumentError(name, line, problem)
        entries.append(Entry(where, fields))
    return entries


def _json(text: str) -> object:
    """Raises ValueError, as msgspec's errors are, with what is wrong."""
    try:
        return msgspec.json.decode(text)
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _line_of(error: ValueError, text: str) -> int | None:
    """Return the line that `error` is about: of what was cut off, the last."""
    at_byte = re.search(r"\(byte (\d+)\)", str(error))
    if at_byte is None:
        return text.rstrip().count("\n") + 1 if "truncated" in str(error) else None
    return text.encode("utf-8", "surrogatepass").count(b"\n", 0, int(at_byte[1])) + 1
