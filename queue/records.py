"""What is written in the queue's files: items, and the records of their chains."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PRIORITIES = {"high": 1, "medium": 5, "low": 9}
FORMAT_VERSION = 1

Kind = Literal["claimed", "landing", "done", "failed", "released", "waiting", "answered", "cancelled", "retried"]
State = Literal["ready", "blocked", "delayed", "working", "landing", "waiting", "done", "failed", "cancelled"]

# What is part of a file name is checked whenever it is read, since anybody may have written the file.
Time = Annotated[str, Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")]  # see clock.py
Role = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]

# After a record of one of these kinds the item may be claimed again.
TAKABLE_AFTER: frozenset[Kind] = frozenset({"released", "answered", "retried"})
ENDED: frozenset[Kind] = frozenset({"done", "failed", "cancelled"})


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One unit of work, written once and never edited.

    `priority` is 0 (most urgent) to 9; `timeout_seconds` and `max_attempts` override the configuration.
    """

    id: str
    title: str
    added_at: Time
    prompt: str = ""
    command: str | None = None
    priority: Annotated[int, Meta(ge=0, le=9)] = PRIORITIES["medium"]
    after: tuple[str, ...] = ()
    role: Role | None = None
    program: str | None = None
    paths: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    max_attempts: int | None = None
    version: int = FORMAT_VERSION


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an attempt used: tokens read, those of them that were `cached` not counted; tokens written; US dollars."""

    input: int = 0
    cached: int = 0
    output: int = 0
    usd: float | None = None

    def __add__(self, other: Usage) -> Usage:
        usd = None if self.usd is None and other.usd is None else (self.usd or 0.0) + (other.usd or 0.0)
        return Usage(self.input + other.input, self.cached + other.cached, self.output + other.output, usd)

    def __bool__(self) -> bool:
        return bool(self.input or self.cached or self.output or self.usd)

    def since(self, before: Usage) -> Usage:
        """Return what was used after `before`, of numbers that only grow."""
        return Usage(
            max(0, self.input - before.input),
            max(0, self.cached - before.cached),
            max(0, self.output - before.output),
            None if self.usd is None else max(0.0, self.usd - (before.usd or 0.0)),
        )


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One link of an item's chain. `kind` says what happened; the rest is what is known about it.

    A ``claimed`` record is the marker of a worker process, so its `at` is when that process registered.
    Every record that ends an attempt carries that attempt's `started_at`. `counted` is False when the
    attempt says nothing about the item (it was interrupted from outside) and so costs it no attempt.
    """

    kind: Kind
    at: Time
    agent: str | None = None
    outcome: str | None = None
    why: str | None = None
    started_at: str | None = None
    seconds: float | None = None
    branch: str | None = None
    commit: str | None = None
    log: str | None = None
    counted: bool = True
    not_before: Time | None = None
    text: str | None = None
    program: str | None = None
    session: str | None = None  # the program's name for what it can go on with
    usage: Usage | None = None
    worker: str | None = None
    pid: int | None = None
    process_start: float | None = None
    boot: str | None = None


class Entry(msgspec.Struct, frozen=True):
    """An item and the whole of its chain, as read at one moment."""

    item: Item
    records: tuple[Record, ...] = ()

    @property
    def last(self) -> Record | None:
        return self.records[-1] if self.records else None

    def last_is(self, kind: Kind) -> bool:
        return self.last is not None and self.last.kind == kind

    @property
    def next_number(self) -> int:
        """The number that the next record of the chain will have; numbers begin at 1."""
        return len(self.records) + 1

    @property
    def attempts(self) -> int:
        """How often the item was claimed; also the number of its latest attempt."""
        return sum(record.kind == "claimed" for record in self.records)

    @property
    def counted_attempts(self) -> int:
        """How many ended attempts count against the item's limit since a person last asked for a retry."""
        count = 0
        for record in self.records:
            if record.kind == "retried":
                count = 0
            elif record.kind in {"released", "failed"} and record.counted:
                count += 1
        return count

    @property
    def takable(self) -> bool:
        """True when the chain allows a claim; dependencies and due times are another matter."""
        return self.last is None or self.last.kind in TAKABLE_AFTER


encode = msgspec.json.Encoder().encode
decode_item = msgspec.json.Decoder(Item).decode
decode_record = msgspec.json.Decoder(Record).decode
