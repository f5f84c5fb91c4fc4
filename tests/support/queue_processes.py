"""Starting, hearing and killing the processes of `queue_worker.py`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

_SCRIPT = Path(__file__).with_name("queue_worker.py")


class QueueProcess:
    """One such process. What it says is read when it is asked for, so it never waits for us."""

    def __init__(self, *arguments: str) -> None:
        # -P: with tests/support on the path, its modules could shadow others.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def said(self) -> str | None:
        """Wait for the next line and return it; None when the process has ended."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return line.decode().rstrip("\n") if line else None

    def tell(self, times: int = 1) -> None:
        """Let it go on, so many steps."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it may have ended
            self._process.stdin.write(b"!" * times)

    def kill(self) -> list[str]:
        """Kill it with -9, wait for its end, and return what it had said that nobody had read."""
        self._process.kill()
        return self.finish()

    def finish(self) -> list[str]:
        """Close its input, wait for its end, and return the rest of what it said."""
        rest, _ = self._process.communicate()
        return rest.decode().splitlines()


def start(mode: str, root: Path, name: str, seed: int = 0) -> QueueProcess:
    return QueueProcess(mode, str(root), name, str(seed))
