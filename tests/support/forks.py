"""Children of the test itself, forked because thirty-two of them are then there at once and cost next to nothing.

They obey orders, a line each, and answer with lines. A forked child keeps our descriptors, so whoever forks holds no
taker of its own: its locks would outlive it in the children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterator
from types import TracebackType


class Line:
    """The child's end: its orders, and where its answers go."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._file = end.makefile("r")

    def orders(self) -> Iterator[str]:
        """Yield orders until there are none any more."""
        for line in self._file:
            yield line.rstrip("\n")

    def say(self, text: str) -> None:
        self._end.sendall(f"{text}\n".encode())


class Forked:
    """One child, which runs `work` and ends."""

    _ends: set[socket.socket] = set()  # noqa: RUF012 (of all children: none may keep another's open)

    def __init__(self, work: Callable[[Line], None]) -> None:
        self._end, theirs = socket.socketpair()
        self._ends.add(self._end)
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                for end in self._ends:
                    end.close()
                work(Line(theirs))
                status = 0
            except BaseException:  # noqa: BLE001 (nothing of the test may go on in the child)
                traceback.print_exc()
            finally:
                os._exit(status)
        theirs.close()
        self._file = self._end.makefile("r")
        self.status: int | None = None

    def order(self, text: str) -> None:
        self._end.sendall(f"{text}\n".encode())

    def heard(self) -> str:
        """Wait for the next answer; "" when the child has ended."""
        return self._file.readline().rstrip("\n")

    def kill(self) -> None:
        """Kill it with -9, at whatever step it is, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        self.finish()

    def finish(self) -> int:
        """Give no more orders, wait for its end, and return how it ended; twice is once."""
        if self.status is None:
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_WR)
            _, self.status = os.waitpid(self.pid, 0)
            self._file.close()
            self._end.close()
            self._ends.discard(self._end)
        return self.status


class Crew:
    """Children that are gone when the test is, whatever became of it."""

    def __init__(self) -> None:
        self._members: list[Forked] = []

    def start(self, work: Callable[[Line], None]) -> Forked:
        self._members.append(Forked(work))
        return self._members[-1]

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for member in self._members:
            if member.status is None:
                member.kill()
