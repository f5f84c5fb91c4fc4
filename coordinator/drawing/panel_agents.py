"""The agents' part of the dashboard: one line an agent, those that matter most when there is no room for all."""

from __future__ import annotations

from collections.abc import Iterable

from ..snapshot import AgentStatus, Snapshot
from .frame import Column, Frame, Line, Span, grid
from .moments import seconds_since, short, short_size
from .signs import HEALTH

_COLUMNS = (
    Column("AGENT", least=8),
    Column("HEALTH"),
    Column("STATE", drop=3),
    Column("ITEM", least=17, keep="#"),
    Column("PROGRAM", least=8, drop=7),
    Column("FOR", drop=2, right=True),
    Column("BEAT", drop=6, right=True),
    Column("MOVED", drop=8, right=True),
    Column("DONE", drop=4, right=True),
    Column("FAILED", drop=5, right=True),
    Column("MEM", drop=9, right=True),
    Column("CPU", drop=11, right=True),
    Column("ROLE", least=8, drop=12),
    Column("RESTARTS", drop=13, right=True),
    Column("NOTE", least=16, drop=10),
)


def agents(snapshot: Snapshot, now: str, frame: Frame, rows: int | None = None) -> list[Line]:
    """Return a line an agent below the titles. Of more than `rows`, those that are well and idle are summed up."""
    chosen, rest = list(snapshot.agents), []
    if rows is not None and len(chosen) > rows:
        order = sorted(range(len(chosen)), key=lambda index: (_calmness(chosen[index]), index))
        shown = set(order[: max(0, rows - 1)])
        rest = [agent for index, agent in enumerate(chosen) if index not in shown]
        chosen = [agent for index, agent in enumerate(chosen) if index in shown]
    lines = grid(frame, _COLUMNS, [_agent(agent, snapshot.at, now, frame) for agent in chosen])
    if rest:
        lines.append([Span(f"and {len(rest)} more: {_sum_up(agent.health for agent in rest)}", "dim")])
    return lines


def _calmness(agent: AgentStatus) -> int:
    if agent.health in {"dead", "failing", "silent", "looping", "over-limit", "no-room"}:
        return 0
    if agent.health == "off":
        return 3
    return 1 if agent.item is not None else 2


def _sum_up(words: Iterable[str]) -> str:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in counts.items())


def _agent(agent: AgentStatus, at: str, now: str, frame: Frame) -> list[Span]:
    symbol, plain, style = HEALTH[agent.health]
    older = seconds_since(at, now) or 0.0

    def age(seconds: float | None) -> str:
        return short(None if seconds is None else seconds + older)

    item = Span("-", "dim")
    if agent.item is not None:
        item = Span(agent.item if agent.attempt is None else f"{agent.item}#{agent.attempt}")
    cpu = "" if agent.cpu_percent is None else f"{agent.cpu_percent:.0f}%"
    return [
        Span(agent.name, "title"),
        Span(f"{frame.sign(symbol, plain)} {agent.health}", style),
        Span(agent.state, "dim" if agent.item is None else ""),
        item,
        Span(agent.program or ""),
        Span(short(seconds_since(agent.since, now))),
        Span(age(agent.heartbeat_age_seconds), "dim"),
        Span(age(agent.progress_age_seconds), "dim"),
        Span(str(agent.done)),
        Span(str(agent.failed), "bad" if agent.failed else ""),
        Span("" if agent.rss_bytes is None else short_size(agent.rss_bytes), "dim"),
        Span(cpu, "dim"),
        Span(agent.role or ""),
        Span(str(agent.restarts) if agent.restarts else "", "warn"),
        Span(agent.note or "", style),
    ]
