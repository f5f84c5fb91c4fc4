"""Reads a mapping into a frozen Struct whose annotations say how each key is read.

    class Retry(Struct, frozen=True):
        first_seconds: Annotated[float, duration] = field(default=10.0, name="first")

The key is the field's encoded name, the reader is the first annotation. A field without a reader is no key. A reader
takes the value and its path of keys and returns what the field holds, or raises Invalid. msgspec's own conversion was
not taken: its errors do not name the keys of a dict (`$.roles[...]`), and units would need a type of their own each.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct, structs

from .units import parse_duration, parse_percent, parse_size, parse_times_of_day
from .wording import nearest, shown

if TYPE_CHECKING:
    from .documents import Keys

S = TypeVar("S", bound=Struct)
Reader = Callable[[object, "Keys"], Any]

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Invalid(Exception):
    """The value at `path` cannot be used; `problem` says why and what is accepted."""

    def __init__(self, path: Keys, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem


def dotted(path: Keys) -> str:
    """Return the path as people write it: `roles.builder.timeout`, `programs.mine.argv[1]`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")


def read_struct(kind: type[S], value: object, path: Keys = ()) -> S:
    """Return a `kind` with the keys that `value` gives; one without a value is as if not there. Raises Invalid."""
    readers = {
        field.encode_name: (field.name, field.type.__metadata__[0])
        for field in structs.fields(kind)
        if hasattr(field.type, "__metadata__")
    }
    given = {}
    for key, inner in _mapping(value, path).items():
        if key not in readers:
            raise Invalid((*path, key), f"unknown key; {nearest(key, readers)}")
        name, reader = readers[key]
        if inner is not None:
            given[name] = reader(inner, (*path, key))
    return kind(**given)


def section(kind: type[Struct]) -> Reader:
    return lambda value, path: read_struct(kind, value, path)


def named(kind: type[Struct]) -> Reader:
    """A mapping of names the user chooses to sections of one kind."""

    def read(value: object, path: Keys) -> dict[str, Struct]:
        found = {}
        for name, inner in _mapping(value, path).items():
            if not _NAME.fullmatch(name):
                allowed = "letters, digits, '.', '_' and '-', at most 64, the first a letter or digit"
                raise Invalid((*path, name), f"{shown(name)} is not usable as a name; use {allowed}")
            found[name] = read_struct(kind, {} if inner is None else inner, (*path, name))
        return found

    return read


def flag(value: object, path: Keys) -> bool:
    if isinstance(value, bool):
        return value
    raise Invalid(path, f"must be true or false, not {shown(value)}")


def whole(least: int, most: int) -> Reader:
    def read(value: object, path: Keys) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        raise Invalid(path, f"must be a whole number from {least} to {most}, not {shown(value)}")

    return read


def number(least: float, most: float) -> Reader:
    def read(value: object, path: Keys) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most:
            return float(value)
        raise Invalid(path, f"must be a number from {least:g} to {most:g}, not {shown(value)}")

    return read


def text(value: object, path: Keys) -> str:
    if not isinstance(value, str):
        raise Invalid(path, f"must be text, not {shown(value)}; put it in quotes if it is text")
    if not value.strip():
        raise Invalid(path, "is empty; write something there or remove it")
    return value


def texts(example: str) -> Reader:
    """A list of texts, none empty; `example` shows one in the error."""

    def read(value: object, path: Keys) -> tuple[str, ...]:
        if not isinstance(value, list):
            raise Invalid(path, f"must be a list such as {example}, not {shown(value)}")
        return tuple(text(inner, (*path, index)) for index, inner in enumerate(value))

    return read


def variables(value: object, path: Keys) -> dict[str, str]:
    """Names and values of environment variables."""
    found = {}
    for name, inner in _mapping(value, path).items():
        if not _VARIABLE.fullmatch(name):
            raise Invalid((*path, name), f"{shown(name)} is not the name of an environment variable")
        found[name] = text(inner, (*path, name))
    return found


def choice(*words: str) -> Reader:
    def read(value: object, path: Keys) -> str:
        if isinstance(value, str) and value in words:
            return value
        raise Invalid(path, f"must be one of {', '.join(words)}, not {shown(value)}")

    return read


def _measured(parse: Callable[[object], float], least: float, least_shown: str) -> Reader:
    def read(value: object, path: Keys) -> float:
        try:
            measured = parse(value)
        except ValueError as error:
            raise Invalid(path, str(error)) from None
        if measured < least:
            raise Invalid(path, f"must be at least {least_shown}, not {shown(value)}")
        return measured

    return read


duration = _measured(parse_duration, 0.001, "1ms")
duration_or_zero = _measured(parse_duration, 0.0, "0s")
size = _measured(parse_size, 1_000_000, "1MB")
cores = _measured(parse_percent, 0.01, "1%")
_any_size = _measured(parse_size, 0, "0")


def times_of_day(value: object, path: Keys) -> tuple[int, int]:
    """From when to when, in minutes of the day."""
    try:
        return parse_times_of_day(value)
    except ValueError as error:
        raise Invalid(path, str(error)) from None


def size_or_zero(value: object, path: Keys) -> int:
    """A size, or 0 for none; 512 alone is half a kilobyte, which nobody means."""
    return int(_any_size(value, path) and size(value, path))


def _mapping(value: object, path: Keys) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    where = "" if path else "the document "
    raise Invalid(path, f"{where}must be a mapping of keys to values, not {shown(value)}")
