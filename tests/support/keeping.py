"""A process that does what a worker does with a command: holds its keeper's life-line, and may be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from parallel_loop.harness.keeping.bounds import Bounds
from parallel_loop.harness.keeping.kept import Command, Kept


def start_holder(folder: Path, *argv: str, group: str = "") -> subprocess.Popen[bytes]:
    """Start a process that runs `argv` under a keeper and then waits."""
    command = [sys.executable, "-P", __file__, str(folder), group, *argv]
    paths = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen(command, env=dict(os.environ) | paths, start_new_session=True)


def main(folder: str, group: str, *argv: str) -> None:
    kept = Kept(Command(argv, Path(folder), dict(os.environ), Path(folder, "log"), None, Bounds(group=group)))
    while not kept.is_gone:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
