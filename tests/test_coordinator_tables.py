"""What `list`, `show` and `status` print, for programs and for people."""

from __future__ import annotations

import msgspec
import pytest

from parallel_loop.coordinator.drawing.cells import width
from parallel_loop.coordinator.drawing.frame import Frame
from parallel_loop.coordinator.drawing.tables import item_text, items_table, status_text
from parallel_loop.coordinator.drawing.views import ItemRow, item_details, item_row
from parallel_loop.queue.records import Entry, Item, Kind, Record
from support import snapshots
from support.snapshots import HOSTILE, ago

WHY = "the check `make test` ended with exit status 2"
ITEM = Item(id="fix-login", title="Fix the login", added_at=ago(900), prompt="Do it.\n\tNow.", after=("measure",))


def record(kind: Kind, since: float, **more: object) -> Record:
    return Record(kind=kind, at=ago(since), **more)  # type: ignore[arg-type]


def ended(kind: Kind, attempt: int, commit: str, **more: object) -> Record:
    fields: dict[str, object] = {
        "agent": f"agent-{attempt}",
        "started_at": ago(500 - attempt),
        "seconds": 62.0,
        "branch": f"parallel-loop/item/fix-login/{attempt}",
        "commit": commit * 40,
        "log": f".parallel-loop/agents/agent-{attempt}/logs/fix-login-{attempt}.log",
    }
    return record(kind, 400 - attempt, **(fields | more))


# The first attempt fails its check, the second lands. The worker of both registered an hour before.
CHAIN = (
    record("claimed", 3600, agent="agent-1", pid=7),
    ended("released", 1, "a", outcome="check-failed", why=WHY, not_before=ago(380)),
    record("claimed", 3600, agent="agent-2", pid=8),
    ended("landing", 2, "b", outcome="done"),
    ended("done", 2, "c", outcome="done"),
)


def test_the_row_has_exactly_the_fields_of_the_contract() -> None:
    assert msgspec.to_builtins(item_row(Entry(ITEM, CHAIN), "done")) == {
        "id": "fix-login",
        "title": "Fix the login",
        "state": "done",
        "priority": 5,
        "role": None,
        "program": None,
        "after": ("measure",),
        "attempts": 2,
        "agent": "agent-2",
        "branch": "parallel-loop/item/fix-login/2",
        "commit": "c" * 40,
        "added_at": ago(900),
        "ended_at": ago(398),
        "why": None,
    }


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (0, (0, None, None, None, None)),
        (1, (1, "agent-1", None, None, None)),
        (2, (1, "agent-1", "parallel-loop/item/fix-login/1", "a" * 40, WHY)),
        (3, (2, "agent-2", None, None, None)),  # nothing of the attempt before is passed off as this one's
        (4, (2, "agent-2", "parallel-loop/item/fix-login/2", "b" * 40, None)),
    ],
)
def test_the_row_speaks_of_the_latest_attempt(length: int, expected: tuple[object, ...]) -> None:
    row = item_row(Entry(ITEM, CHAIN[:length]), "working")
    assert (row.attempts, row.agent, row.branch, row.commit, row.why) == expected
    assert row.ended_at is None


def test_a_cancelled_item_keeps_what_its_attempt_left() -> None:
    row = item_row(Entry(ITEM, (*CHAIN[:2], record("cancelled", 5, why="cancelled by a person"))), "cancelled")
    assert (row.agent, row.commit, row.why, row.ended_at) == ("agent-1", "a" * 40, "cancelled by a person", ago(5))


def test_a_blocked_item_says_what_it_waits_for() -> None:
    assert item_row(Entry(ITEM), "blocked", ["measure", "sort"]).why == "waits for measure, sort"


def test_the_history_counts_attempts_and_does_not_invent_the_time_of_an_open_claim() -> None:
    chain = (record("cancelled", 990), record("retried", 980), *CHAIN[:3])
    events = [(event.attempt, event.event, event.at) for event in item_details(Entry(ITEM, chain), "working").history]
    assert events == [
        (None, "cancelled", ago(990)),
        (None, "retried", ago(980)),
        (1, "claimed", ago(499)),
        (1, "released", ago(399)),
        (2, "claimed", None),
    ]


