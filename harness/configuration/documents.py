"""The only door to YAML: documents of plain JSON types, with the line of everything that is wrong.

Guarantees: whatever the text, the result is made of dict, list, str, int, float, bool and None, or DocumentError is
raised with one line that says where, what and what to do. Nothing is lost silently: duplicate keys are refused, and
dates, `on`, `off`, `yes`, `no` and `0123` stay text (`true`, `false`, `null` and numbers as JSON writes them do not).
Assumes: the whole text fits into memory.

Values are built from the parser's events and not by PyYAML's constructor. So anchors, aliases and tags are refused
before anything is expanded or constructed, nesting costs no recursion, and every value's line is known.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .wording import one_line, shown

if TYPE_CHECKING:
    import yaml

MAX_DOCUMENT_BYTES = 1_000_000
_MAX_DEPTH = 50
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep; write it flatter"

Keys = tuple[str | int, ...]

# What YAML forbids in a text, and the three characters that only YAML takes for line breaks: it would fold them away.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: word.lower() == "true" for word in ("true", "True", "TRUE", "false", "False", "FALSE")
}
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")


class DocumentError(Exception):
    """A document cannot be used. `line` counts from 1 and is None where no line is to blame."""

    def __init__(self, path: str, line: int | None, problem: str) -> None:
        super().__init__(path, line, problem)
        self.path, self.line, self.problem = path, line, problem

    def __str__(self) -> str:
        return one_line(f"{self.path}:{self.line}: {self.problem}" if self.line else f"{self.path}: {self.problem}")


@dataclass(frozen=True)
class Document:
    """A document's value, and the line (from 1) of the value under each path of keys and indexes."""

    value: object
    lines: dict[Keys, int]

    def line(self, path: Keys) -> int | None:
        """Return the line of `path`, or of the nearest thing around it: what is missing has no line of its own."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def decode(data: bytes, name: str, max_bytes: int | None = None) -> str:
    """Return the text of `data`, which must be UTF-8 (with or without a byte order mark). Raises DocumentError."""
    if max_bytes is not None and len(data) > max_bytes:  # before a character that was cut at the end is blamed
        raise _too_large(name, max_bytes)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"not UTF-8 text (byte 0x{data[error.start]:02x}); save the file as UTF-8"
        raise DocumentError(name, line, problem) from None


def read_document(text: str, name: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> object:
    """Return the value of one YAML (or JSON) document; an empty one is None. Raises DocumentError."""
    return read_with_lines(text, name, max_bytes).value


def read_with_lines(text: str, name: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> Document:
    """Like `read_document`, and keeps the line of every value."""
    import yaml

    _check_text(text, name, max_bytes)
    builder = _Builder(name)
    # The parser written in C is ten times faster; not every build of PyYAML has it.
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        for event in yaml.parse(text, Loader=loader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark or error.context_mark  # one class for each parser
        said = error.problem or error.context or ""
        problem = f"not valid YAML: {said}; look at the indentation, colons and quotes there"
        if "nesting" in said:  # libyaml 0.2.6 reads a thousand levels ahead of the events, and gives up there
            problem = _TOO_DEEP
        # At the end of the text the parser names a line that no editor shows.
        line = None if mark is None else min(mark.line, text.rstrip().count("\n")) + 1
        raise DocumentError(name, line, problem) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter two: escapes beyond Unicode
        raise DocumentError(name, None, f"not valid YAML: {error}; correct the text there") from None
    return Document(builder.value, builder.lines)


def _check_text(text: str, name: str, max_bytes: int) -> None:
    if len(text) > max_bytes or len(text.encode("utf-8", "surrogatepass")) > max_bytes:
        raise _too_large(name, max_bytes)
    if found := _UNPRINTABLE.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise DocumentError(name, line, f"holds the unprintable character U+{ord(found[0]):04X}; remove it")


def _too_large(name: str, max_bytes: int) -> DocumentError:
    return DocumentError(name, None, f"larger than {max_bytes:,} bytes; a YAML document here must be smaller")


@dataclass
class _Open:
    """A list or mapping whose end was not seen yet; `key` is set between a mapping's key and its value."""

    value: list[object] | dict[str, object]
    path: Keys
    key: str | None = None


