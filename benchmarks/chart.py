"""Items a second over processes as one SVG: a panel for each level, logarithmic, readable on light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

from entrants import BY_NAME
from results import MIDDLE, OURS, Row, Summary
from tables import LEVELS

_WIDTH, _HEIGHT = 470, 400  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 124, 56, 44
_LINE = 15  # the least distance between two names
_COLOURS = {  # Okabe and Ito's, which the colour-blind can tell apart; middling light, for both backgrounds
    OURS: "#2f81f7",
    "sqlite3": "#e69f00",
    "sqlite3-relaxed": "#d55e00",
    "litequeue": "#009e73",
    "persist-queue": "#cc79a7",
    "huey-sqlite": "#56b4e9",
    "huey-file": "#8c8c8c",
    "diskcache": "#a6a12b",
    "json-flock": "#b07050",
}
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.ground { fill: #ffffff }
.title { font-weight: 600; font-size: 14px }
.small { fill: #57606a }
.grid { stroke: #d0d7de; stroke-width: 1 }
.line { fill: none; stroke-width: 1.6 }
.ours { stroke-width: 3.2 }
.bold { font-weight: 600 }
@media (prefers-color-scheme: dark) {
  .ground { fill: #0d1117 } text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d }
}
"""


class _Scale(NamedTuple):
    """From values to pixels within one panel."""

    processes: Sequence[int]
    low: int  # powers of ten
    high: int

    def x(self, processes: int) -> float:
        steps = max(1, len(self.processes) - 1)
        return _LEFT + self.processes.index(processes) * (_WIDTH - _LEFT - _RIGHT) / steps

    def y(self, rate: float) -> float:
        share = (math.log10(rate) - self.low) / (self.high - self.low)
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)


def draw(summary: Summary) -> str:
    """Return the chart of all levels that were measured at the middle depth."""
    panels = [(durable, _lines(summary, durable)) for durable in LEVELS]
    panels = [(durable, lines) for durable, lines in panels if lines]
    width = _WIDTH * max(1, len(panels))
    scale = _scale([row for _, lines in panels for rows in lines.values() for row in rows])
    size = f'viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}"'
    label = "Items claimed and completed a second, over processes"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{label}">',
        f'<style>{_STYLE}</style><rect class="ground" width="100%" height="100%" rx="6"/>',
    ]
    for index, (durable, lines) in enumerate(panels):
        parts += [f'<g transform="translate({index * _WIDTH} 0)">', *_panel(LEVELS[durable], lines, scale), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _lines(summary: Summary, durable: bool) -> dict[str, list[Row]]:
    cells = [cell for cell in summary.cells(durable) if cell.depth == MIDDLE]
    rows = {name: [row for cell in cells if (row := summary.row(cell, name)) and row.rate] for name in BY_NAME}
    return {name: found for name, found in rows.items() if found}


def _scale(rows: Sequence[Row]) -> _Scale:
    """Return one scale for all panels, so that they can be compared."""
    rates = [row.rate for row in rows] or [1.0]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    return _Scale(sorted({row.cell.processes for row in rows}), low, max(high, low + 1))


def _panel(level: str, lines: dict[str, list[Row]], scale: _Scale) -> Iterator[str]:
    yield f'<text class="title" x="{_LEFT}" y="20">{level}</text>'
    yield f'<text class="small" x="{_LEFT}" y="38">items/s, {MIDDLE:,} waiting; dashed: nothing to acknowledge</text>'
    yield from _axes(scale)
    for name, rows in lines.items():
        points = " ".join(f"{scale.x(row.cell.processes):.0f},{scale.y(row.rate):.1f}" for row in rows)
        dashes = "" if BY_NAME[name].acknowledges else ' stroke-dasharray="5 4"'
        kind = "line ours" if name == OURS else "line"
        yield f'<polyline class="{kind}" stroke="{_COLOURS[name]}"{dashes} points="{points}"/>'
    yield from _names(lines, scale)


def _axes(scale: _Scale) -> Iterator[str]:
    for power in range(scale.low, scale.high + 1):
        y = scale.y(10.0**power)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text class="small" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{10**power:,}</text>'
    for processes in scale.processes:
        x = scale.x(processes)
        yield f'<text class="small" x="{x:.0f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{processes}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text class="small" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">processes</text>'


def _names(lines: dict[str, list[Row]], scale: _Scale) -> Iterator[str]:
    """Write each name beside the end of its line, moved down as far as the one above it needs."""
    ends = sorted((scale.y(rows[-1].rate), name) for name, rows in lines.items())
    lowest = _HEIGHT - _BOTTOM - _LINE * len(ends)
    y = -math.inf
    for index, (wished, name) in enumerate(ends):
        y = max(min(wished, lowest + _LINE * (index + 1)), y + _LINE)
        x, kind = _WIDTH - _RIGHT, ' class="bold"' if name == OURS else ""
        yield f'<path stroke="{_COLOURS[name]}" d="M{x} {wished:.1f}L{x + 10} {y:.1f}"/>'
        yield f'<text{kind} x="{x + 14}" y="{y + 4:.1f}">{escape(name)}</text>'
