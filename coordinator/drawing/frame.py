"""What a picture is drawn into, and what it is drawn from: a frame, lines of spans, and columns that fit.

A picture of ours is a list of lines, a line is a list of spans (a text and the name of its style), and everything
fits the frame. Rich's own tables shrink every column until none can be read, and measure each cell again at every
redraw; here a column says how far it may shrink and when it is better left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TextIO

from . import cells

GAP = 2
_UNLIMITED = 100_000


class Span(NamedTuple):
    """A piece of a line. `style` is a name: title, good, busy, warn, bad, dim, or nothing."""

    text: str
    style: str = ""


Line = list[Span]


@dataclass(frozen=True)
class Frame:
    """Room for a picture: `width` and `height` in cells; `height` None is as high as it needs."""

    width: int
    height: int | None = None
    ascii_only: bool = False

    @classmethod
    def of_stream(cls, stream: TextIO | None = None) -> Frame:
        """Return the frame of what is printed to `stream`: a file or a pipe gets whole lines, whatever their length."""
        stream = sys.stdout if stream is None else stream
        encoding = (getattr(stream, "encoding", None) or "utf-8").lower()
        try:
            columns = os.get_terminal_size(stream.fileno()).columns
        except (OSError, ValueError, AttributeError):  # no terminal; a StringIO has no descriptor at all
            columns = _UNLIMITED
        return cls(columns or 80, ascii_only=not encoding.startswith("utf"))

    def clean(self, text: str, most: int = cells.MOST_CHARACTERS) -> str:
        return cells.clean(text, ascii_only=self.ascii_only, most=most)

    def sign(self, symbol: str, plain: str) -> str:
        """Return `symbol`, or `plain` where the terminal cannot show it."""
        return plain if self.ascii_only else symbol

    @property
    def across(self) -> int:
        """The cells of what goes from edge to edge; a file has no edge."""
        return 80 if self.width == _UNLIMITED else self.width

    def rule(self, title: str) -> Line:
        """Return a heading across the frame."""
        dash = self.sign("─", "-")
        rest = self.across - len(title) - 4
        return [Span(dash * 2 + " ", "dim"), Span(title, "title"), Span(" " + dash * max(0, rest), "dim")]

    def flow(self, spans: Iterable[Span], between: str = "  ") -> list[Line]:
        """Return the spans one after the other, on as many lines as they need."""
        lines: list[Line] = [[]]
        taken = 0
        for span in spans:
            needed = cells.width(span.text)
            if taken and taken + len(between) + needed > self.width:
                lines.append([])
                taken = 0
            if taken:
                lines[-1].append(Span(between))
                taken += len(between)
            lines[-1].append(span)
            taken += needed
        return lines


class Column(NamedTuple):
    """One column of a grid.

    `least` is the number of cells below which it is not shrunk (0: it is never shrunk). `drop` says when it is left
    out for want of room, the highest first (0: never). `keep` is a character from which on a cell is never cut away.
    """

    title: str
    least: int = 0
    drop: int = 0
    right: bool = False
    keep: str = ""


def grid(frame: Frame, columns: Sequence[Column], rows: Sequence[Sequence[Span]], *, titles: bool = True) -> list[Line]:
    """Return the rows under their titles; a column that is empty in all rows is left out."""
    clean = [[Span(frame.clean(cell.text), cell.style) for cell in row] for row in rows]
    sizes = _sizes(frame, columns, [[cell.text for cell in row] for row in clean], titles=titles)
    lines = [_row(frame, columns, [Span(column.title, "dim") for column in columns], sizes)] if titles else []
    return lines + [_row(frame, columns, row, sizes) for row in clean]


def text_grid(frame: Frame, columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the same as plain text, line by line: of a hundred thousand rows, spans would take ten times as long."""
    clean = [[cells.clean(text, ascii_only=frame.ascii_only) for text in row] for row in rows]
    sizes = _sizes(frame, columns, clean, titles=True)
    chosen = [(index, size, columns[index].right) for index, size in sizes.items()]
    for row in ([column.title for column in columns], *clean):
        line = (" " * GAP).join([_cell(row[index], size, right, frame) for index, size, right in chosen]).rstrip()
        yield line if len(line) <= frame.width else cells.cut(line, frame.width, ascii_only=frame.ascii_only)


def _cell(text: str, size: int, right: bool, frame: Frame) -> str:
    if len(text) <= size and text.isascii():
        return text.rjust(size) if right else text.ljust(size)
    return cells.pad(cells.cut(text, size, ascii_only=frame.ascii_only), size, right=right)


def _sizes(frame: Frame, columns: Sequence[Column], rows: Sequence[Sequence[str]], *, titles: bool) -> dict[int, int]:
    """Return how many cells each column gets that stays, by its index; an empty one does not."""
    natural = [max((cells.width(row[index]) for row in rows), default=0) for index in range(len(columns))]
    if titles:
        natural = [max(size, len(column.title)) if size else 0 for size, column in zip(natural, columns, strict=True)]
    return _fit(columns, natural, frame.width)


def _fit(columns: Sequence[Column], natural: Sequence[int], width: int) -> dict[int, int]:
    """Return how many cells each column gets that stays, by its index."""
    sizes = {
        index: min(natural[index], column.least or natural[index])
        for index, column in enumerate(columns)
        if natural[index]
    }
    while sum(sizes.values()) + GAP * (len(sizes) - 1) > width:
        worst = max(sizes, key=lambda index: columns[index].drop, default=None)
        if worst is None or columns[worst].drop == 0:
            break
        del sizes[worst]
    while (too_wide := sum(sizes.values()) + GAP * (len(sizes) - 1) - width) > 0 and max(sizes.values()) > 1:
        widest = max(sizes, key=lambda index: sizes[index])
        sizes[widest] -= min(too_wide, sizes[widest] // 2)
    spare = width - sum(sizes.values()) - GAP * (len(sizes) - 1)
    for index, size in sizes.items():
        grown = max(0, min(spare, natural[index] - size))
        sizes[index] = size + grown
        spare -= grown
    return sizes


def _row(frame: Frame, columns: Sequence[Column], row: Sequence[Span], sizes: dict[int, int]) -> Line:
    line: Line = []
    for index, size in sizes.items():
        text, tail = row[index].text, ""
        if columns[index].keep:
            text, mark, rest = text.partition(columns[index].keep)
            tail = mark + rest
        text = cells.cut(text, size, ascii_only=frame.ascii_only, keep=tail)
        line += [Span(cells.pad(text, size, right=columns[index].right), row[index].style), Span(" " * GAP)]
    return line[:-1]


def crop(line: Line, width: int, *, ascii_only: bool) -> Line:
    """Return `line` cut to `width` cells, and harmless whatever came into it on the way."""
    result: Line = []
    for span in line:
        text = span.text
        if not text.isprintable() or (ascii_only and not text.isascii()):
            text = cells.clean(text, ascii_only=ascii_only)
        if cells.width(text) > width:
            return [*result, Span(cells.cut(text, width, ascii_only=ascii_only), span.style)] if width else result
        result.append(Span(text, span.style))
        width -= cells.width(text)
    return result


def to_text(lines: Iterable[Line], frame: Frame) -> str:
    """Return the lines as plain text without styles, cut to the frame."""
    cropped = (crop(line, frame.width, ascii_only=frame.ascii_only) for line in lines)
    return "\n".join("".join(span.text for span in line).rstrip() for line in cropped)
