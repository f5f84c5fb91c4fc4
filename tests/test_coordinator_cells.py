"""Text from anywhere, cut and padded for a terminal; and columns that fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parallel_loop.coordinator.drawing import cells
from parallel_loop.coordinator.drawing.frame import Column, Frame, Span, grid, to_text
from support.snapshots import HOSTILE


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "?[31mred?[0m"),
        ("\x9b31m and \x07 and \x00", "?31m and ? and ?"),
        ("one\r\ntwo\tthree", "one  two three"),
        ("to \u202eright\u202c \u2066left\u2069", "to right left"),
        ("\u2028new\u2029line", " new line"),
        ("[bold]not markup[/] :smile:", "[bold]not markup[/] :smile:"),
        ("\N{WOMAN}\u200d\N{PERSONAL COMPUTER}\ufe0f", "\N{WOMAN}\N{PERSONAL COMPUTER}"),
        ("\ud800 half a pair", "? half a pair"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
    ],
)
def test_nothing_in_a_text_steers_the_terminal(text: str, shown: str) -> None:
    assert cells.clean(text) == shown


def test_a_terminal_that_knows_ascii_only_gets_nothing_else() -> None:
    assert cells.clean("caf\u00e9 \N{GRINNING FACE}", ascii_only=True) == "caf? ?"
    assert cells.cut("abcdef", 4, ascii_only=True) == "abc~"


def test_an_endless_text_is_cut_before_it_is_looked_at() -> None:
    assert len(cells.clean("x" * 10_000_000)) == cells.MOST_CHARACTERS


def test_wide_characters_count_twice_and_are_not_cut_in_half() -> None:
    assert cells.width("\u4e2d\u6587") == 4
    assert cells.cut("\u4e2d\u6587\u5b57", 4) == "\u4e2d…"
    assert cells.cut("fix-the-login-redirect", 12, keep="#12") == "fix-the-…#12"


@given(st.text(), st.integers(0, 60), st.text(max_size=4), st.booleans())
def test_what_is_cut_fits_and_is_harmless(text: str, room: int, keep: str, ascii_only: bool) -> None:
    text, keep = (cells.clean(part, ascii_only=ascii_only) for part in (text, keep))
    shown = cells.cut(text, room, ascii_only=ascii_only, keep=keep)
    assert cells.width(shown) <= room
    assert shown.isprintable()
    assert cells.width(cells.pad(shown, room)) == room
    assert not ascii_only or shown.isascii()


@given(st.text(alphabet=st.sampled_from("ab \u4e2d"), max_size=80), st.integers(2, 20))
def test_wrapping_loses_nothing_but_spaces(text: str, room: int) -> None:
    lines = cells.wrap(text, room, 999)
    assert all(cells.width(line) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_the_least_important_columns_go_first_and_a_long_one_shrinks() -> None:
    columns = (Column("ID", least=6, keep="#"), Column("STATE", drop=1), Column("NOTE", drop=2), Column("EMPTY"))
    rows = [[Span("a-long-name#2"), Span("working"), Span("some words"), Span("")]]

    def at(width: int) -> list[str]:
        frame = Frame(width)
        return to_text(grid(frame, columns, rows), frame).split("\n")

    assert at(80) == ["ID             STATE    NOTE", "a-long-name#2  working  some words"]
    assert at(20) == ["ID           STATE", "a-long-n…#2  working"]
    assert at(10) == ["ID", "a-long-…#2"]
    assert at(3)[1] == "…#2"


@given(st.integers(1, 120), st.lists(st.text(max_size=30), min_size=3, max_size=3))
def test_no_row_is_wider_than_its_frame(width: int, texts: list[str]) -> None:
    frame = Frame(width)
    columns = (Column("A", least=4, keep="#"), Column("B", drop=1, right=True), Column("C", least=3, drop=2))
    lines = to_text(grid(frame, columns, [[Span(text) for text in texts], [Span(HOSTILE)] * 3]), frame).split("\n")
    assert len(lines) == 3
    assert all(cells.width(line) <= width for line in lines)
