"""One line for each event, and the tail that reads them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.coordinator.drawing.lines import EventTail, describe_event
from support.snapshots import HOSTILE

AT = "2026-01-31T12:03:04.000000Z"


pytestmark = pytest.mark.usefixtures("utc")


def line(event: str, **more: object) -> str | None:
    return describe_event({"at": AT, "event": event, **more})


@pytest.mark.parametrize(
    ("event", "shown"),
    [
        ({"event": "claimed"}, "claimed"),
        ({"event": "landing", "outcome": "done"}, "handed over for landing"),
        ({"event": "landed", "commit": "1a2b3c4d5e", "seconds": 12.345}, "done: landed as 1a2b3c4 in 12.3 s"),
        ({"event": "done", "why": "nothing to land"}, "done: nothing to land"),
        (
            {"event": "released", "outcome": "conflict", "why": "it conflicts in a.py"},
            "given back for another attempt (conflict): it conflicts in a.py",
        ),
        (
            {"event": "failed", "outcome": "timed-out", "why": "ran for 1h"},
            "failed, no attempts left (timed-out): ran for 1h",
        ),
        ({"event": "waiting", "why": "which licence?"}, "waits for a person: which licence?"),
        ({"event": "invented", "weight": 3}, "invented weight=3"),
    ],
)
def test_an_event_of_an_item_is_one_line(event: dict[str, object], shown: str) -> None:
    described = describe_event({"at": AT, "item": "fix-login", "attempt": 1, "agent": "agent-1", **event})
    assert described == f"12:03:04  agent-1  fix-login#1  {shown}"


def test_an_event_of_no_item_names_who_or_nobody() -> None:
    assert line("died", agent="agent-2", why="killed by SIGKILL") == "12:03:04  agent-2  worker died: killed by SIGKILL"
    assert line("paused") == "12:03:04  -        paused: no more items are taken"
    assert line("run-over-budget", why="this run has cost $2.00") == (
        "12:03:04  -        what costs money waits for another run: this run has cost $2.00"
    )
    assert line("target-blocked", target="main", why="it is being rebased") == (
        "12:03:04  -        main cannot follow: it is being rebased"
    )


def test_an_event_without_its_fields_or_with_nasty_ones_is_still_one_harmless_line() -> None:
    for kind in ("landed", "released", "target-followed", "target-merged", "salvaged", "started", "other"):
        for more in ({}, dict.fromkeys(("why", "commit", "seconds", "item", "agent", "target", "ref"), HOSTILE)):
            shown = describe_event({"event": kind, **more})
            assert shown is not None
            assert shown.isprintable()
    assert describe_event({"at": AT}) is None
    assert describe_event({"event": 7}) is None


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def event(number: int) -> str:
    return json.dumps({"event": "claimed", "attempt": number}) + "\n"


def numbers(tail: EventTail) -> list[int]:
    return [found["attempt"] for found in tail.read()]


def test_the_tail_gives_every_complete_line_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert numbers(tail) == []
    append(path, event(1) + event(2) + event(3)[:10])
    assert numbers(tail) == [1, 2]
    assert numbers(tail) == []
    append(path, event(3)[10:])
    assert numbers(tail) == [3]


def test_the_tail_from_the_end_gives_only_what_comes_after_it(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path, event(1) + event(2)[:5])
    tail = EventTail(path, from_end=True)
    append(path, event(2)[5:])
    assert numbers(tail) == [2]


def test_a_line_that_is_no_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    append(path, "not json\n[1]\n\n\x00\n" + "[" * 100_000 + "\n" + "x" * 3_000_000 + "\n" + event(1))
    assert numbers(tail) == [1]


def test_the_tail_begins_again_when_the_file_was_cut_short_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path, event(1) + event(2))
    tail = EventTail(path)
    assert numbers(tail) == [1, 2]
    path.write_text(event(3), encoding="utf-8")
    assert numbers(tail) == [3]
    path.rename(tmp_path / "events.jsonl.1")
    assert numbers(tail) == []
    append(path, event(4) + event(5) + event(6))
    assert numbers(tail) == [4, 5, 6]


def test_what_status_and_lists_need_is_imported_without_rich() -> None:
    names = ", ".join(f"parallel_loop.coordinator.drawing.{name}" for name in ("lines", "views", "tables"))
    code = (
        f"import sys, {names};"
        "sys.exit(any(name.split('.')[0] in {'rich', 'git', 'yaml', 'psutil'} for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