@dataclass
class _Builder:
    name: str
    value: object = None
    lines: dict[Keys, int] = field(default_factory=dict)
    documents: int = 0
    stack: list[_Open] = field(default_factory=list)

    def take(self, event: yaml.Event) -> None:
        """Take the parser's next event. Raises DocumentError for everything JSON has no word for."""
        import yaml

        mark: Any = event.start_mark  # typed as optional, but the parser always sets it
        line = mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise self._error(line, "begins a second document; keep one and remove the line `---` before the other")
        elif isinstance(event, yaml.CollectionEndEvent):
            self.stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._refuse_indirection(event, line)
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, line)
            else:
                self._open([] if isinstance(event, yaml.SequenceStartEvent) else {}, line)

    def _refuse_indirection(self, event: yaml.NodeEvent, line: int) -> None:
        import yaml

        if isinstance(event, yaml.AliasEvent):
            raise self._error(line, f"uses the alias `*{event.anchor}`; aliases are not supported, write the value out")
        if event.anchor is not None:
            raise self._error(line, f"uses the anchor `&{event.anchor}`; anchors are not supported, remove it")
        if getattr(event, "tag", None) is not None:
            raise self._error(line, "uses a tag (`!…`); tags are not supported, put the value in quotes if it is text")

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        if "\0" in event.value:  # as an escape; no program can be given it in an argument or environment
            raise self._error(line, "holds the unprintable character U+0000; remove it")
        plain = event.implicit[0]
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            top.key = self._key(event.value, plain, top.value, line)
            self.lines[(*top.path, top.key)] = line
        else:
            self._put(self._resolved(event.value, line) if plain else event.value, line)

    def _key(self, text: str, plain: bool, mapping: dict[str, object], line: int) -> str:
        if plain and text == "<<":
            raise self._error(line, "uses the merge key `<<`; merging is not supported, write the keys out")
        if plain and not isinstance(self._resolved(text, line), str):
            raise self._error(line, f"the key `{text}` is not text; put it in quotes")
        if text in mapping:
            raise self._error(line, f"the key {shown(text)} is there twice in one mapping; remove one of them")
        return text

    def _resolved(self, text: str, line: int) -> object:
        if text in _WORDS:
            return _WORDS[text]
        match = _NUMBER.fullmatch(text)
        if match is None:
            return text
        # 18 digits fit into 64 bits, which is what the records that are made of documents can hold.
        if match.lastindex is None and len(text.lstrip("-")) <= 18:
            return int(text)
        if match.lastindex is None or not math.isfinite(float(text)):
            raise self._error(line, f"the number {shown(text)} is too large; put it in quotes if it is text")
        return float(text)

    def _open(self, value: list[object] | dict[str, object], line: int) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            raise self._error(line, "uses a list or mapping as a key; a key must be text")
        if len(self.stack) >= _MAX_DEPTH:
            raise self._error(line, _TOO_DEEP)
        path = self._put(value, line)
        self.stack.append(_Open(value, path))

    def _put(self, value: object, line: int) -> Keys:
        """Put a finished scalar or a just opened collection where it belongs; return its path."""
        if not self.stack:
            self.value = value
            return ()
        top = self.stack[-1]
        if isinstance(top.value, list):
            path: Keys = (*top.path, len(top.value))
            top.value.append(value)
            self.lines[path] = line
            return path
        assert top.key is not None
        path = (*top.path, top.key)
        top.value[top.key] = value
        top.key = None
        return path

    def _error(self, line: int, problem: str) -> DocumentError:
        return DocumentError(self.name, line, problem)
