"""A terminal to draw on that can never hold up who draws.

Guarantees: `send` does not wait, whether the terminal is stopped by Ctrl-S, is read by nobody (a frozen ssh
connection) or is gone. What it did not take is sent first the next time, so that no escape sequence is torn.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from typing import IO

_LAST_WORDS_SECONDS = 1.0


class Terminal:
    """The terminal behind a text stream, for writing."""

    def __init__(self, stream: IO[str]) -> None:
        stream.flush()
        self._stream = stream
        self._pending = b""
        self._gone = False
        # A description of our own: non-blocking mode set on the inherited one would hit everybody who shares it.
        self._descriptor: int | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._descriptor = os.open(
                os.ttyname(stream.fileno()), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )

    @property
    def is_ready(self) -> bool:
        """True when the terminal has taken all that it was sent."""
        self.send("")
        return not self._pending and not self._gone

    def send(self, text: str) -> None:
        """Send `text`, as much of it as the terminal takes now."""
        if self._gone:
            return
        if self._descriptor is None:
            self._send_to_stream(text)
            return
        self._pending += text.encode(getattr(self._stream, "encoding", None) or "utf-8", "replace")
        try:
            while self._pending:
                self._pending = self._pending[os.write(self._descriptor, self._pending) :]
        except BlockingIOError:
            return
        except OSError:  # closed by its user; the work goes on without a picture
            self._gone = True

    def _send_to_stream(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            self._gone = True

    def close(self) -> None:
        """Wait a moment for the terminal to take the rest, then let go of it."""
        if self._descriptor is None:
            return
        until = time.monotonic() + _LAST_WORDS_SECONDS
        while not self.is_ready and not self._gone and (left := until - time.monotonic()) > 0:
            select.select([], [self._descriptor], [], left)
        os.close(self._descriptor)
        self._descriptor = None
        self._gone = True
