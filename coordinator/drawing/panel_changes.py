"""The lower parts of the dashboard: what needs a person, and what changed last."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..snapshot import AccountStatus, Attention, Conflict, RecentItem
from . import cells
from .frame import Column, Frame, Line, Span, grid
from .moments import clock, seconds_since, short
from .signs import STATES

_WIDE = 120  # from here on there is room for title and reason side by side


def attention(entry: Attention, frame: Frame) -> list[Line]:
    """Return what is the matter, and below it the command to run, which is never cut: it is there to be copied.

    Where there is room without end, what a log says stands in between.
    """
    mark = frame.sign("▲", "!")
    name = "" if entry.item is None else f"{frame.clean(entry.item)}: "
    text = cells.wrap(name + frame.clean(entry.why), frame.width - 2, 2, ascii_only=frame.ascii_only)
    lines = [[Span(f"{mark if first else ' '} ", "warn"), Span(line)] for first, line in _marked(text)]
    if frame.height is None:
        said = (cells.cut(frame.clean(line), frame.width - 4, ascii_only=frame.ascii_only) for line in entry.lines)
        lines += [[Span("  | ", "dim"), Span(line, "dim")] for line in said]
    if entry.next:
        room = max(1, frame.width - 4)
        command = cells.wrap(frame.clean(entry.next), room, 99, ascii_only=frame.ascii_only)
        lines += [[Span(f"  {'$' if first else ' '} ", "dim"), Span(line, "title")] for first, line in _marked(command)]
    return lines


def _marked(lines: Iterable[str]) -> Iterable[tuple[bool, str]]:
    return ((index == 0, line) for index, line in enumerate(lines))


_STATES = {
    "limited": "at its limit",
    "backing-off": "its service is busy",
    "refused": "refused",
    "open": "open",
}


def account(entry: AccountStatus, now: str, frame: Frame) -> Line:
    """Return one line: how an account stands, and when that changes."""
    words = f"{frame.clean(entry.name)}: {_STATES[entry.state]}"
    key = f" (`{entry.held_by}`)" if entry.held_by else ""
    if entry.held_by and entry.resets_at:
        words = f"{frame.clean(entry.name)}: its limit is over at {clock(entry.resets_at)}, it goes on "
        words += f"at {clock(entry.until)}{key}" if entry.until else f"with `parallel-loop resume`{key}"
    elif entry.until is None:
        words += ", until `parallel-loop resume`"
    elif entry.until > now:
        wait = seconds_since(now, entry.until)
        words += f" until {clock(entry.until)} (in {short(wait)})"
    if entry.cap is not None:
        words += f", {entry.in_use} of at most {entry.cap} at once"
    if entry.why and entry.state != "open":
        words += f": {frame.clean(entry.why)}"
    return [Span("  "), Span(cells.cut(words, frame.width - 2, ascii_only=frame.ascii_only))]


def conflict(entry: Conflict, frame: Frame) -> Line:
    """Return one line: who would conflict, and where."""
    items = [frame.clean(item) for item in entry.items]
    who = " and ".join(items) if len(items) > 1 else f"{items[0]} and what has landed"
    where = ", ".join(map(frame.clean, entry.paths))
    return [Span("  "), Span(cells.cut(f"{who}: {where}", frame.width - 2, ascii_only=frame.ascii_only))]


_COLUMNS = (
    Column("TIME", drop=3),
    Column("STATE"),
    Column("ITEM", least=14, keep="#"),
    Column("TOOK", drop=4, right=True),
    Column("AGENT", drop=5),
    Column("ABOUT", least=12, drop=2),
)


def recent(items: Sequence[RecentItem], frame: Frame) -> list[Line]:
    """Return a line for each of the items that changed last."""
    return grid(frame, _COLUMNS, [_recent(item, frame) for item in items], titles=False)


def _recent(item: RecentItem, frame: Frame) -> list[Span]:
    symbol, plain, style = STATES.get(item.state, ("", "", ""))
    about = item.title
    if item.why:
        about = f"{item.title}: {item.why}" if frame.width >= _WIDE else item.why
    return [
        Span(clock(item.at), "dim"),
        Span(f"{frame.sign(symbol, plain)} {item.state}", style),
        Span(f"{item.id}#{item.attempts}" if item.attempts else item.id),
        Span(short(item.seconds), "dim"),
        Span(item.agent or "", "dim"),
        Span(about, "" if item.why else "dim"),
    ]
