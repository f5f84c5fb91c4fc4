"""What attempts used, added up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from parallel_loop.harness.dialects.events import Session, Used
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import later
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Item, Record, Usage
from parallel_loop.queue.requests import cancel
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.queue.tidying import tidy
from support.cli import CommandLine
from support.repository import make_repository
from support.taking import claimed


class Past:
    """Attempts that were made, each by its record."""

    def __init__(self, root: Path) -> None:
        self.project = Project.open(root, {})
        self.project.queue.create()
        self.taker = Taker(self.project.queue, Owner("agent-1", *own_identity()))

    def add(self, item_id: str, **fields: Any) -> None:
        self.project.queue.add([Item(id=item_id, title=item_id, added_at="", **fields)])

    def take(self) -> Claim:
        return claimed(self.taker)

    def attempt(self, *numbers: Any, kind: Any = "released", program: str = "claude", ago: float = 0.0) -> None:
        usage = Usage(*numbers) if numbers else None
        at = later(self.project.queue.now(), -ago)
        claim = self.take()
        record = Record(kind=kind, at=at, agent="agent-1", program=program, usage=usage, session="s", outcome=kind)
        assert self.taker.end(claim, record)
        if kind == "landing":  # as the lander does
            done = msgspec.structs.replace(record, kind="done")
            entry = self.project.queue.entry(claim.item.id)
            assert entry is not None
            assert self.project.queue.append(entry, done)

    def tells(self, claim: Claim, *events: Any) -> None:
        agent = self.project.state.agent("agent-1")
        agent.create()
        data = b"\n".join(map(msgspec.json.encode, events))
        agent.events_file(claim.item.id, claim.attempt).write_bytes(data)


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Past]:
    past = Past(make_repository(tmp_path / "repo"))
    yield past
    past.taker.close()


@pytest.fixture
def cli(past: Past, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(capsys, monkeypatch, past.project.root)


def test_all_attempts_count_once_by_program_role_day_and_item(past: Past, cli: CommandLine) -> None:
    past.add("one", role="builder", program="claude")
    past.attempt(100, 50, 10, 0.25, ago=3 * 86400)
    past.attempt(200, 0, 20, 0.5, kind="landing")
    assert tidy(past.project.queue, older_than_seconds=0) == 1
    past.add("two")
    past.attempt(7, 0, 1, program="codex")
    past.attempt(kind="failed", program="shell")
    found = json.loads(cli("usage", "--json").out)
    total = {"attempts": 4, "unknown": 1, "input": 307, "cached": 50, "output": 31, "usd": 0.75}
    assert found["total"] == total
    assert [(row["program"], row["attempts"], row["input"], row["usd"]) for row in found["by"]["program"]] == [
        ("claude", 2, 300, 0.75),
        ("codex", 1, 7, None),
        ("shell", 1, 0, None),
    ]
    assert [(row["role"], row["output"]) for row in found["by"]["role"]] == [("", 1), ("builder", 30)]
    assert [(row["item"], row["cached"]) for row in found["by"]["item"]] == [("one", 50), ("two", 0)]
    assert [row["output"] for row in found["by"]["day"]] == [10, 21]
    lately = json.loads(cli("usage", "--json", "--since", "1d", "--by", "item").out)
    assert (lately["total"]["input"], list(lately["by"])) == (207, ["item"])
    text = cli("usage").out
    assert "claude" in text
    assert text.count("$0.75") == 5
    assert "in all" in cli("usage", "--by", "item").out
    assert cli("usage", "--since", "soon").code == 2


def test_what_nobody_told_is_no_nought(past: Past, cli: CommandLine) -> None:
    past.add("one", program="claude")
    past.attempt(100, 50, 10)
    past.attempt(program="shell")
    rows = [line.split() for line in cli("usage", "--by", "program").out.splitlines()]
    assert rows[1:] == [
        ["claude", "1", "100", "50", "10"],
        ["shell", "1", "-", "-", "-", "-"],
        ["in", "all", "2", "100", "50", "10"],
    ]


def test_what_a_killed_worker_had_heard_counts(past: Past, cli: CommandLine) -> None:
    past.add("one", program="codex")
    claim = past.take()
    past.tells(claim, Session(id="s"), Used(input=100, output=5, scope="session"))
    dead = Record(kind="released", at=past.project.queue.now(), agent="agent-1", outcome="died")
    assert past.taker.end(claim, dead)
    claim = past.take()
    past.tells(claim, Session(id="s"), Used(input=130, output=9, scope="session"))
    assert json.loads(cli("usage", "--json").out)["total"]["input"] == 100, "one in hand is not over yet"
    cancel(past.project.queue, "one")
    total = json.loads(cli("usage", "--json").out)["total"]
    assert total == {"attempts": 2, "unknown": 0, "input": 130, "cached": 0, "output": 9, "usd": None}


def test_show_tells_it_of_each_attempt(past: Past, cli: CommandLine) -> None:
    past.add("one", program="claude")
    past.attempt(100, 50, 10, 0.25, kind="landing")
    history = json.loads(cli("show", "one", "--json").out)["history"]
    usage = {"input": 100, "cached": 50, "output": 10, "usd": 0.25}
    assert [(event["event"], event["program"], event["session"], event["usage"]) for event in history] == [
        ("claimed", None, None, None),
        ("landing", "claude", "s", usage),
        ("done", "claude", "s", None),
    ]
    text = cli("show", "one").out
    assert text.count("100 tokens read, 50 more from a cache, 10 written, $0.25") == 1
    assert text.count("session") == 1


def test_where_no_program_tells_what_it_used_no_items_are_listed_for_it(past: Past, cli: CommandLine) -> None:
    past.add("one")
    past.attempt(program="shell")
    text = cli("usage").out
    assert text.startswith("PROGRAM ")
    assert "ITEM" not in text
    assert not text.endswith("\n\n")
    assert "one " in cli("usage", "--by", "item").out


def test_nothing_was_used_where_nothing_was_done(cli: CommandLine) -> None:
    assert cli("usage").out == "no attempt has ended\n"
    assert cli("usage", "--since", "1h").out == "no attempt has ended within 1h\n"
    assert json.loads(cli("usage", "--json").out)["total"]["attempts"] == 0


def test_sums_are_told_in_figures_that_people_can_read(past: Past, cli: CommandLine) -> None:
    past.add("one")
    for usd in (0.1, 0.2):
        past.attempt(1, 0, 1, usd)
    assert json.loads(cli("usage", "--json").out)["total"]["usd"] == 0.3
