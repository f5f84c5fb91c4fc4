"""Results as tables of Markdown, which are readable on a terminal too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from drains import Cell
from entrants import BY_NAME
from results import LARGE, MIDDLE, OURS, SMALL, Row, Summary, goals

LEVELS = {False: "Not durable", True: "Durable"}
_EXPLAINED = {
    False: "Nobody flushes: parallel-loop with `durable=False`, SQLite with `synchronous=OFF`.",
    True: (
        "What was acknowledged survives a power cut: SQLite with `synchronous=FULL`. parallel-loop does not flush "
        "claims (a power cut ends their owners); `sqlite3-relaxed` does the same in SQLite."
    ),
}


def page(summary: Summary) -> str:
    """Return all that stands between the markers of docs/performance.md."""
    parts = [_machine(summary), "### To reach\n" + busy(summary) + "\n" + goals_table(summary)]
    for durable, title in LEVELS.items():
        if summary.cells(durable):
            parts.append(f"### {title}\n\n{_EXPLAINED[durable]}\n\n" + "\n\n".join(_level(summary, durable)))
    parts.append("### One process\n\n" + _single(summary))
    parts.append("### Where another is faster\n\n" + _faster(summary))
    return "\n\n".join(parts)


def goals_table(summary: Summary) -> str:
    rows = ([goal.what, goal.wanted, goal.measured, "yes" if goal.met else "**no**"] for goal in goals(summary))
    return table(["", "wanted", "measured", "met"], rows)


def busy(summary: Summary) -> str:
    """Return a warning when others were using the machine: then even the ratios say little."""
    before = summary.results.load[0]
    return "" if before <= 1 else f"\n**The machine was busy (load average {before:.1f} before): measure again.**\n"


def cell_table(summary: Summary, cell: Cell) -> str:
    """Return all that was measured in one cell, a row for each system."""
    head = ["", "items/s", "ours ÷ it", "claim p50 µs", "p99 µs", "worst ms", "least share", "dup", "miss"]
    return table(head, (_cells(summary, row) for row in summary.rows(cell)))


def _cells(summary: Summary, row: Row) -> list[str]:
    ratio = summary.ratio(row.cell, row.system)
    return [
        _name(summary, row.system),
        _rate(row),
        "" if row.system == OURS or ratio is None else f"{ratio:.2f}",
        f"{row.p50:,.0f}",
        f"{row.p99:,.0f}",
        f"{row.worst / 1e3:,.1f}",
        f"{row.least_share:.2f}" if row.cell.processes > 1 else "",
        f"**{row.duplicates:,}**" if row.duplicates else "0",
        "cut off" if row.cut_off and not row.missed else f"{row.missed:,}",
    ]


def _name(summary: Summary, system: str) -> str:
    marks = "" if BY_NAME[system].acknowledges else "¹"
    return f"{system} {marks}{'²' if summary.hands_out_twice(system) else ''}".rstrip()


def _rate(row: Row) -> str:
    """Return items/s, and in brackets how many there were when the drain was cut off."""
    return f"{_number(row.rate)} [{row.completed:,}]" if row.cut_off else _number(row.rate)


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _machine(summary: Summary) -> str:
    results = summary.results
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    return (
        f"Measured {results.measured_at}: {machine}. Medians of {results.rounds} rounds, systems in turn in each "
        f"(a cell of {SMALL:,} items: of more drains). Load average before {results.load[0]:.1f}, "
        f"after {results.load[-1]:.1f}.\n\n"
        f"`1,234 [567]`: cut off after {results.limit_seconds:g} s, with 567 items done. ¹ Taking an item removes it: "
        "a worker's crash loses it. ² It handed out items more than once, which no rate makes good. dup, miss: "
        "items handed out more than once, items never done; the worst of the rounds."
    )


def _level(summary: Summary, durable: bool) -> Iterator[str]:
    cells = summary.cells(durable)
    across = [cell for cell in cells if cell.depth == MIDDLE]
    if len(across) > 1:
        heads = [f"{cell.processes} process{'es' if cell.processes > 1 else ''}" for cell in across]
        yield f"Items/s, {MIDDLE:,} waiting (ours ÷ it):\n\n" + _across(summary, across, heads)
    down = [cell for cell in cells if cell.processes == 8]
    if len(down) > 1:
        heads = [f"{cell.depth:,} waiting" for cell in down]
        yield "Items/s, 8 processes (ours ÷ it):\n\n" + _across(summary, down, heads)
    closest = Cell(durable, 8, MIDDLE)
    if closest in cells:
        yield f"8 processes, {MIDDLE:,} waiting:\n\n" + cell_table(summary, closest)


def _across(summary: Summary, cells: Sequence[Cell], heads: Sequence[str]) -> str:
    rows = []
    for system in BY_NAME:
        found = [summary.row(cell, system) for cell in cells]
        if any(found):
            rows.append([_name(summary, system), *(_with_ratio(summary, row) for row in found)])
    return table(["", *heads], rows)


def _with_ratio(summary: Summary, row: Row | None) -> str:
    if row is None:
        return "–"
    ratio = summary.ratio(row.cell, row.system)
    return _rate(row) if row.system == OURS or ratio is None else f"{_rate(row)} ({_times(ratio)})"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2f}×"


def _single(summary: Summary) -> str:
    head = ["", "added/s", "added/s, durable", f"claim µs at {SMALL:,}", f"at {LARGE:,}", "ratio", "worker MB"]
    rows = []
    for system in BY_NAME:
        means = [summary.row(Cell(False, 1, depth), system) for depth in (SMALL, LARGE)]
        growth, megabytes = summary.growth(system), summary.results.megabytes.get(system)
        numbers = [
            *(summary.add_rate(system, durable) for durable in LEVELS),
            *(row and row.mean for row in means),
        ]
        if any(number is not None for number in (*numbers, growth, megabytes)):
            cells = ["–" if number is None else f"{number:,.0f}" for number in numbers]
            cells.append("–" if growth is None else f"{growth:.2f}")
            cells.append("–" if megabytes is None else f"{megabytes:.0f}")
            rows.append([_name(summary, system), *cells])
    return "Adding one item to a call; the mean of all claims; the most memory of a fresh process.\n\n" + table(
        head, rows
    )


def _faster(summary: Summary) -> str:
    """List every cell in which ours is not the fastest of those that were measured."""
    lines = []
    for durable, level in LEVELS.items():
        for cell in summary.cells(durable):
            for row in summary.rows(cell):
                ratio = summary.ratio(cell, row.system)
                if row.system != OURS and ratio is not None and ratio < 1:
                    where = f"{cell.processes} process{'es' if cell.processes > 1 else ''}, {cell.depth:,} waiting"
                    lines.append(
                        f"- {level.lower()}, {where}: {_name(summary, row.system)}, {1 / ratio:.2f} times ours"
                    )
        ours = summary.add_rate(OURS, durable)
        for system in BY_NAME:
            rate = summary.add_rate(system, durable)
            if ours is not None and rate is not None and rate > ours:
                lines.append(
                    f"- {level.lower()}, adding one by one: {_name(summary, system)}, {rate / ours:.2f} times ours"
                )
    return "\n".join(lines) if lines else "Nowhere in what was measured."


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, padded so that it reads well as text too."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["| " + " | ".join(_pad(line, widths)) + " |" for line in lines]
    rule = "|" + "|".join(
        "-" * (width + 2) if not index else "-" * (width + 1) + ":" for index, width in enumerate(widths)
    )
    return "\n".join([texts[0], rule + "|", *texts[1:]])


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if index else cell.ljust(width)
        for index, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
