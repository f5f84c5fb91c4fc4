"""What lies in the queue's directory and is not the queue's. It is named and never touched.

Looked at often, so only where there are few names; `foreign_hints` also looks where there may be many. What is in
``items/`` and in packs is looked at by the survey.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from . import atomic
from .atomic import LINK, Unreadable
from .bell import LOWEST_PRIORITY
from .buckets import has_other_lines, live_lines, read_text
from .directory import read_version
from .folders import NOT_OURS, Damage, in_short
from .held import SUFFIX, read_note
from .hint import Hint
from .imports import is_import, read_import
from .layout import FOLDERS, Layout
from .markers import is_marker, read_marker
from .packs import UNFINISHED, is_pack

_NO_FILE = "is not a regular file"
_FILES = {"README", "format.json", "bell", "frontier", "add.lock"}
_PASSING = re.compile(r"\.(README|format\.json)\.\d+-\d+-\d+|\.nfs[0-9a-f]+")  # being written; removed while open
_SHARD = re.compile(r"[0-9a-f]{3}")
_PLACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\.[1-9]\d*")
_Signature = tuple[int, int, int]


class Foreign:
    """What was found, kept so that the same file is not read twice."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._known: dict[str, tuple[_Signature, str | None]] = {}
        self._seen: dict[str, tuple[_Signature, str | None]] = {}  # of those, what the present look has found again

    def look(self) -> list[Damage]:
        """Return what is not ours, as far as that is seen quickly."""
        layout = self._layout
        self._seen = {}
        found = [
            *few(layout.root, self._damage_of_root),
            *few(layout.items, lambda entry: _folder(entry, _SHARD.fullmatch(entry.name) is not None)),
            *few(layout.ready, lambda entry: _folder(entry, entry.name in _PRIORITIES)),
            *few(layout.wip, lambda entry: _file(entry, _PLACE.fullmatch(entry.name) is not None)),
            *few(layout.imports, lambda entry: self._file(entry, is_import(entry.name), read_import)),
            *few(layout.packs, self._damage_of_pack),
            *few(layout.workers, self._damage_of_worker),
        ]
        self._known = self._seen
        return found

    def _damage_of_root(self, entry: os.DirEntry[str]) -> str | None:
        if entry.name in FOLDERS:
            return _folder(entry, ours=True)
        if entry.name == self._layout.format.name:
            return self._file(entry, True, lambda path: read_version(path, path.read_bytes()))
        return _file(entry, entry.name in _FILES or _PASSING.fullmatch(entry.name) is not None)

    def _damage_of_pack(self, entry: os.DirEntry[str]) -> str | None:
        if is_pack(entry.name):  # those are read elsewhere
            return None
        mark = entry.name.endswith(UNFINISHED) and is_pack(f"{entry.name.removesuffix(UNFINISHED)}.jsonl")
        return self._file(entry, mark, lambda path: atomic.read_file(path, 0))

    def _damage_of_worker(self, entry: os.DirEntry[str]) -> str | None:
        if is_marker(entry.name):
            return self._file(entry, True, read_marker)
        return self._file(entry, entry.name.endswith(SUFFIX), read_note)

    def _file(self, entry: os.DirEntry[str], ours: bool, read: Callable[[Path], object]) -> str | None:
        """Tell what is wrong with a file; `read` raises Unreadable when it holds what it should not."""
        problem = _file(entry, ours)
        if problem is not None:
            return problem
        try:
            status = entry.stat(follow_symlinks=False)
            signature = (status.st_ino, status.st_mtime_ns, status.st_size)
            known = self._known.get(entry.path)
            if known is None or known[0] != signature:
                known = (signature, _problem(Path(entry.path), read))
        except OSError:  # gone, or not to be read now
            return None
        self._seen[entry.path] = known
        return known[1]


def few(folder: Path, damage_of: Callable[[os.DirEntry[str]], str | None]) -> list[Damage]:
    """Return what `damage_of` finds wrong in a directory: the first ones, and how many there are more."""
    if folder.is_symlink():
        return []  # named by who looks at its parent
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return []
    problems = ((entry.path, damage_of(entry)) for entry in entries)
    return in_short(str(folder), [Damage(path, problem) for path, problem in problems if problem is not None])


def foreign_hints(layout: Layout) -> Iterator[Damage]:
    """Yield what is not ours among the hints and the drafts."""
    for priority in _PRIORITIES:
        yield from few(
            layout.ready / priority, lambda entry: _file(entry, ours=True) or _problem(Path(entry.path), _read_bucket)
        )
    yield from few(layout.delayed, lambda entry: _file(entry, Hint.parse(entry.name.partition("~")[2]) is not None))
    yield from few(layout.landing, lambda entry: _file(entry, entry.name.count("~") == 2))
    yield from few(layout.after, lambda entry: _folder(entry, ours=True))
    yield from few(layout.drafts, lambda entry: _file(entry, ours=True))


def _read_bucket(path: Path) -> None:
    """Raise Unreadable for a bucket with lines that are no hints."""
    text = read_text(str(path))
    if has_other_lines(text) or any(Hint.parse(name) is None for name in live_lines(text)):
        raise Unreadable(path, "holds lines that are none of the queue's")
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise Unreadable(path, "cannot be written to by this user")


_PRIORITIES = {str(priority) for priority in range(LOWEST_PRIORITY + 1)}


def _folder(entry: os.DirEntry[str], ours: bool) -> str | None:
    if not ours:
        return NOT_OURS
    if entry.is_symlink():
        return LINK
    return None if entry.is_dir(follow_symlinks=False) else "is not a directory"


def _file(entry: os.DirEntry[str], ours: bool) -> str | None:
    if not ours:
        return NOT_OURS
    return None if entry.is_file(follow_symlinks=False) else _NO_FILE


def _problem(path: Path, read: Callable[[Path], object]) -> str | None:
    try:
        read(path)
    except Unreadable as error:
        return error.problem
    return None
