"""A small file of ours, read again only when it is another one than before: else a look costs one `stat`.

Assumes: losing it loses hints, so one that cannot be read counts as empty.
"""

from __future__ import annotations

from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from ..queue import atomic
from .state import read_record

_T = TypeVar("_T")


class Watched(Generic[_T]):
    """A file that holds a `kind` as JSON; without arguments, that is an empty one."""

    def __init__(self, path: Path, kind: type[_T]) -> None:
        self._path, self._kind = path, kind
        self._empty = kind()
        self._seen: tuple[int, ...] | None = ()
        self._content = self._empty

    def look(self) -> _T:
        """Return what the file holds; the same object as long as it is the same file."""
        try:
            status = self._path.stat()
            seen: tuple[int, ...] | None = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen, self._content = seen, self._empty if seen is None else self.read()
        return self._content

    def read(self) -> _T:
        """Return what the file holds now, for whoever is about to change it."""
        found = read_record(self._path, self._kind)
        return self._empty if found is None else found

    def write(self, content: _T) -> None:
        """Replace the file in one step. Raises OSError."""
        atomic.replace_own(self._path, msgspec.json.encode(content) + b"\n")
