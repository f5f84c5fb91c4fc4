"""A place, an agent's or the lander's: its state, the process that fills it, and what became of the ones before."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from ..harness.logs import output_tail
from ..harness.state import AgentDirectory, Heartbeat
from .lifecycle import PlaceState
from .machine import Machine
from .process import Process
from .restarts import Restarts

__all__ = ["Place", "Process"]

_SLACK_SECONDS = 1.0  # both clocks are the kernel's


class Place:
    """An agent's place (or the lander's): its state, its process, and what happened to the ones before."""

    def __init__(
        self, directory: AgentDirectory, module: str, arguments: Sequence[str], machine: Machine | None = None
    ) -> None:
        self.directory = directory
        self.name = directory.name
        self.module = module
        self.arguments = tuple(arguments)
        self.machine = machine or Machine()
        self.state = PlaceState.VACANT
        self.process: Process | None = None
        self.restarts = Restarts()
        self.resume_at = 0.0  # monotonic seconds
        self.told_to_stop = 0.0  # when, while it is STOPPING (monotonic seconds)
        self.note: str | None = None
        self.wants_room = False  # its next process waits for what the machine lacked, not for the end of a pause
        self.last_lines: tuple[str, ...] = ()  # of the log of the worker for which the place was given up
        self.ended_well = False  # its last process ended because it was asked to, all done
        self.done = self.failed = 0  # attempts of the processes that were here before in this run
        self._log_start = 0
        self._last_beat: Heartbeat | None = None

    def start(self, environ: dict[str, str], root: Path) -> None:
        """Start a process here. Raises OSError."""
        log = self.directory.worker_log
        self._log_start = log.stat().st_size if log.exists() else 0
        self.fill(self.machine.start(self.module, self.arguments, log, environ, root))
        self.note, self.wants_room, self.last_lines = None, False, ()

    def fill(self, process: Process) -> None:
        """Let `process` be the one here."""
        self.process, self.ended_well = process, False

    def empty(self) -> None:
        """Let go of the process here, which has ended."""
        if self.process is not None:
            with contextlib.suppress(OSError):  # counts that cannot be read are no reason to keep the dead
                beat = self.heartbeat()
                if beat is not None:
                    self.done, self.failed = self.done + beat.done, self.failed + beat.failed
            self.process.close()
            self.process = None

    def heartbeat(self) -> Heartbeat | None:
        """Return the heartbeat of the process that is here now, None before its first.

        One of the future is not its own, and would hide its silence for ever: what it said before counts on.
        Raises OSError when it cannot be known (no descriptors left), which must not look like silence.
        """
        beat = self.machine.heartbeat(self.directory)
        if beat is not None and beat.beat > self.machine.monotonic() + _SLACK_SECONDS:
            beat = self._last_beat
        self._last_beat = beat
        return beat if beat is not None and self.process is not None and beat.pid == self.process.pid else None

    def count_death(self) -> None:
        """Count the death of the process here."""
        assert self.process is not None
        beat = self.heartbeat()
        achieved = beat is not None and beat.done + beat.failed > 0
        self.restarts.note_death(self.machine.monotonic() - self.process.started, achieved=achieved)

    def keep_last_lines(self) -> None:
        """Remember how the log ends, of the process here and of those before that died as it did."""
        self.last_lines = tuple(output_tail(self.directory.worker_log).splitlines())

    def last_words(self) -> str:
        """Return the last line that the process here wrote into the worker's own log."""
        return output_tail(self.directory.worker_log, self._log_start).rpartition("\n")[2].strip()[:300]
