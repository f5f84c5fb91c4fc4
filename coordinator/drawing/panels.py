"""The upper parts of the dashboard: the coordinator's line and the queue. Pure functions from the snapshot to lines."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...harness.configuration.units import format_duration
from ..snapshot import Snapshot
from . import cells
from .frame import Frame, Line, Span
from .moments import clock, seconds_since, short, short_size
from .signs import COORDINATOR_STYLES, STATES

_STALE_SECONDS = 10.0  # the coordinator writes every second: an older snapshot is said to be old
_WIDEST_BAR = 120

# In the order of the bar: what is over, what is in hand, what needs a person, what is to come.
_BAR = (
    (("done",), "█", "#", "good"),
    (("landing", "working"), "▓", "=", "busy"),
    (("waiting",), "?", "?", "warn"),
    (("failed",), "✗", "x", "bad"),
    (("ready", "delayed", "blocked"), "░", ".", "dim"),
)


def header(snapshot: Snapshot, now: str, frame: Frame) -> Line:
    """Return one line on the coordinator; what matters least is left out where there is no room."""
    coordinator, target = snapshot.coordinator, snapshot.target
    uptime = coordinator.uptime_seconds
    parts = [
        (3, Span("parallel-loop", "title")),
        (0, Span(coordinator.state, COORDINATOR_STYLES[coordinator.state])),
        (1, _target(snapshot, frame)),
        (5, Span("" if target.landed is None else frame.clean(target.landed[:7]), "dim")),
        (2, Span("" if uptime is None else f"up {short(uptime)}")),
        (1, Span(_agent_count(snapshot))),
        (2, Span(_cost(snapshot))),
        (4, Span(_agents_by(snapshot), "dim")),
        (7, Span("" if coordinator.cpu_percent is None else f"cpu {coordinator.cpu_percent:.1f}%", "dim")),
        (8, Span("" if coordinator.rss_bytes is None else f"mem {short_size(coordinator.rss_bytes)}", "dim")),
        (9, Span("" if coordinator.containment is None else f"held by {coordinator.containment}", "dim")),
    ]
    age = seconds_since(snapshot.at, now)
    if age is not None and age > _STALE_SECONDS:
        parts.append((0, Span(f"as of {short(age)} ago", "warn")))
    else:
        parts.append((6, Span(clock(now), "dim")))
    parts = [part for part in parts if part[1].text]
    while len(parts) > 1 and _length(parts) > frame.width and max(drop for drop, _ in parts):
        parts.remove(max(parts, key=lambda part: part[0]))
    line: Line = []
    for _, span in parts:
        line += [Span("  "), span] if line else [span]
    return line


def _length(parts: Sequence[tuple[int, Span]]) -> int:
    return sum(cells.width(span.text) + 2 for _, span in parts) - 2


def _target(snapshot: Snapshot, frame: Frame) -> Span:
    target = snapshot.target
    if target.name is None:
        return Span("")
    name = cells.cut(frame.clean(target.name), max(8, frame.width // 4), ascii_only=frame.ascii_only)
    arrow = frame.sign("→", "->")
    return Span(f"{arrow} {name} (blocked)", "warn") if target.blocked else Span(f"{arrow} {name}")


def _agent_count(snapshot: Snapshot) -> str:
    alive = sum(agent.health not in {"dead", "failing", "off"} for agent in snapshot.agents)
    wanted = snapshot.coordinator.wanted_agents
    if wanted is not None and wanted != alive:
        return f"{alive} of {wanted} agents"
    return f"{alive} agent{'' if alive == 1 else 's'}" if alive or wanted is not None else ""


def _cost(snapshot: Snapshot) -> str:
    cost, most = snapshot.coordinator.run_usd, snapshot.coordinator.run_budget_usd
    if cost is None:
        return ""
    return f"${cost:.2f}" + (f" of ${most:.2f}".removesuffix(".00") if most is not None else "")


def _agents_by(snapshot: Snapshot) -> str:
    """Say what decides how many agents are wanted, when that is not what the configuration says."""
    by, configured = snapshot.coordinator.agents_by, snapshot.coordinator.configured_agents
    return f"by {by}, not `agents: {configured}`" if by and configured is not None else ""


def queue(snapshot: Snapshot, frame: Frame) -> list[Line]:
    """Return the bar, the counts in words and the totals."""
    counts: dict[str, int] = msgspec.structs.asdict(snapshot.queue)
    lines = [_bar(counts, frame)] if sum(counts.values()) else []
    words = []
    for state, count in counts.items():
        if count or state in {"ready", "working", "done"}:
            words.append(Span(f"{state} {count}", STATES[state][2] if count else "dim"))
    lines += frame.flow(words)
    totals, figures = snapshot.totals, []
    if totals.done_last_hour:
        figures.append(f"{totals.done_last_hour} done in the last hour")
    if totals.success_rate is not None:
        figures.append(f"{totals.success_rate:.0%} succeed")
    if totals.mean_seconds is not None:
        figures.append(f"{format_duration(totals.mean_seconds)} each on average")
    return lines + (frame.flow(Span(figure, "dim") for figure in figures) if figures else [])


def _bar(counts: dict[str, int], frame: Frame) -> Line:
    total = sum(counts.values()) - counts["cancelled"]
    label = f" {counts['done']} of {total} done"
    room = max(0, min(frame.across, _WIDEST_BAR) - len(label))
    parts = [(sum(counts[state] for state in states), symbol, plain, style) for states, symbol, plain, style in _BAR]
    sizes = _shares([part[0] for part in parts], room)
    line = [
        Span(frame.sign(symbol, plain) * size, style)
        for size, (_, symbol, plain, style) in zip(sizes, parts, strict=True)
        if size
    ]
    return [*line, Span(label)]


def _shares(counts: Sequence[int], cells_: int) -> list[int]:
    """Divide `cells_` in proportion; what is there at all gets a cell where there is one."""
    total = sum(counts)
    if not total:
        return [0] * len(counts)
    sizes = [max(1, cells_ * count // total) if count else 0 for count in counts]
    while sum(sizes) > cells_ and max(sizes):
        sizes[sizes.index(max(sizes))] -= 1
    # The largest part is the one in which the rest is noticed least.
    sizes[counts.index(max(counts))] += cells_ - sum(sizes)
    return sizes
