"""Markers: the file that says which process makes a claim, linked into the chain to make it.

Guarantees: a process is reported dead only when its lock is free, which the kernel does at its very end,
however it ends; no process id is guessed about and no clock is read.

Assumes: the owner does not fork children that keep its descriptors (subprocess closes them), and the
lock is flock on a local file system.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path
from typing import NamedTuple

import msgspec

from . import atomic
from .atomic import StrPath, Unreadable
from .clock import utc_now
from .held import HeldNote
from .hints import remove
from .layout import Layout
from .records import Record, decode_record, encode

_NAME = re.compile(r".+\.\d+\.[0-9a-f]{8}\.json")
_LIMIT_BYTES = 64 * 1024


class Owner(NamedTuple):
    """Who claims: the agent's name, and the process by what nobody else can have (see harness/identity.py)."""

    agent: str
    pid: int
    process_start: float | None = None
    boot: str | None = None

    @property
    def name(self) -> str:
        """What the names of all of this process's markers begin with, and no other's that lives."""
        return f"{self.agent}.{self.pid}"


class Marker:
    """A process's marker file, locked from before it has its name until the process ends."""

    def __init__(self, layout: Layout, owner: Owner, *, durable: bool = True) -> None:
        self._layout = layout
        self._durable = durable  # a claim that survives a power cut must still say whose it was
        self.owner = owner
        self._descriptors: list[int] = []
        self.path = self._create()
        self.note = HeldNote(layout, self.path.stem)

    def _create(self) -> Path:
        worker = f"{self.owner.name}.{os.urandom(4).hex()}"
        self.record = Record(
            kind="claimed",
            at=utc_now(),
            agent=self.owner.agent,
            worker=worker,
            pid=self.owner.pid,
            process_start=self.owner.process_start,
            boot=self.owner.boot,
        )
        draft = atomic.write_private(self._layout.drafts, encode(self.record), durable=self._durable)
        descriptor = os.open(draft, os.O_RDWR | os.O_CLOEXEC)  # to write: else NFS gives no exclusive lock
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._descriptors.append(descriptor)
        path = self._layout.workers / f"{worker}.json"
        try:
            atomic.link_once(draft, path)
        finally:
            remove(draft)
        self.source = str(path)
        return path

    def renew(self) -> None:
        """Make a further marker: a file can have only so many links (65,000 on ext4)."""
        full = self.path
        self.path = self._create()
        full.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the marker up. Claims made with it that are still open count as those of a dead worker."""
        self.path.unlink(missing_ok=True)
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        self.note.close()  # last: who finds its lock free takes back what it names


def is_marker(name: str) -> bool:
    """Tell whether a name in ``workers/`` is one that we give."""
    return _NAME.fullmatch(name) is not None


def read_marker(path: StrPath) -> Record | None:
    """Return what a marker says, None when it is gone. Raises Unreadable for a file that is none."""
    data = atomic.read_file(path, _LIMIT_BYTES)
    try:
        record = None if data is None else decode_record(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Unreadable(path, f"is damaged or foreign ({error})") from error
    if record is not None and record.kind != "claimed":
        raise Unreadable(path, "is no marker of a worker")
    return record


def is_owner_alive(marker: StrPath) -> bool:
    """Tell whether the process that locked `marker` (or any link of it, such as a claim) still lives.

    A file that cannot be opened counts as alive: only certainty lets a claim be taken back.
    """
    try:
        descriptor = os.open(marker, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
