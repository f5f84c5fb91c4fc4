"""The dashboard: a picture of one snapshot and of nothing else, in whatever room there is.

Narrow frames lose columns, low ones lose first the changes, then the calm agents, then all but the most urgent call
for a person. Nothing is drawn beyond the frame's height, so that a terminal never scrolls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..snapshot import Snapshot
from .frame import Frame, Line, Span, crop
from .panel_agents import agents
from .panel_changes import account, attention, conflict, recent
from .panels import header, queue

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

_LEAST_AGENTS = 5  # lines: the heading, the titles and three agents
_LEAST_RECENT = 4  # lines: the heading and three more
_CONFLICTS = 5  # lines
_ACCOUNTS = 3  # lines
_RECENT_WITHOUT_END = 10  # where the height is not limited

_STYLES = {
    "": "",
    "title": "bold",
    "good": "green",
    "busy": "cyan",
    "warn": "yellow",
    "bad": "bold red",
    "dim": "dim",
}


class Dashboard:
    """A Rich renderable. `now` is the recorded time at which it is looked at (default: that of the snapshot);
    `hint` is a last line that says what the keyboard does.
    """

    def __init__(self, snapshot: Snapshot, now: str | None = None, *, hint: str = "") -> None:
        self._snapshot = snapshot
        self._now = snapshot.at if now is None else now
        self._hint = hint

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        height = options.height or options.max_height
        frame = Frame(options.max_width, height, ascii_only=options.ascii_only)
        styles = {name: console.get_style(style) for name, style in _STYLES.items()}
        for line in self.lines(frame):
            for span in crop(line, frame.width, ascii_only=frame.ascii_only):
                yield Segment(span.text, styles[span.style])
            yield Segment.line()

    def lines(self, frame: Frame) -> list[Line]:
        """Return the picture, the most important above."""
        snapshot = self._snapshot
        top = [header(snapshot, self._now, frame)]
        counts = [frame.rule("Queue"), *queue(snapshot, frame), *self._accounts(frame)]
        room = None if frame.height is None else frame.height - len(top) - len(counts) - bool(self._hint)
        places = self._agents(frame, room)
        calls = self._calls(frame, _less(room, len(places) + self._least_recent()))
        clashes = self._conflicts(frame, _less(room, len(places) + len(calls) + self._least_recent()))
        changes = self._recent(frame, _less(room, len(places) + len(calls) + len(clashes)))
        body = [*top, *places, *counts, *calls, *clashes, *changes]
        if frame.height is not None:
            body = body[: max(1, frame.height - bool(self._hint))]
        return [*body, [Span(self._hint, "dim")]] if self._hint and frame.height != 1 else body

    def _least_recent(self) -> int:
        return min(_LEAST_RECENT, 1 + len(self._snapshot.recent)) if self._snapshot.recent else 0

    def _least_calls(self, frame: Frame) -> int:
        calls = self._snapshot.attention
        return 1 + len(attention(calls[0], frame)) if calls else 0

    def _agents(self, frame: Frame, room: int | None) -> list[Line]:
        if not self._snapshot.agents:
            return []
        left = _less(room, self._least_calls(frame) + self._least_recent())
        rows = None if left is None else max(_LEAST_AGENTS, left) - 2  # less heading and titles
        return [frame.rule("Agents"), *agents(self._snapshot, self._now, frame, rows)]

    def _calls(self, frame: Frame, room: int | None) -> list[Line]:
        entries = self._snapshot.attention
        if not entries:
            return []
        lines: list[Line] = [frame.rule(f"Needs you ({len(entries)})")]
        for index, entry in enumerate(entries):
            block = attention(entry, frame)
            is_last = index == len(entries) - 1
            if index and room is not None and len(lines) + len(block) + (not is_last) > room:
                lines.append([Span(f"and {len(entries) - index} more: parallel-loop status", "dim")])
                break
            lines += block
        return lines

    def _conflicts(self, frame: Frame, room: int | None) -> list[Line]:
        """Return what is foreseen, where there is room: nobody has to do anything about it."""
        entries = self._snapshot.conflicts
        shown = entries[: _CONFLICTS if room is None else max(0, min(_CONFLICTS, room - 2))]
        if not shown:
            return []
        lines = [
            frame.rule(f"Branches that conflict so far ({len(entries)})"),
            *(conflict(one, frame) for one in shown),
        ]
        if len(entries) > len(shown):
            lines.append([Span(f"  and {len(entries) - len(shown)} more: parallel-loop status --json", "dim")])
        return lines

    def _accounts(self, frame: Frame) -> list[Line]:
        entries = self._snapshot.accounts
        shown = entries if frame.height is None else entries[:_ACCOUNTS]
        lines = [account(one, self._now, frame) for one in shown]
        if len(entries) > len(shown):
            lines.append([Span(f"  and {len(entries) - len(shown)} more: parallel-loop status", "dim")])
        return [frame.rule(f"Accounts ({len(entries)})"), *lines] if entries else []

    def _recent(self, frame: Frame, room: int | None) -> list[Line]:
        items = self._snapshot.recent[: _RECENT_WITHOUT_END if room is None else max(0, room - 1)]
        return [frame.rule("Changed last"), *recent(items, frame)] if items else []


def _less(room: int | None, lines: int) -> int | None:
    return None if room is None else room - lines
