"""`run --debug`: the single-agent loop, which tells all that it does and can be stopped by a breakpoint.

Programs and git get no terminal, as ever. While somebody looks around in the debugger the claim stays ours (it is a
lock that this process holds), but the time of a running program goes on.
"""

from __future__ import annotations

import bdb
import inspect
import logging
import os
import pdb
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from ..harness.configuration.wording import one_line
from ..harness.project import Project
from ..loop import run_alone
from .commands.harmless import Harmless

_PIECE_BYTES = 65_536
_HASH = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{28,52}\b")  # git understands the beginning as well


class Teller(logging.Handler):
    """Writes every step to `out`, and what a command prints as soon as it is in the command's log.

    `tell` shows what else has happened; it is called before every step, so that all stands in the order it came.
    """

    def __init__(self, out: TextIO, tell: Callable[[], None], *, colour: bool) -> None:
        super().__init__()
        self._out = out
        self._tell = tell
        self._harmless = Harmless(colour=colour)
        self._log: Path | None = None
        self._offset = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one step, after all that came before it."""
        with suppress(OSError):  # nobody reads any more (`| head`): no fault of what is told of
            self.show()
            said = _HASH.sub(r"\1", record.getMessage())
            self._out.write(f"[{record.module}] {one_line(said)}\n")
            self._out.flush()
        log = getattr(record, "output", None)
        if log is not None:
            self._log, self._offset = log, _size(log)

    def show(self) -> None:
        """Show what the command printed and what happened since the last time."""
        if self._log is not None:
            self._show_output(self._log)
        self._tell()

    def _show_output(self, path: Path) -> None:
        self._offset = min(self._offset, _size(path))  # the middle of an endless one is cut out
        with suppress(OSError):  # the program removed it, or put something else there
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as log:  # noqa: PTH123 (a descriptor has no path)
                log.seek(self._offset)
                while piece := log.read(_PIECE_BYTES):
                    self._offset += len(piece)
                    self._out.write(self._harmless.take(piece))
        self._out.flush()


def run_debugging(project: Project, target: str, *, drain: bool, tell: Callable[[], None], colour: bool) -> int:
    """Run the single-agent loop in this process and return the exit code. Raises KeyboardInterrupt for `q` in pdb."""
    teller = Teller(sys.stdout, tell, colour=colour)
    logger = logging.getLogger(__name__.partition(".")[0])
    logger.setLevel(logging.DEBUG)
    logger.addHandler(teller)
    if "PYTHONBREAKPOINT" not in os.environ:
        sys.breakpointhook = _stop_here
    try:
        return run_alone(project, target, drain=drain, tell=teller.show)
    except bdb.BdbQuit:
        raise KeyboardInterrupt from None
    finally:
        logger.removeHandler(teller)


def _stop_here() -> None:
    """Stop where `breakpoint()` was called. Unlike pdb's own, it leaves Ctrl-C what it is elsewhere."""
    frame = inspect.currentframe()
    pdb.Pdb(nosigint=True).set_trace(None if frame is None else frame.f_back)


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_size
    return 0
