"""A command and its keeper, from the worker's side: starting, hearing, ending. See keeper.py for the other side."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..logs import open_log
from .bounds import Bounds
from .processes import KEEPER

_MOST_BYTES = 65_536
_UNHEARD_SECONDS = 5.0
_LOOK_SECONDS = 0.1


class Usage(NamedTuple):
    """What a command and all below it use: bytes, seconds of processor time so far, and how many there are."""

    memory_bytes: int
    cpu_seconds: float
    processes: int


class Excess(NamedTuple):
    """Which limit was passed (`memory`, `processes` or `worktree`), and what was used: bytes, or a number."""

    limit: str
    amount: int


@dataclass(frozen=True)
class Command:
    """What to start, and what it may use. Its output is appended to `log`."""

    argv: tuple[str, ...]
    directory: Path
    environ: Mapping[str, str]
    log: Path
    stdin: Path | None
    bounds: Bounds
    tell_seconds: float = 2.0  # between what the keeper says of its usage


class Kept:
    """A command that runs under a keeper."""

    def __init__(self, command: Command) -> None:
        """Start it. Raises OSError, ValueError; the command itself may still be refused, see `refusal`."""
        self.usage: Usage | None = None
        self.excess: Excess | None = None
        self.refusal: OSError | None = None
        self.returncode: int | None = None
        self.left = 0  # processes that could not be ended
        self.is_gone = False
        self._unread = b""
        self._name = command.argv[0]
        # Not pipes: those of a keeper can be opened by its program, through /proc, and written to or held open.
        self._wire, others = socket.socketpair()
        self.descriptor = self._wire.fileno()
        try:
            with others, (command.stdin or Path(os.devnull)).open("rb") as stdin, open_log(command.log) as log:
                self._process = _start(command, others.fileno(), stdin, log)
        except BaseException:
            self._wire.close()
            raise
        self._wire.setblocking(False)

    def hear(self) -> None:
        """Take in what the keeper has said. Its end without a last word is the end of the command, as by a kill."""
        while not self.is_gone:
            try:
                data = self._wire.recv(_MOST_BYTES)
            except BlockingIOError:
                return
            except ConnectionError:
                data = b""
            *lines, self._unread = (self._unread + data).split(b"\n")
            try:
                for line in lines:
                    self._understand(line.decode().split())
            except ValueError:  # not the keeper's words: whoever has got hold of its end is not listened to
                self.kill()
                self.returncode = self._process.returncode
            if not data and not self.is_gone:
                self._note_end()
                self.returncode = self._process.returncode if self.returncode is None else self.returncode

    def _understand(self, words: list[str]) -> None:
        match words:
            case ["usage", memory, cpu, processes]:
                self.usage = Usage(int(memory), float(cpu), int(processes))
            case ["over", limit, amount]:
                self.excess = Excess(limit, int(amount))
            case ["failed", number]:
                self.refusal = OSError(int(number), os.strerror(int(number)), self._name)
            case ["exit", code]:
                self.returncode = int(code)
            case ["gone", left]:
                self.left = int(left)
                self._note_end()
            case _:  # `started`
                pass

    def _note_end(self) -> None:
        """Reap the keeper, which has said its last word or closed the connection, and is about to end."""
        self.is_gone = True
        try:
            self._process.wait(_UNHEARD_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def was_lost(self) -> bool:
        """Whether the keeper was killed, so that what it kept may be left."""
        return self._process.returncode not in {None, 0}

    def end(self, grace_seconds: float, number: signal.Signals = signal.SIGTERM) -> None:
        """Have all of it ended: politely first (the command itself by that signal), after the grace by force."""
        with contextlib.suppress(OSError):
            self._wire.send(f"end {grace_seconds} {number:d}\n".encode())

    def wake(self) -> None:
        """Let the keeper go on if its program has stopped it."""
        if not self.is_gone:
            self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End a keeper that does not answer."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.is_gone = True

    def close(self) -> None:
        """Let go of it; if it still runs, because something went wrong here, all of it is ended at once."""
        with contextlib.suppress(OSError):
            self._wire.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _UNHEARD_SECONDS
        while not self.is_gone:
            self.wake()
            select.select([self.descriptor], (), (), _LOOK_SECONDS)
            self.hear()
            if time.monotonic() > deadline:
                self.kill()
        self._wire.close()


def _start(command: Command, wire: int, stdin: BinaryIO, log: BinaryIO) -> subprocess.Popen[bytes]:
    bounds, site = command.bounds, "-S" if sys.platform == "linux" else "-s"
    options = (str(command.tell_seconds), "own" if "LC_CTYPE" in command.environ else "")
    return subprocess.Popen(
        [sys.executable, "-I", site, KEEPER, str(wire), *bounds.as_arguments(), *options, *command.argv],
        cwd=command.directory,
        env=_environ(command),
        stdin=stdin,
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=(wire,),
        start_new_session=True,
    )


def _environ(command: Command) -> dict[str, str]:
    """Return the environment, with the directory that it is started in as PWD.

    Some programs believe PWD before the kernel (opencode): with that of whoever started us they work on the user's
    checkout, and commit there.
    """
    environ = {name: value for name, value in command.environ.items() if name != "OLDPWD"}
    return environ | {"PWD": str(command.directory.absolute())}
