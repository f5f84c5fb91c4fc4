"""What is known of failing programs, in one file that the workers share.

Guarantees: no change is lost to another at the same time (a lock that ends with its process); who reads sees a state
as it was after some change. Whoever only looks pays one `stat` as long as nothing has changed.

Assumes: losing the file loses nothing but pauses, so one that cannot be read counts as empty.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import zlib
from collections.abc import Iterator

import msgspec

from ...queue import atomic
from ...queue.records import Item
from ..configuration.config import Config
from ..configuration.settings import SHELL
from ..programs import program_of
from ..project import Project
from ..rereading import Watched
from . import pauses
from .pauses import Event, State, Trouble

_PATIENCE_SECONDS = 2.0  # the lock is held for a millisecond, unless its holder was stopped
_LOOK_SECONDS = 0.005


def key_of(item: Item, config: Config) -> str:
    """Return what is paused when attempts at `item` fail alike: its program, of the shell one command line."""
    program = program_of(item, config)
    if program != SHELL:
        return program
    return f"{SHELL} {zlib.crc32((item.command or '').encode(errors='surrogatepass')):08x}"


def configuration_of(program: str, config: Config) -> int:
    """Return a number that stands for all of the configuration that an attempt of `program` depends on."""
    parts = (config.programs.get(program), config.setup, config.checks, config.limits)
    return zlib.crc32(msgspec.json.encode(parts))


class PauseFile:
    """The file as one process knows it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._file = Watched(project.state.pauses, tuple[Trouble, ...])

    def look(self) -> State:
        """Return what is known, read again only when the file is another one than before."""
        return self._file.look()

    def in_force(self) -> dict[str, Trouble]:
        """Return the pauses by key, without those that began under another configuration."""
        config = self._project.config
        return {
            one.key: one
            for one in self.look()
            if one.until is not None and configuration_of(one.last.program, config) == one.last.config
        }

    def change(self, event: Event) -> tuple[State, State]:
        """Let `event` happen, tell who waits of it, and return what was known before and after. Raises OSError."""
        with self._locked():
            before = self._file.read()
            after = pauses.after(before, event, self._project.queue.now())
            if after != before:
                self._file.write(after)
        self._tell(before, after)
        return before, after

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = atomic.open_own(self._project.state.pauses_lock, os.O_RDWR | os.O_CREAT)
        try:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        said = "is held by a process that does not go on; is one of yours stopped?"
                        raise OSError(errno.ETIMEDOUT, said, str(self._project.state.pauses_lock)) from None
                    time.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _tell(self, before: State, after: State) -> None:
        old = {one.key: one for one in before if one.until is not None}
        new = {one.key: one for one in after if one.until is not None}
        for key in new.keys() - old.keys():
            self._project.state.record_event("program-paused", program=new[key].last.program, why=why(new[key]))
        for key in old.keys() - new.keys():
            self._project.state.record_event("program-resumed", program=old[key].last.program)
        if old.keys() - new.keys() or any(old[key].until != new[key].until for key in old.keys() & new.keys()):
            self._project.queue.bell.ring()  # those who wait know how long from what they read last


def what(trouble: Trouble) -> str:
    """Name what is paused."""
    failure = trouble.last
    return f"the command `{failure.command}`" if failure.program == SHELL else f"the program {failure.program}"


def why(trouble: Trouble) -> str:
    """Say why it is paused, with the last line of its output."""
    failure = trouble.last
    code = "" if failure.exit_code in {None, 0} else f", exit code {failure.exit_code}"
    return f"{trouble.attempts} attempts failed alike within seconds ({failure.outcome}{code}): {failure.said}"
