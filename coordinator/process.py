"""One process of ours, a worker or the lander: starting, watching, telling, ending it."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import BinaryIO

from ..harness.identity import Identity, is_alive
from ..harness.keeping.processes import exit_descriptor
from ..harness.logs import open_log

_LOOK_SECONDS = 0.1  # how soon an end is noticed where there is no pidfd


class Process:
    """A worker or the lander: our child, or one that outlived the coordinator that started it."""

    def __init__(
        self,
        identity: Identity | None,
        child: subprocess.Popen[bytes] | None,
        line: socket.socket | None = None,
    ) -> None:
        self._identity = identity
        self._child = child
        self._line = line  # to its standard input
        pid = child.pid if child is not None else identity.pid if identity is not None else 0
        self.pid = pid
        self.started = time.monotonic()
        self.descriptor = exit_descriptor(pid)

    @classmethod
    def start(cls, module: str, arguments: Sequence[str], log: Path, environ: dict[str, str], root: Path) -> Process:
        """Start ``python -m module``. Its standard input stays open as long as we live and want it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        # Not a pipe: a program could open its worker's through /proc, give orders, and by holding it hide our death.
        line, its_end = socket.socketpair()
        try:
            with its_end, open_log(log) as output:
                child = _start(module, arguments, environ, root, its_end.fileno(), output)
        except BaseException:
            line.close()
            raise
        line.setblocking(False)  # who is stopped does not read, and must not stop us as well
        return cls(None, child, line)

    @classmethod
    def adopt(cls, identity: Identity) -> Process | None:
        """Watch a living process of an earlier coordinator, None when it is gone.

        The descriptor is opened first: if the identity is right after that, it is right for good.
        """
        process = cls(identity, None)
        if is_alive(identity):
            return process
        process.close()
        return None

    @property
    def is_alive(self) -> bool:
        if self._child is not None:
            return self._child.poll() is None
        return self._identity is not None and is_alive(self._identity)

    def has_ended(self, readable: Collection[int]) -> bool:
        """Whether it has ended, if its descriptor is among those that are `readable`, or there is none to tell."""
        return (self.descriptor is None or self.descriptor in readable) and not self.is_alive

    @property
    def is_adopted(self) -> bool:
        """True for a process that is not our child: what it leaves behind does not become ours."""
        return self._child is None

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while it lives and for a process that is not our child."""
        return None if self._child is None else self._child.returncode

    def describe_end(self) -> str:
        """Say how it ended, as far as we can know."""
        if self.exit_code is None:
            return "ended"
        return f"was ended by signal {-self.exit_code}" if self.exit_code < 0 else f"ended with code {self.exit_code}"

    def wait(self, seconds: float) -> bool:
        """Wait for its end; False when it still lives after `seconds`."""
        deadline = time.monotonic() + seconds
        while self.is_alive:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            watched = () if self.descriptor is None else (self.descriptor,)
            select.select(watched, (), (), min(left, _LOOK_SECONDS))
        return True

    def tell(self, line: str) -> None:
        """Write an order to its standard input; one that is full (it hangs) or closed hears nothing any more."""
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.send(line.encode() + b"\n")

    def ask_to_finish(self) -> None:
        """Tell it to end after the item in hand. Its input stays open: the end of that says that we died."""
        self.tell("finish")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to exactly this process."""
        with contextlib.suppress(ProcessLookupError):
            if self._child is not None:
                self._child.send_signal(number)
            elif self.descriptor is not None:
                signal.pidfd_send_signal(self.descriptor, number)
            elif self.is_alive:
                os.kill(self.pid, number)

    def close(self) -> None:
        """Let go of what we hold for it."""
        if self._line is not None:
            self._line.close()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _start(
    module: str, arguments: Sequence[str], environ: dict[str, str], root: Path, line: int, log: BinaryIO
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        # -P: what lies in the user's repository must not be imported in place of a library.
        [sys.executable, "-P", "-m", module, *arguments],
        cwd=root,
        env=environ,
        stdin=line,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
