"""Values as YAML that documents.py reads back as they were: a key a line, lists on one line as long as they fit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct, structs

from . import schema

_WIDTH = 120
_BARE = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*(?: [A-Za-z0-9_./-]+)*|[0-9]+(?:\.[0-9]+)?s")
_MAY_BE_EMPTY = {"tried"}  # which is not the same as not given
_RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n"}


def yaml_text(value: str) -> str:
    """Return `value` bare where nothing in it could mean something else, otherwise as JSON writes it."""
    return value if _BARE.fullmatch(value) and value.lower() not in _RESERVED else json.dumps(value, ensure_ascii=False)


def yaml_list(values: Iterable[str]) -> str:
    return "[" + ", ".join(map(yaml_text, values)) + "]"


def keys_of(section: Struct) -> dict[str, object]:
    """Return what a section of the configuration holds, by the keys of the file; without what is not given."""
    found: dict[str, object] = {}
    for field in structs.fields(section):
        value = getattr(section, field.name)
        if value is None or (value == () and field.name not in _MAY_BE_EMPTY):
            continue
        reader = field.type.__metadata__[0] if hasattr(field.type, "__metadata__") else None
        if isinstance(value, Struct):
            value = keys_of(value)
        elif reader in {schema.duration, schema.duration_or_zero}:
            value = _duration(value)
        elif isinstance(value, tuple):
            value = list(value)
        found[field.encode_name] = value
    return found


def lines(values: Mapping[str, object], indent: int = 0) -> Iterator[str]:
    """Yield the mapping line by line, `indent` spaces from the edge."""
    for key, value in values.items():
        start = f"{' ' * indent}{yaml_text(key)}:"
        if isinstance(value, Mapping) and value:
            yield start
            yield from lines(value, indent + 2)
        elif isinstance(value, list):
            yield from _wrapped(f"{start} [", [yaml_text(one) for one in value], indent + 2)
        else:
            yield f"{start} {yaml_text(value) if isinstance(value, str) else json.dumps(value)}"


def _wrapped(line: str, words: Sequence[str], indent: int) -> Iterator[str]:
    """Yield a list in as many lines as it needs."""
    for number, word in enumerate(words, start=1):
        piece = word + ("]" if number == len(words) else ",")
        if line[-1:] == "[" or len(line) + 1 + len(piece) <= _WIDTH:
            line += piece if line[-1:] == "[" else f" {piece}"
        else:
            yield line
            line = " " * indent + piece
    yield line if words else f"{line}]"


def _duration(seconds: float) -> str:
    return "0s" if not seconds or not math.isfinite(seconds) else f"{seconds:.15g}s"
