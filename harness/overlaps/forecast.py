"""What trial merges of the branches in work came to, in a file that the lander writes and anybody may read."""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ...queue import atomic

_Struct = TypeVar("_Struct", bound=msgspec.Struct)


class BranchInWork(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt's branch: how far its program has committed, and the paths that differ from where it began."""

    item: str
    attempt: int
    branch: str
    commit: str
    paths: tuple[str, ...] = ()


class Clash(msgspec.Struct, frozen=True, kw_only=True):
    """Two items whose branches conflict, or one whose branch conflicts with what has landed; and in which paths."""

    items: tuple[str, ...]
    paths: tuple[str, ...]


class Forecast(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that is known at one moment. `earlier` are the paths that branches of items changed which wait again."""

    at: str = ""
    tip: str = ""
    branches: tuple[BranchInWork, ...] = ()
    conflicts: tuple[Clash, ...] = ()
    earlier: dict[str, tuple[str, ...]] = {}


class Watched(Generic[_Struct]):
    """A small file of ours, read again only when it is another one than before: else a look costs one `stat`.

    Losing it loses hints, so one that cannot be read counts as empty.
    """

    def __init__(self, path: Path, empty: _Struct) -> None:
        self._path, self._empty = path, empty
        self._decode = msgspec.json.Decoder(type(empty)).decode
        self._seen: tuple[int, ...] | None = ()
        self._content = empty

    def look(self) -> _Struct:
        """Return what the file holds; the same object as long as it is the same file."""
        try:
            status = self._path.stat()
            seen: tuple[int, ...] | None = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen, self._content = seen, self._empty if seen is None else self._read()
        return self._content

    def write(self, content: _Struct) -> None:
        """Replace the file in one step. Raises OSError."""
        atomic.replace_file(self._path, msgspec.json.encode(content) + b"\n")

    def _read(self) -> _Struct:
        try:
            data = atomic.read_file(self._path)
            return self._empty if data is None else self._decode(data)
        except (msgspec.MsgspecError, atomic.Unreadable):
            return self._empty
