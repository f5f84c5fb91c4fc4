"""The dashboard on a terminal: drawn again whenever there is something new, and the terminal put back at the end.

Guarantees: whatever ends the view, the terminal is as before, with the last picture left on it; showing a snapshot
takes milliseconds, never waits for the terminal, and sends only the lines that differ.
Assumes: nobody else writes to the terminal meanwhile (what they write is overdrawn), and whoever shows does so about
once a second: a changed size is noticed when the next snapshot is shown. Only SIGKILL and Ctrl-Z leave the terminal
in the middle of it.

Rich's own Live is not used: it draws below what was printed before, so a resized window leaves pieces of old pictures,
and it waits for the terminal, which would stop a coordinator whose user pressed Ctrl-S and went home.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import IO, TYPE_CHECKING

from ...queue.clock import utc_now
from ..snapshot import CoordinatorState, Snapshot
from .dashboard import Dashboard
from .terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Console

_REDRAW_SECONDS = 0.25
# The other screen, so that what the user had on this one is there again afterwards; no cursor; long lines are cut.
_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"

RUN_HINTS: Mapping[CoordinatorState, str] = {
    "running": "Ctrl-C: take no more, finish the work in hand",
    "paused": "parallel-loop resume: go on    Ctrl-C: finish the work in hand",
    "finishing": "Ctrl-C again: stop the programs now, give the items back",
}


class LiveView:
    """Shows snapshots on the terminal of `console` while it is entered.

    `hints` say what the keyboard does, by the coordinator's state.
    """

    shows_time = True

    def __init__(
        self,
        console: Console,
        *,
        hints: Mapping[CoordinatorState, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._hints = hints or {}
        self._clock = clock
        self._terminal: Terminal | None = None
        self._latest: Snapshot | None = None
        self._drawn: list[str] = []
        self._size: tuple[int, int] = (0, 0)
        self._due = 0.0
        self.last_words = ""  # a line below the last picture

    def __enter__(self) -> LiveView:
        self._terminal = Terminal(self._console.file)
        self._drawn, self._size, self._due = [], (0, 0), self._clock()
        self._terminal.send(_ENTER)
        return self

    def show(self, picture: Snapshot) -> None:
        """Draw `picture`, unless the last one was drawn a moment ago or the terminal has not taken it yet."""
        self._latest = picture
        if self._terminal is None or self._clock() < self._due or not self._terminal.is_ready:
            return
        self._due = self._clock() + _REDRAW_SECONDS
        self._terminal.send(self._difference(self._render(picture, self._hints.get(picture.coordinator.state, ""))))

    def _render(self, picture: Snapshot, hint: str, *, less: int = 0) -> list[str]:
        """Return the lines; `less` is how many lines of the screen are left free."""
        console, size = self._console, self._console.size
        dashboard = Dashboard(picture, max(utc_now(), picture.at), hint=hint)
        with console.capture() as captured:
            console.print(dashboard, height=max(1, size.height - less), end="")
        return captured.get().split("\n")[:-1]

    def _difference(self, lines: list[str]) -> str:
        """Return what turns the screen as it is drawn into `lines`."""
        size, drawn = self._console.size, self._drawn
        start = ""
        if size != self._size:
            start, drawn = "\x1b[2J", []
        self._size, self._drawn = size, lines
        changes = [
            f"\x1b[{row};1H\x1b[2K{line}"
            for row, line in enumerate(lines, start=1)
            if row > len(drawn) or line != drawn[row - 1]
        ]
        # Below the picture: what the last one had more.
        end = f"\x1b[{len(lines) + 1};1H\x1b[J" if len(drawn) > len(lines) else ""
        return start + "".join(changes) + end

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        terminal, self._terminal = self._terminal, None
        if terminal is None:
            return
        terminal.send(_LEAVE)  # first of all, should a second Ctrl-C break off the rest
        try:
            with suppress(ValueError):  # a console that was closed by now
                if self._latest is not None:
                    # A line is left free for the prompt that follows.
                    words = [self.last_words] if self.last_words else []
                    terminal.send("\n".join([*self._render(self._latest, "", less=1 + len(words)), *words]) + "\n")
        finally:
            terminal.close()


def open_live_view(*, no_color: bool = False, hints: Mapping[CoordinatorState, str] | None = None) -> LiveView:
    """Return a view for standard output, which must be a terminal. `NO_COLOR` counts like `no_color`."""
    from rich.console import Console

    return LiveView(Console(no_color=True if no_color else None, highlight=False), hints=hints)


def can_draw(stream: IO[str], environ: Mapping[str, str]) -> bool:
    """Return whether pictures can be drawn on `stream`: a terminal that moves its cursor when told to."""
    return stream.isatty() and environ.get("TERM", "") not in {"", "dumb", "unknown"}
