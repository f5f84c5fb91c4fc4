"""From what a person wrote (options of `add`, an entry of an import) to an item, checked field by field.

Guarantees: an item that `to_item` returns can be stored and run: its texts are UTF-8 without NUL, its id is usable, its
role and program are known. Both commands come through here, so that they cannot differ in what they accept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Struct, field

from ...harness.configuration import schema as read
from ...harness.configuration.config import Config
from ...harness.configuration.documents import Keys
from ...harness.configuration.schema import Invalid, read_struct
from ...harness.configuration.settings import SHELL
from ...harness.configuration.wording import nearest, shown
from ...harness.programs import check_runnable
from ...queue.ids import InvalidId, check_id
from ...queue.records import PRIORITIES, Item

MAX_PROMPT_BYTES = 8_000_000
_MAX_COMMAND_BYTES = 120_000  # Linux starts no program with an argument above 128 KiB
_MAX_TITLE = 200
_HEADLINE = 72  # what `git log --oneline` shows without wrapping


def check_text(value: object, path: Keys) -> str:
    """Return text that a file, an argument and an environment can hold. Raises Invalid, naming the offset in bytes."""
    text = read.text(value, path)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        offset = len(text[: error.start].encode())
        raise Invalid(path, f"is not UTF-8 text at byte {offset}; convert it to UTF-8") from None
    offset = text.find("\0")
    if offset >= 0:
        raise Invalid(path, f"holds a NUL at byte {len(text[:offset].encode())}; remove it")
    return text


def _limited(most_bytes: int, remedy: str) -> read.Reader:
    def limited(value: object, path: Keys) -> str:
        text = check_text(value, path)
        size = len(text.encode())
        if size > most_bytes:
            raise Invalid(path, f"has {size:,} bytes, at most {most_bytes:,} are possible; {remedy}")
        return text

    return limited


def _title(value: object, path: Keys) -> str:
    text = check_text(value, path)
    if not text.isprintable():
        raise Invalid(path, f"{shown(text)} holds a line break or control character; write it on one line")
    if len(text) > _MAX_TITLE:
        raise Invalid(
            path, f"has {len(text)} characters, at most {_MAX_TITLE} are possible; put the rest in the prompt"
        )
    return text


def _id(value: object, path: Keys) -> str:
    if not isinstance(value, str):
        raise Invalid(path, f"must be text, not {shown(value)}; put it in quotes if it is text")
    try:
        return check_id(value)
    except InvalidId as error:
        raise Invalid(path, str(error)) from None


def _ids(value: object, path: Keys) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise Invalid(path, f"must be a list such as [fix-login], not {shown(value)}")
    return tuple(dict.fromkeys(_id(inner, (*path, index)) for index, inner in enumerate(value)))


def _texts(value: object, path: Keys) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        raise Invalid(path, f"must be a list such as [src/login.py], not {shown(value)}")
    return tuple(check_text(inner, (*path, index)) for index, inner in enumerate(value))


def _priority(value: object, path: Keys) -> int:
    if isinstance(value, str) and value in PRIORITIES:
        return PRIORITIES[value]
    if isinstance(value, str) and len(value) == 1 and value in "0123456789":
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 9:
        return value
    raise Invalid(path, f"must be high, medium, low or 0 (most urgent) to 9, not {shown(value)}")


class Fields(Struct, frozen=True):
    """What can be said about a new item."""

    prompt: Annotated[str, _limited(MAX_PROMPT_BYTES, "put the rest in a file of the repository")] = ""
    command: Annotated[str | None, _limited(_MAX_COMMAND_BYTES, "write it into a script in the repository")] = None
    title: Annotated[str | None, _title] = None
    item_id: Annotated[str, _id] = field(default="", name="id")
    priority: Annotated[int, _priority] = PRIORITIES["medium"]
    after: Annotated[tuple[str, ...], _ids] = ()
    role: Annotated[str | None, check_text] = None
    program: Annotated[str | None, check_text] = None
    paths: Annotated[tuple[str, ...], _texts] = ()
    timeout_seconds: Annotated[float | None, read.duration] = field(default=None, name="timeout")
    max_attempts: Annotated[int | None, read.whole(1, 1000)] = None


def to_item(given: Mapping[str, object], config: Config) -> Item:
    """Return the item that `given` describes, without a time and perhaps without an id.

    Raises Invalid for a field, ConfigError when the configuration has nothing that could run the item.
    """
    fields = read_struct(Fields, dict(given))
    if not fields.prompt and fields.command is None:
        raise Invalid((), "has neither a prompt nor a command; give it one of them")
    if fields.command is not None and fields.program not in {None, SHELL}:
        raise Invalid(("program",), f"a command is run by {SHELL!r}, not by {shown(fields.program)}; leave it out")
    if fields.role is not None and fields.role not in config.roles:
        known = nearest(fields.role, config.roles) if config.roles else f"{config.source} has none under `roles:`"
        raise Invalid(("role",), f"unknown role {shown(fields.role)}; {known}")
    programs = config.known_programs()
    if fields.program is not None and fields.program not in programs:
        problem = f"unknown program {shown(fields.program)}; {nearest(fields.program, programs)}"
        raise Invalid(("program",), problem)
    item = _item(fields)
    check_runnable(item, config)
    return item


def _item(fields: Fields) -> Item:
    return Item(
        id=fields.item_id,
        title=fields.title or _headline(fields.prompt or fields.command or ""),
        added_at="",
        prompt=fields.prompt,
        command=fields.command,
        priority=fields.priority,
        after=fields.after,
        role=fields.role,
        program=fields.program,
        paths=fields.paths,
        timeout_seconds=fields.timeout_seconds,
        max_attempts=fields.max_attempts,
    )


def _headline(text: str) -> str:
    """Return the first line that says something, shortened, without what would move a cursor."""
    line = next(line for line in text.split("\n") if line.strip())[:1000]
    words = "".join(c if c.isprintable() else " " for c in line).split()
    plain = " ".join(words) or "untitled"
    return plain if len(plain) <= _HEADLINE else plain[: _HEADLINE - 1].rstrip() + "…"
