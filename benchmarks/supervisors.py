"""Supervisors to measure beside ours: each keeps one program running, and starts it again when it died."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from starts import Starts


class Supervisor(NamedTuple):
    """`prepare` writes what it wants in a folder, and returns the command that starts it."""

    name: str
    program: str
    prepare: Callable[[Path, Sequence[str]], list[str]]

    @property
    def path(self) -> str | None:
        beside = Path(sys.executable).with_name(self.program)
        return str(beside) if beside.exists() else shutil.which(self.program)


def _supervisord(folder: Path, argv: Sequence[str]) -> list[str]:
    configuration = folder / "supervisord.conf"
    configuration.write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={folder}/log\npidfile={folder}/pid\n"
        f"[program:restless]\ncommand={shlex.join(argv)}\nautorestart=true\nstartsecs=0\n"
        "stopasgroup=true\nkillasgroup=true\n"
    )
    return ["-c", str(configuration)]


def _circus(folder: Path, argv: Sequence[str]) -> list[str]:
    configuration = folder / "circus.ini"
    ends = "".join(f"{name} = ipc://{folder}/{name}\n" for name in ("endpoint", "pubsub_endpoint"))
    configuration.write_text(
        f"[circus]\n{ends}[watcher:restless]\ncmd = {shlex.join(argv)}\nstop_children = True\ncopy_env = True\n"
    )
    return ["--log-output", str(folder / "log"), str(configuration)]


def _run_script(folder: Path, argv: Sequence[str]) -> list[str]:
    service = folder / "service"
    service.mkdir()
    script = service / "run"
    script.write_text(f"#!/bin/sh\nexec {shlex.join(argv)}\n")
    script.chmod(0o755)
    return [str(service)]


ALL = (
    Supervisor("supervisord", "supervisord", _supervisord),
    Supervisor("circus", "circusd", _circus),
    Supervisor("runit", "runsv", _run_script),
    Supervisor("s6", "s6-supervise", _run_script),
)


@contextlib.contextmanager
def supervised(supervisor: Supervisor, folder: Path, starts: Starts, kind: str) -> Iterator[None]:
    """The program is being kept running."""
    folder.mkdir()
    assert supervisor.path is not None
    options = supervisor.prepare(folder, starts.command(kind))
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen([supervisor.path, *options], cwd=folder, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
