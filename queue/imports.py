"""Imports: many items that are added together or not at all.

An import is one file in ``imports/`` with all its items. Once that has its name the items are added,
whatever is killed; writing each of them where it belongs is finished by whoever adds or heals next.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import msgspec

from . import adding, atomic
from .atomic import Unreadable
from .ids import is_id
from .layout import Layout
from .records import FORMAT_VERSION, Item, encode

_LIMIT_BYTES = 4 * 1024**3


class ImportUnfinished(OSError):
    """The items of an import are added, but could not all be written where they belong yet."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            error.errno,
            f"the items are accepted, but not all are in the queue yet ({error.strerror}); do not import them again: "
            "once that is mended, the next `parallel-loop add` or `run` puts them there",
        )


def write_import(layout: Layout, items: Sequence[Item], *, durable: bool) -> Path:
    """Write the file that adds `items`. Raises InvalidItem when they are too large together."""
    data = encode(items)
    if len(data) > _LIMIT_BYTES:
        raise adding.InvalidItem(0, f"the items have {len(data)} bytes together; import them in several parts")
    path = layout.imports / f"{secrets.token_hex(8)}.json"
    atomic.publish(layout.drafts, path, data, durable=durable)
    return path


def read_import(path: Path) -> list[Item]:
    """Return the items of an import; none for a file that is not one of ours."""
    try:
        data = atomic.read_file(path, _LIMIT_BYTES)
        items = msgspec.json.decode(data or b"", type=list[Item])
    except (Unreadable, msgspec.MsgspecError, UnicodeError, RecursionError):
        return []
    return items if all(is_id(item.id) and item.version <= FORMAT_VERSION for item in items) else []
