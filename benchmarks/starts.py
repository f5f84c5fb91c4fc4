"""Where runs of `restless.py` announce themselves: when each began, and when the last process of it had ended."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAM = Path(__file__).with_name("restless.py")


class Start:
    """One run of the program."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.at = time.monotonic()
        self.pid = 0
        self.gone_at: float | None = None  # when nothing of it was left

    def finish(self) -> None:
        """Have it end by itself; its helpers stay."""
        with contextlib.suppress(OSError):
            self.connection.send(b".")


class Starts:
    """All runs that announce themselves at one socket. Times are those of the monotonic clock."""

    def __init__(self, address: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(address))
        self._server.listen(64)
        self._address = address
        self._poll = select.poll()
        self._poll.register(self._server, select.POLLIN)
        self._open: dict[int, Start] = {}
        self._reaped: dict[int, float] = {}
        self._watched: set[int] = set()
        self.all: list[Start] = []

    def command(self, kind: str) -> list[str]:
        return [sys.executable, "-I", "-S", str(PROGRAM), kind, str(self._address)]

    def watch_end_of(self, pid: int) -> int:
        """Return a descriptor: `reaped` tells when that process was not only dead, but its parent knew (Linux 6.9)."""
        descriptor = os.pidfd_open(pid)
        self._watched.add(descriptor)
        self._poll.register(descriptor, 0)
        return descriptor

    def reaped(self, descriptor: int) -> float | None:
        return self._reaped.get(descriptor)

    def forget(self, descriptor: int) -> None:
        if descriptor in self._watched:
            self._poll.unregister(descriptor)
            self._watched.discard(descriptor)
        self._reaped.pop(descriptor, None)
        os.close(descriptor)

    def until(self, condition: Callable[[], object], seconds: float, look_seconds: float = 0.002) -> bool:
        """Note what happens until `condition` holds; False when it does not for so long."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            self._note(look_seconds)
        return True

    def pass_time(self, seconds: float) -> None:
        """Note what happens for so long."""
        self.until(lambda: False, seconds, look_seconds=min(seconds, 0.05))

    def _note(self, seconds: float) -> None:
        ready = self._poll.poll(1000 * seconds)
        now = time.monotonic()
        for descriptor, _ in ready:
            if descriptor in self._watched:
                self._reaped[descriptor] = now
                self._watched.discard(descriptor)
                self._poll.unregister(descriptor)
            elif descriptor == self._server.fileno():
                start = Start(self._server.accept()[0])
                self._open[start.connection.fileno()] = start
                self._poll.register(start.connection, select.POLLIN)
                self.all.append(start)
            else:
                self._read(descriptor, now)

    def _read(self, descriptor: int, now: float) -> None:
        start = self._open[descriptor]
        try:
            data = start.connection.recv(64)
        except OSError:
            data = b""
        if data:
            start.pid = int(data)
            return
        start.gone_at = now
        self._poll.unregister(descriptor)
        del self._open[descriptor]
        start.connection.close()

    def living(self) -> list[Start]:
        """The runs whose program is there and has all of its helpers."""
        return [start for start in self._open.values() if start.pid and Path(f"/proc/{start.pid}").exists()]

    def close(self) -> None:
        for start in self._open.values():
            start.connection.close()
        self._server.close()


@contextlib.contextmanager
def listening(folder: Path) -> Iterator[Starts]:
    starts = Starts(folder / "s")  # a socket's path is short
    try:
        yield starts
    finally:
        starts.close()
        (folder / "s").unlink(missing_ok=True)