def test_an_answer_is_shown_as_the_reason_to_go_on() -> None:
    chain = (*CHAIN[:1], ended("waiting", 1, "a", why="which?"), record("answered", 3, text="the second"))
    assert [event.why for event in item_details(Entry(ITEM, chain), "ready").history] == [None, "which?", "the second"]


def test_show_tells_every_attempt_with_all_that_is_known_of_it() -> None:
    text = item_text(item_details(Entry(ITEM, CHAIN), "done"), ITEM, Frame(80))
    for part in (WHY, "1m02s", "#1 released (check-failed)  agent-1", "#2 landing (done)  agent-2", "not before"):
        assert part in text
    for word in (
        "parallel-loop/item/fix-login/1",
        "a" * 40,
        "fix-login-1.log",
        "b" * 40,
        "c" * 40,
        "Do it.",
        "    Now.",
    ):
        assert word in text
    assert text.count("fix-login-2.log") == 1  # `landing` said it, `done` need not say it again


def test_an_attempt_that_says_nothing_about_its_item_is_told_to_cost_none() -> None:
    chain = (*CHAIN[:1], ended("released", 1, "a", outcome="limited", counted=False), *CHAIN[2:])
    text = item_text(item_details(Entry(ITEM, chain), "done"), ITEM, Frame(80))
    assert "#1 released (limited), costs no attempt  agent-1" in text
    assert text.count("costs no attempt") == 1


def rows() -> list[ItemRow]:
    nasty = Item(id="n" * 100, title=HOSTILE, added_at=ago(1), role=HOSTILE)
    failed = record("failed", 3, why=HOSTILE, agent="agent-1")
    return [
        item_row(Entry(ITEM, CHAIN), "done"),
        item_row(Entry(ITEM, CHAIN[:2]), "delayed"),
        item_row(Entry(nasty, (failed,)), "failed"),
    ]


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_every_text_fits_the_terminal_and_holds_nothing_that_steers_it(columns: int) -> None:
    nasty = Item(id="n", title=HOSTILE, added_at="not a time", prompt=HOSTILE * 99, command=HOSTILE)
    chain = (record("claimed", 3), record("failed", 2, why=HOSTILE, log=HOSTILE, commit=HOSTILE, agent=HOSTILE))
    frame = Frame(columns)
    texts = [
        items_table(rows(), frame),
        item_text(item_details(Entry(nasty, chain), "failed"), nasty, frame),
        status_text(snapshots.hostile(), frame),
        status_text(snapshots.busy(), frame),
    ]
    for text in texts:
        for line in text.split("\n"):
            assert line.isprintable()
            assert width(line) <= columns


def test_the_list_drops_columns_where_there_is_no_room_and_never_the_state() -> None:
    wide, narrow = (items_table(rows(), Frame(columns)).split("\n") for columns in (200, 40))
    assert wide[0].split() == ["ID", "STATE", "TRIES", "PRIO", "AGENT", "ROLE", "COMMIT", "TITLE", "WHY"]
    assert narrow[0].split()[:2] == ["ID", "STATE"]
    assert narrow[1].split()[:2] == ["fix-login", "done"]
    assert wide[-1] == "3 items:  1 delayed  1 done  1 failed"


def test_a_pipe_gets_whole_lines() -> None:
    title = "a title that no terminal has the room for " * 4
    item = Item(id="long", title=title, added_at=ago(1))
    assert title.strip() in items_table([item_row(Entry(item), "ready")])  # pytest's standard output is no terminal


def test_nothing_there_is_said_with_what_to_do_about_it() -> None:
    assert "parallel-loop add" in items_table([], Frame(80))
    assert "parallel-loop run" in status_text(snapshots.quiet(), Frame(80))
    assert "nobody has taken it yet" in item_text(item_details(Entry(ITEM), "ready"), None, Frame(80))


def test_status_shows_agents_counts_and_the_commands_that_free_what_waits() -> None:
    text = status_text(snapshots.busy(), Frame(120))
    for part in ("running", "agent-3", "fix-login-redirect#2", "waiting 1", "75% succeed"):
        assert part in text
    assert "$ parallel-loop answer choose-licence TEXT" in text
