"""`parallel-loop tidy`, and what the other commands show of packed items."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.project import Project
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.taking import Taker
from support.cli import CommandLine
from support.taking import claimed


@pytest.fixture
def finished(root: Path, cli: CommandLine) -> Project:
    """A queue with two items that are done and one that waits."""
    for name in ("one", "two", "three"):
        cli("add", "--command", "true", "--id", name)
    project = Project.open(root, {})
    taker = Taker(project.queue, Owner("agent-1", *own_identity()))
    for _ in range(2):
        claim = claimed(taker)
        assert taker.complete(claim)
    taker.close()
    return project


def ids(cli: CommandLine, *options: str) -> list[str]:
    return [row["id"] for row in json.loads(cli("list", "--json", *options).out)]


def test_what_is_packed_is_shown_where_it_is_asked_for(finished: Project, cli: CommandLine) -> None:
    before = cli("show", "one").out
    assert cli("tidy", "--older-than", "0s").out == "2 items packed\n"
    assert len(list(finished.queue.layout.items.glob("*/*"))) == 1
    assert cli("show", "one").out == before
    assert ids(cli) == ["three"]
    assert ids(cli, "--all") == ["one", "two", "three"]
    assert ids(cli, "--all", "--state", "done") == ["one", "two"]
    assert cli("list").line == "2 more are done and packed; `list --all` shows them"
    assert cli("list", "--state", "ready").err == ""
    assert json.loads(cli("status", "--json").out)["queue"]["done"] == 2
    assert json.loads(cli("status", "--json").out)["totals"]["done_last_hour"] == 2


def test_a_packed_item_refuses_what_a_done_one_refuses(finished: Project, cli: CommandLine) -> None:
    cli("tidy", "--older-than", "0s")
    assert "there is already an item 'one'" in cli("add", "--command", "true", "--id", "one").line
    assert cli("cancel", "one").code == cli("retry", "one").code == 1
    assert cli("add", "--command", "true", "--id", "four", "--after", "two").code == 0


def test_what_was_done_lately_is_left(finished: Project, cli: CommandLine) -> None:
    assert "no item was done more than 1h ago" in cli("tidy").out
    assert ids(cli) == ["one", "two", "three"]


def test_without_a_queue_there_is_nothing_to_pack(root: Path, cli: CommandLine) -> None:
    assert "nothing to pack" in cli("tidy").out
    assert not (root / ".parallel-loop").exists()


def test_a_wrong_time_is_named(cli: CommandLine) -> None:
    answer = cli("tidy", "--older-than", "soon")
    assert answer.code == 2
    assert "--older-than: 'soon' is not a duration" in answer.line
