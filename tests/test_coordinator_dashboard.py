"""The dashboard, rendered into text of fixed sizes: what is on it and that it fits, not how it is coloured."""

from __future__ import annotations

from io import StringIO

import msgspec
import pytest
from rich.console import Console

from parallel_loop.coordinator.drawing.cells import width
from parallel_loop.coordinator.drawing.dashboard import Dashboard
from parallel_loop.coordinator.snapshot import Conflict, QueueCounts, Snapshot
from parallel_loop.queue.clock import later
from support import snapshots
from support.snapshots import agent, busy, hostile, quiet

HINT = "Ctrl-C: end"
SIZES = [(40, 24), (60, 20), (80, 24), (120, 36), (200, 50)]


def draw(snapshot: Snapshot, columns: int = 120, rows: int = 40, *, hint: str = "", encoding: str = "utf-8") -> str:
    """Render as on a screen of this size, without styles."""
    console = Console(file=StringIO(), width=columns, height=rows)
    options = console.options.update(height=rows)
    options.encoding = encoding
    return "".join(segment.text for segment in console.render(Dashboard(snapshot, hint=hint), options))


def with_agents(*agents: object) -> Snapshot:
    return msgspec.structs.replace(busy(), agents=agents)


@pytest.mark.parametrize(("columns", "rows"), [*SIZES, (20, 10), (80, 3), (1, 1)])
@pytest.mark.parametrize("snapshot", [busy(3), busy(64), quiet(), hostile()], ids=["3", "64", "quiet", "hostile"])
def test_the_picture_is_never_wider_or_higher_than_the_screen(snapshot: Snapshot, columns: int, rows: int) -> None:
    lines = draw(snapshot, columns, rows, hint=HINT).rstrip("\n").split("\n")
    assert len(lines) <= rows
    for line in lines:
        assert line.isprintable()
        assert width(line) <= columns


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_what_matters_is_on_it_at_every_size(columns: int, rows: int) -> None:
    text = draw(busy(), columns, rows, hint=HINT)
    for part in ("running", "main", "12m04s", "3 agents", "agent-1", "agent-2", "agent-3", "fix-login", "#2", "well"):
        assert part in text
    for part in ("3 of 12 done", "working 3", "failed 1", "Needs you (2)", "choose-licence", HINT):
        assert part in text


def test_a_wide_screen_shows_everything_about_an_agent() -> None:
    known = agent(7, item="some-item", attempt=3, role="tester", restarts=2, note="a note", cpu_percent=50.4)
    row = next(line for line in draw(with_agents(known), 200).split("\n") if line.startswith("agent-7"))
    words = "● well working some-item#3 shell 7m19s 2.8s 12s 3 1 336M 50% tester 2 a note"
    assert row.split() == ["agent-7", *words.split()]


def test_a_narrow_screen_loses_columns_and_keeps_the_rows_whole() -> None:
    wide, narrow = (draw(busy(), columns).split("\n") for columns in (200, 60))
    titles = next(line for line in wide if line.startswith("AGENT")).split()
    kept = next(line for line in narrow if line.startswith("AGENT")).split()
    assert kept == [title for title in titles if title in kept]
    assert {"AGENT", "HEALTH", "ITEM", "FOR"} <= set(kept) < set(titles)
    assert sum(line.startswith("agent-") for line in narrow) == 3


def test_of_too_many_agents_those_in_trouble_are_shown_and_the_calm_ones_summed_up() -> None:
    troubled = agent(60, health="silent", state="working")
    resting = [agent(number, health="well", state="idle", item=None, attempt=None) for number in range(1, 60)]
    text = draw(with_agents(*resting, agent(59, name="busy-one"), troubled), 80, 24)
    assert "▲ silent" in text
    assert "busy-one" in text
    assert "more: " in text
    assert "Changed last" in text
    shown = [line for line in text.split("\n") if line.startswith(("agent-", "busy-one"))]
    summed = next(line for line in text.split("\n") if line.startswith("and "))
    assert len(shown) + int(summed.split()[1]) == 61


def test_a_low_screen_gives_up_changes_first_and_never_the_counts() -> None:
    low, high = draw(busy(), 80, 12), draw(busy(), 80, 60)
    assert "Changed last" not in low
    assert "Changed last" in high
    for part in ("agent-3", "Queue", "working 3"):
        assert part in low


