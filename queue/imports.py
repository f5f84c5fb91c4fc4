"""Imports: many items that are added together or not at all.

An import is one file in ``imports/`` with all its items. Once that has its name the items are added,
whatever is killed; writing each of them where it belongs is finished by whoever adds or heals next.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from . import adding, atomic
from .atomic import Unreadable
from .chain import check_readable
from .layout import Layout
from .records import Item, encode

_LIMIT_BYTES = 256 * 1024**2  # who reads it needs a few times as much memory
_NAME = re.compile(r"[0-9a-f]{16}\.json")


class ImportUnfinished(OSError):
    """The items of an import are added, but could not all be written where they belong yet."""

    def __init__(self, error: OSError) -> None:
        reason = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
        super().__init__(
            error.errno,
            f"the items are accepted, but not all are in the queue yet ({reason}); do not import them again: "
            "once that is mended, the next `parallel-loop add` or `run` puts them there",
        )


def write_import(layout: Layout, items: Sequence[Item], *, durable: bool) -> Path:
    """Write the file that adds `items`. Raises InvalidItem when they are too large together."""
    data = encode(items)
    if len(data) > _LIMIT_BYTES:
        raise adding.InvalidItem(0, f"the items have {len(data)} bytes together; import them in several parts")
    path = layout.imports / f"{os.urandom(8).hex()}.json"
    atomic.publish(layout.drafts, path, data, durable=durable)
    return path


def is_import(name: str) -> bool:
    """Tell whether `name` is one that we give to an import."""
    return _NAME.fullmatch(name) is not None


def read_import(path: Path) -> list[Item]:
    """Return the items of an import, none when it has been finished meanwhile. Raises Unreadable."""
    data = atomic.read_file(path, _LIMIT_BYTES)
    if data is None:
        return []
    try:
        items = msgspec.json.decode(data, type=list[Item])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(path, f"is damaged or foreign ({error})") from error
    for item in items:
        check_readable(path, item)
    return items
