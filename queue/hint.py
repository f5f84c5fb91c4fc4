"""One ready hint: what it says, and how that is written as a line or as the name of a file."""

from __future__ import annotations

import re
from typing import NamedTuple

from .records import Item

SEPARATOR = "~"  # in no id, role or time
_NAME = re.compile(  # each becomes a part of paths, and anybody may have written it
    r"([0-9])~([0-9][0-9TZ.-]{0,31})~([A-Za-z0-9][A-Za-z0-9._-]{0,99})~([1-9][0-9]{0,8})~"
    r"((?:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?)"
)


class Hint(NamedTuple):
    """Says that record `number` may be the next of the item's chain. The order of the names is the taking order.

    The role stands in it so that an item whose role is at its limit is passed over without being read.
    """

    priority: int
    age: str
    id: str
    number: int
    role: str = ""

    @property
    def name(self) -> str:
        return f"{self.priority}~{self.age}~{self.id}~{self.number}~{self.role}"

    @classmethod
    def of(cls, item: Item, number: int) -> Hint:
        return cls(item.priority, file_time(item.added_at), item.id, number, item.role or "")

    @classmethod
    def parse(cls, name: str) -> Hint | None:
        """Read a hint's name; None for a name that is no hint."""
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        priority, age, item_id, number, role = found.groups()
        return cls(int(priority), age, item_id, int(number), role)


def file_time(text: str) -> str:
    """Return a recorded time as it stands in names of files."""
    return text.replace(":", "")
