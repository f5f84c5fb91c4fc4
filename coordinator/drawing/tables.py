"""What `list`, `show` and `status` print for people: plain text that fits the terminal, whole lines in a pipe.

None of it needs Rich, whose import alone takes longer than the rest of such a command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from ...harness.configuration.units import format_duration
from ...queue.records import Item
from ...queue.requests import REVIEW
from ...queue.survey import STATES
from ..snapshot import Snapshot
from . import cells
from .dashboard import Dashboard
from .frame import Column, Frame, Line, Span, text_grid, to_text
from .moments import date_and_clock, short
from .narration import used_text
from .views import HistoryEvent, ItemDetails, ItemRow

_PROMPT_LINES = 20
_LABEL = 10
_LONGEST_VALUE = 20_000

_ITEM_COLUMNS = (
    Column("ID", least=16),
    Column("STATE"),
    Column("TRIES", drop=4, right=True),
    Column("PRIO", drop=6, right=True),
    Column("AGENT", drop=5),
    Column("ROLE", least=8, drop=7),
    Column("COMMIT", drop=8),
    Column("TITLE", least=12, drop=2),
    Column("WHY", least=16, drop=3),
)


def items_table(rows: Sequence[ItemRow], frame: Frame | None = None) -> str:
    """Return a line an item and, below, how many there are in each state. The frame is that of standard output."""
    frame = frame or Frame.of_stream()
    if not rows:
        return "no items; add one with `parallel-loop add PROMPT` or `parallel-loop add --command CMD`"
    counts = Counter(row.state for row in rows)
    words = [Span(f"{len(rows)} item{'' if len(rows) == 1 else 's'}:")]
    words += [Span(f"{counts[state]} {state}") for state in STATES if counts[state]]
    return "\n".join([*text_grid(frame, _ITEM_COLUMNS, map(_item, rows)), "", to_text(frame.flow(words), frame)])


def _item(row: ItemRow) -> tuple[str, ...]:
    return (
        row.id,
        row.state,
        str(row.attempts) if row.attempts else "",
        str(row.priority),
        row.agent or "",
        row.role or "",
        (row.commit or "")[:7],
        row.title,
        row.why or "",
    )


def item_text(details: ItemDetails, item: Item | None = None, frame: Frame | None = None) -> str:
    """Return all that is known of one item; with `item` also what is to be done."""
    frame = frame or Frame.of_stream()
    after = ", ".join(details.after)
    state = f"{details.state}: {details.why}" if details.why else details.state
    if details.state == "waiting" and details.history[-1].outcome == REVIEW:
        approve = f"`parallel-loop approve {details.id}` or `parallel-loop reject {details.id} REASON`"
        state += f"; `parallel-loop diff {details.id}`, then {approve}"
    priority = f"{details.priority} (0 is the most urgent, 9 the least)"
    pairs: list[tuple[str, str | None]] = [
        ("title", details.title),
        ("state", state),
        ("priority", priority),
        ("after", after),
    ]
    pairs += [("role", details.role), ("program", details.program), ("branch", details.branch)]
    pairs += [("commit", details.commit), ("added", date_and_clock(details.added_at))]
    if details.ended_at:
        pairs.append(("ended", date_and_clock(details.ended_at)))
    lines: list[Line] = [[Span(details.id, "title")]]
    for label, value in pairs:
        lines += _field(label, value, frame)
    if item is not None:
        lines += _work(item, frame)
    lines += [[], frame.rule(f"History, {details.attempts} attempt{'' if details.attempts == 1 else 's'}")]
    for before, event in zip((None, *details.history), details.history, strict=False):
        lines += _event(event, before, frame)
    if not details.history:
        lines.append([Span("  nobody has taken it yet")])
    return to_text(lines, frame)


def _field(label: str, value: str | None, frame: Frame, *, indent: int = 2) -> Iterable[Line]:
    """Yield the value beside its label, wrapped; nothing when there is none."""
    if not value:
        return
    start = " " * indent
    room = max(10, frame.width - indent - _LABEL)
    for index, line in enumerate(
        cells.wrap(frame.clean(value, _LONGEST_VALUE), room, 999, ascii_only=frame.ascii_only)
    ):
        yield [Span(start + (label if index == 0 else "").ljust(_LABEL)), Span(line)]


def _work(item: Item, frame: Frame) -> Iterable[Line]:
    yield from _field("paths", ", ".join(item.paths), frame)
    yield from _field("command", item.command, frame)
    yield from _field("timeout", None if item.timeout_seconds is None else format_duration(item.timeout_seconds), frame)
    yield from _field("attempts", None if item.max_attempts is None else f"at most {item.max_attempts}", frame)
    if item.prompt:
        prompt = item.prompt.rstrip().split("\n", _PROMPT_LINES)
        yield []
        yield frame.rule("Prompt")
        for line in prompt[:_PROMPT_LINES]:
            yield [Span("  " + frame.clean(line.replace("\t", "    ")))]
        if len(prompt) > _PROMPT_LINES:
            yield [Span(f"  and more, {len(item.prompt):,} characters in all", "dim")]


def _event(event: HistoryEvent, before: HistoryEvent | None, frame: Frame) -> Iterable[Line]:
    """Yield the event and, below it, what the one before did not say of the same attempt."""
    name = event.event if event.attempt is None else f"#{event.attempt} {event.event}"
    if event.outcome and event.outcome != event.event:
        name += f" ({event.outcome})"
    if not event.counted:
        name += ", costs no attempt"
    at = date_and_clock(event.at) if event.at else ""
    yield [Span(f"  {cells.pad(at, 19)}  {name}"), Span(f"  {event.agent}" if event.agent else "")]
    said = set(_facts(before)) if before is not None and before.attempt == event.attempt else set()
    for label, value in _facts(event):
        if (label, value) not in said:
            yield from _field(label, value, frame, indent=6)


def _facts(event: HistoryEvent) -> list[tuple[str, str | None]]:
    return [
        ("why", event.why),
        ("took", short(event.seconds)),
        ("next", event.not_before and f"not before {date_and_clock(event.not_before)}"),
        ("branch", event.branch),
        ("commit", event.commit),
        ("log", event.log),
        ("program", event.program if event.session or event.usage else None),
        ("session", event.session),
        ("used", used_text(event.usage) if event.usage else None),
    ]


def status_text(snapshot: Snapshot, frame: Frame | None = None) -> str:
    """Return the snapshot as text: what the dashboard shows, without an end."""
    frame = frame or Frame.of_stream()
    lines = Dashboard(snapshot).lines(frame)
    if snapshot.coordinator.state == "stopped":
        lines.insert(1, [Span("no coordinator runs here; start one with `parallel-loop run`", "dim")])
    return to_text(lines, frame)
