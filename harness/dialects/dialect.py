"""How what a program prints is read: line by line, each by itself, by pure functions.

Guarantees: no input raises. What is no JSON object, or one of a kind that nobody knows, is no event; it stays in the
raw log. A line that is longer than LONGEST_LINE bytes is not read, and no text of an event is longer than a few
thousand characters.

Assumes: one JSON object is on one line. Standard error is in the same stream, so other lines may come in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import structs

from .events import MOST_TEXT, AnyEvent, Kind, brief

LONGEST_LINE = 16_000_000
_LONGEST_TEXT = 2 * MOST_TEXT
LONGEST_ODD = 1_000_000
LONGEST_WORDS = 100_000  # no error message is longer; what is, is data

Object = Mapping[str, Any]
Reader = Callable[[Object, float], Iterable[AnyEvent]]
_decode = msgspec.json.Decoder().decode
_ODD = {b"\0", b"\x1b", b"\xef"}  # bytes with which a line begins that has something before what it says
_BEFORE = re.compile(  # colours; nothing of it is tried again, for which each byte of many would be remembered
    rb"(?:\xef\xbb\xbf|[\s\x00]++|\x1b\[[0-9;?]{0,20}[@-~]|\x1b\][^\x07\x1b]{0,200}\x07)*+"
)


def by_type(readers: Mapping[str, Reader]) -> Reader:
    """Return the reader of objects that say in `type` which of `readers` is theirs; others are no event."""

    def read(line: Object, now: float) -> Iterable[AnyEvent]:
        reader = readers.get(line["type"])
        return () if reader is None else reader(line, now)

    return read


@dataclass(frozen=True)
class Dialect:
    """How a program tells what it does. All three are pure; `now` is seconds since 1970, for times of day.

    `objects` reads a JSON object of its output, `words` a line that is none, `document` what it wrote into the result
    file when it ended. `has_result`: whether one that ended well has said so, `has_last_words`: whether its model has
    spoken last then. `exit_kinds` are exit codes that mean one thing, for when nothing better was said.
    """

    name: str
    objects: Reader | None = None
    words: Callable[[str, float], Iterable[AnyEvent]] | None = None
    document: Reader | None = None
    has_result: bool = True
    has_last_words: bool = False
    exit_kinds: Mapping[int, Kind] = field(default_factory=dict)

    def read(self, line: bytes, now: float) -> Sequence[AnyEvent]:
        """Return what the line says. One that begins like an object and is none was cut off, and says nothing."""
        if len(line) > LONGEST_LINE:
            return ()
        if line[:1] in _ODD:
            line = _BEFORE.sub(b"", line, count=1)
        if self.objects is not None and line.lstrip()[:1] == b"{":
            found = self._object(line)
            return () if found is None else self._all(self.objects, found, now)
        if self.words is None or len(line) > LONGEST_WORDS:
            return ()
        return self._all(self.words, line.decode(errors="replace").strip(), now)

    def read_document(self, data: bytes, now: float) -> Sequence[AnyEvent]:
        """Return what the result file says."""
        found = self._object(data) if self.document is not None else None
        return () if self.document is None or found is None else self._all(self.document, found, now)

    @staticmethod
    def _all(reader: Callable[[Any, float], Iterable[AnyEvent]], found: object, now: float) -> Sequence[AnyEvent]:
        events: list[AnyEvent] = []
        try:
            for event in reader(found, now):
                events.append(_bounded(event))  # noqa: PERF401 (what was understood before an error is kept)
        except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError, RecursionError):
            pass  # of another shape than any that is known: a newer version, or no such program at all
        return events

    @staticmethod
    def _object(data: bytes) -> Object | None:
        try:
            value = _decode(data)
        except (msgspec.DecodeError, UnicodeError):
            value = _decode_oddly(data)
        except RecursionError:
            return None
        return value if isinstance(value, dict) else None


def _decode_oddly(data: bytes) -> object:
    """Read what is JSON but for half a character, bytes that are no text, NaN, or what another wrote behind it.

    Not what is long: that would take seconds and a gigabyte.
    """
    if len(data) > LONGEST_ODD:
        return None
    text = data[: data.rfind(b"}") + 1].decode(errors="replace")
    try:
        value = json.loads(text, strict=False, parse_constant=lambda _: None)
        return _decode(json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None


def _bounded(event: AnyEvent) -> AnyEvent:
    """Return the event; names in it that are none, as somebody puts a whole file there, are cut."""
    long = {
        name: brief(value)
        for name in event.__struct_fields__
        if isinstance(value := getattr(event, name), str) and len(value) > _LONGEST_TEXT
    }
    return structs.replace(event, **long) if long else event
