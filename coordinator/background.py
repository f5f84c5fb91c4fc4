"""Starting a coordinator that outlives the terminal, and knowing whether it is up.

Guarantees: whoever is told that it is up has a coordinator that holds its lock, has published its status, and whose
workers have given a sign of life or are told of. Its log is bounded (by itself, see run.py), and nothing of it holds
the terminal, or a file of the caller, open.
"""

from __future__ import annotations

import os
import secrets
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..harness.keeping.processes import exit_descriptor
from ..harness.logs import open_log, output_tail
from ..harness.project import Project
from .lock import AlreadyRunning, read_holder
from .notify import ADDRESS

_PATIENCE_SECONDS = 90.0  # as long as systemd gives a service; a worker's first sign of life comes before any git
_LOOK_SECONDS = 0.1  # how soon an end is noticed where there is no pidfd
_LONGEST_MESSAGE_BYTES = 65_536
_CREDENTIALS = struct.Struct("3i")  # of who speaks: process, user, group


@dataclass(frozen=True)
class Launch:
    """What became of a coordinator: `exit_code` is None while it lives, `status` what it said when it was up."""

    pid: int
    exit_code: int | None
    status: str | None
    last_words: str


def run_options(agents: int | None, drain: bool) -> list[str]:
    """Return the options of `run` that mean this."""
    return [*([] if agents is None else ["--agents", str(agents)]), *(["--drain"] if drain else [])]


def launch(project: Project, options: Sequence[str]) -> Launch:
    """Start `parallel-loop run` with `options` in a session of its own; return when it is up or has ended.

    Raises AlreadyRunning, OSError. Told to stop waiting (KeyboardInterrupt), it asks the coordinator to end.
    """
    holder = read_holder(project.state.coordinator_lock)
    if holder is not None:
        raise AlreadyRunning(holder)
    project.state.create()
    log = project.state.coordinator_log
    with _listening() as (listener, address), open_log(log) as output:
        since = os.fstat(output.fileno()).st_size
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(project.root), "run", *options],
            cwd=project.root,
            env={**os.environ, ADDRESS: address},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            status = _wait(listener, child)
        except KeyboardInterrupt:
            child.terminate()
            raise
    if child.returncode == 3:  # somebody else was quicker; what is in the log is of both
        raise AlreadyRunning(read_holder(project.state.coordinator_lock))
    return Launch(child.pid, child.returncode, status, _last_words(log, since))


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket on which readiness is told, and its address as NOTIFY_SOCKET has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setblocking(False)
        if (
            os.uname().sysname == "Linux"
        ):  # without a file: nothing to remove, however we end, and no path too long for it
            address = f"@parallel-loop-{secrets.token_hex(8)}"
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            listener.bind("\0" + address[1:])
            yield listener, address
            return
        with tempfile.TemporaryDirectory(prefix="parallel-loop-") as folder:
            address = str(Path(folder, "notify"))
            listener.bind(address)
            yield listener, address


def _wait(listener: socket.socket, child: subprocess.Popen[bytes]) -> str | None:
    """Wait until the child says that it is ready, and return the status that it gives; None when it does not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    descriptor = exit_descriptor(child.pid)
    watched = [listener.fileno(), *([] if descriptor is None else [descriptor])]
    try:
        while child.poll() is None and (left := deadline - time.monotonic()) > 0:
            select.select(watched, (), (), left if descriptor is not None else min(left, _LOOK_SECONDS))
            fields = _receive(listener, child.pid)
            if fields.get("READY") == "1":
                return fields.get("STATUS", "")
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return None


def _receive(listener: socket.socket, speaker: int) -> dict[str, str]:
    """Return what process `speaker` says: a program can read the address in its environment, and speak as well."""
    with suppress(BlockingIOError):
        data, told, _, _ = listener.recvmsg(_LONGEST_MESSAGE_BYTES, socket.CMSG_SPACE(_CREDENTIALS.size))
        if all(_CREDENTIALS.unpack(who)[0] == speaker for _, _, who in told):
            text = data.decode(errors="replace")
            return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {}


def _last_words(log: Path, since: int) -> str:
    """Return the last line that was written to the log after `since`: whatever ends the coordinator is told last."""
    return output_tail(log, since).rpartition("\n")[2].strip().removeprefix("parallel-loop: ")