def test_changes_fill_what_is_left_of_the_height() -> None:
    many = msgspec.structs.replace(busy(), recent=busy().recent * 10)
    for rows in (24, 30, 50):
        assert len(draw(many, 120, rows).rstrip("\n").split("\n")) == rows


def test_calls_that_do_not_fit_are_counted_and_a_command_is_never_cut() -> None:
    many = msgspec.structs.replace(busy(), attention=busy().attention * 20)
    text = draw(many, 60, 24)
    shown = text.count("$ parallel-loop ")
    assert f"and {40 - shown} more: parallel-loop status" in text
    narrow = " ".join(draw(busy(), 30, 60).split())
    assert "$ parallel-loop answer choose-licence TEXT" in narrow


def test_words_say_what_colours_and_signs_say() -> None:
    agents = [
        agent(index, health=health)
        for index, health in enumerate(("starting", "well", "silent", "dead", "failing", "finishing", "off"))
    ]
    counts = QueueCounts(ready=1, blocked=1, delayed=1, working=1, landing=1, waiting=1, done=1, failed=1, cancelled=1)
    text = draw(msgspec.structs.replace(with_agents(*agents), queue=counts), 120, 60)
    for word in [known.health for known in agents] + [f"{name} 1" for name in msgspec.structs.asdict(counts)]:
        assert word in text
    assert "1 of 8 done" in text  # a cancelled item is not work


def test_a_terminal_without_unicode_gets_ascii_only() -> None:
    for snapshot in (busy(), hostile()):
        assert draw(snapshot, 80, 40, encoding="latin-1").isascii()


def test_no_escape_sequence_without_colour_and_none_of_the_items_own_with_it() -> None:
    file = StringIO()
    Console(file=file, width=120, height=60, no_color=True, force_terminal=True, color_system="truecolor").print(
        Dashboard(hostile()), height=60
    )
    assert "\x1b[3" not in file.getvalue()  # bold and dim are no colours
    assert "?[31mred?[0m [bold red]markup[/]" in file.getvalue()
    plain = StringIO()
    Console(file=plain, width=120, height=60).print(Dashboard(hostile()))
    assert "\x1b" not in plain.getvalue()


def test_ages_go_on_from_the_snapshot_and_an_old_one_says_so() -> None:
    def at(seconds: float) -> str:
        console = Console(file=StringIO(), width=120, height=40)
        with console.capture() as captured:
            console.print(Dashboard(busy(), later(snapshots.NOW, seconds)))
        return captured.get()

    assert "1m13s  0.4s" in at(0)
    assert "1m18s  5.4s" in at(5)
    assert "as of" not in at(5)
    assert "as of 2m00s ago" in at(120)


def test_fewer_agents_than_wanted_and_a_blocked_target_are_said_above() -> None:
    two = msgspec.structs.replace(
        with_agents(agent(1), agent(2, health="dead")),
        target=msgspec.structs.replace(busy().target, blocked="it is being rebased"),
    )
    first = draw(two, 80).split("\n")[0]
    assert "1 of 3 agents" in first
    assert "main (blocked)" in first


def test_conflicts_to_come_are_told_where_there_is_room_and_call_nobody() -> None:
    conflicts = (Conflict(items=("one", "two"), paths=("src/a.py", "b")), Conflict(items=("three",), paths=("c",)))
    snapshot = msgspec.structs.replace(busy(), conflicts=conflicts * 4)
    text = draw(snapshot)
    assert "Branches that conflict so far (8)" in text
    assert "one and two: src/a.py, b" in text
    assert "three and what has landed: c" in text
    assert "and 3 more: parallel-loop status --json" in text
    assert "Needs you (2)" in text
    assert "conflict" not in draw(snapshot, rows=12)
    for columns, rows in SIZES:
        lines = draw(msgspec.structs.replace(hostile(), conflicts=conflicts), columns, rows).rstrip("\n").split("\n")
        assert len(lines) <= rows
        assert max(map(width, lines)) <= columns


def test_the_first_line_says_what_the_run_has_cost_once_it_is_known() -> None:
    def first(cost: float | None, most: float | None) -> str:
        coordinator = msgspec.structs.replace(busy().coordinator, run_usd=cost, run_budget_usd=most)
        return draw(msgspec.structs.replace(busy(), coordinator=coordinator), 120).split("\n")[0]

    assert "$" not in first(None, 50.0)
    assert "  $1.23  " in first(1.2345, None)
    assert "  $1.23 of $50  " in first(1.2345, 50.0)
    assert "  $1.23 of $2.50  " in first(1.2345, 2.5)
