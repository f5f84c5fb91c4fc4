"""A place and the process that fills it: starting, watching, telling, ending one process."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from ..harness.identity import Identity, is_alive
from ..harness.processes import exit_descriptor
from ..harness.state import AgentDirectory, Heartbeat, read_heartbeat
from .lifecycle import PlaceState

_STABLE_SECONDS = 600.0  # a process that lived this long did not die of what killed the one before
_LOOK_SECONDS = 0.1  # how soon an end is noticed where there is no pidfd


class Process:
    """A worker or the lander: our child, or one that outlived the coordinator that started it."""

    def __init__(self, identity: Identity | None, child: subprocess.Popen[bytes] | None) -> None:
        self._identity = identity
        self._child = child
        pid = child.pid if child is not None else identity.pid if identity is not None else 0
        self.pid = pid
        self.started = time.monotonic()
        self.descriptor = exit_descriptor(pid)

    @classmethod
    def start(cls, module: str, arguments: Sequence[str], log: Path, environ: dict[str, str], root: Path) -> Process:
        """Start ``python -m module``. Its standard input stays open as long as we live and want it."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            child = subprocess.Popen(
                # -P: what lies in the user's repository must not be imported in place of a library.
                [sys.executable, "-P", "-m", module, *arguments],
                cwd=root,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return cls(None, child)

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
        """Write an order to its standard input."""
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError, ValueError):
                self._child.stdin.write(line.encode() + b"\n")
                self._child.stdin.flush()

    def ask_to_finish(self) -> None:
        """Close its standard input: it ends after the item in hand."""
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError):
                self._child.stdin.close()

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
        self.ask_to_finish()
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class Place:
    """An agent's place (or the lander's): its state, its process, and what happened to the ones before."""

    def __init__(self, directory: AgentDirectory, module: str, arguments: Sequence[str]) -> None:
        self.directory = directory
        self.name = directory.name
        self.module = module
        self.arguments = tuple(arguments)
        self.state = PlaceState.VACANT
        self.process: Process | None = None
        self.deaths_in_a_row = 0
        self.restarts = 0
        self.resume_at = 0.0  # monotonic seconds
        self.note: str | None = None
        self.wants_room = False  # its next process waits for what the machine lacked, not for the end of a pause
        self.ended_well = False  # its last process ended because it was asked to, all done
        self._log_start = 0

    def start(self, environ: dict[str, str], root: Path) -> None:
        """Start a process here. Raises OSError."""
        log = self.directory.worker_log
        self._log_start = log.stat().st_size if log.exists() else 0
        self.fill(Process.start(self.module, self.arguments, log, environ, root))
        self.note, self.wants_room = None, False

    def fill(self, process: Process) -> None:
        """Let `process` be the one here."""
        self.process, self.ended_well = process, False

    def empty(self) -> None:
        """Let go of the process here, which has ended."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def heartbeat(self) -> Heartbeat | None:
        """Return the heartbeat of the process that is here now, None before its first.

        Raises OSError when it cannot be known (no descriptors left), which must not look like silence.
        """
        beat = read_heartbeat(self.directory)
        return beat if beat is not None and self.process is not None and beat.pid == self.process.pid else None

    def count_death(self) -> None:
        """Count the death of the process here, unless it proved itself before."""
        assert self.process is not None
        beat = self.heartbeat()
        achieved = beat is not None and beat.done + beat.failed > 0
        if achieved or time.monotonic() - self.process.started > _STABLE_SECONDS:
            self.deaths_in_a_row = 0
        self.deaths_in_a_row += 1
        self.restarts += 1

    def last_words(self) -> str:
        """Return the last line that the process here wrote into the worker's own log."""
        try:
            with self.directory.worker_log.open("rb") as log:
                log.seek(max(self._log_start, log.seek(0, os.SEEK_END) - 4096))
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")[:300]
