"""Accounts as a person sees them: in the snapshot, on the dashboard, in lines, and as what a drain waits for."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from test_coordinator_dashboard import draw

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.drawing.lines import describe_event
from parallel_loop.coordinator.drawing.moments import clock
from parallel_loop.coordinator.paused_work import PausedWork, tell_that_a_run_begins
from parallel_loop.coordinator.snapshot import AccountStatus, decode, encode
from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.accounts.events import Limited, Refused
from parallel_loop.harness.pausing.pause_file import configuration_of
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import later, utc_now
from parallel_loop.queue.survey import Survey
from support.accounts import Stand
from support.cli import CommandLine
from support.pausing import add_all
from support.runs import add, happened, make_project
from support.snapshots import NOW, busy

CONFIG = """
programs: {mine: {argv: [mine], account: paid}, yours: {argv: [yours]}}
roles: {builder: {program: mine, fallback: yours}}
after_limit: {slack: 0s, jitter: 0s}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "r", CONFIG)


def limit(project: Project, name: str = "paid", seconds: float = 600.0) -> str:
    reset = later(utc_now(), seconds)
    AccountFile(project).change(Limited(name, utc_now(), "used up", reset))
    return reset


def refuse(project: Project, name: str = "paid", program: str = "mine") -> None:
    config = configuration_of(program, project.config)
    AccountFile(project).change(Refused(name, utc_now(), "401 Unauthorized", program, config))


def stuck(project: Project) -> str | None:
    survey = Survey(project.queue)
    survey.refresh()
    return PausedWork(project, survey).why_stuck()


def test_the_snapshot_has_each_account_that_is_not_simply_open_and_calls_nobody(project: Project) -> None:
    add_all(project, "a")
    reset = limit(project)
    snapshot = current_snapshot(project)
    (shown,) = snapshot.accounts
    assert shown.since is not None
    assert shown == AccountStatus(
        name="paid", state="limited", until=reset, since=shown.since, resets_at=reset, why="used up"
    )
    assert decode(encode(snapshot)) == snapshot
    assert snapshot.attention == ()


def test_a_cap_is_shown_with_what_is_in_use(project: Project) -> None:
    add_all(project, *"abc")
    with contextlib.ExitStack() as stack:
        crew = [Stand(project, f"agent-{number}") for number in range(1, 4)]
        claims = [stand.take() for stand in crew]
        for stand in crew:
            stack.callback(stand.taker.close)
        assert claims[0] is not None
        crew[0].end(claims[0], "rate")
        (shown,) = current_snapshot(project).accounts
    assert (shown.state, shown.cap, shown.in_use) == ("backing-off", 1, 2)


def test_who_is_refused_is_called_out_as_long_as_it_matters(project: Project) -> None:
    refuse(project)
    assert current_snapshot(project).attention == (), "no item needs it"
    add_all(project, "a")
    (need,) = current_snapshot(project).attention
    assert need.why == (
        "the account paid is refused, so mine starts nothing: 401 Unauthorized. Log in, then let it go on"
    )
    assert need.next == "parallel-loop resume paid"
    (shown,) = current_snapshot(project).accounts
    assert (shown.state, shown.until) == ("refused", None)


def test_a_limit_without_auto_is_called_out(tmp_path: Path) -> None:
    project = make_project(tmp_path / "m", CONFIG.replace("slack", "auto: false, slack"))
    limit(project)
    add_all(project, "a")
    (need,) = current_snapshot(project).attention
    assert need.why.startswith("the account paid is at its limit (over at ")
    assert "`after_limit: auto` is false" in need.why
    assert need.why.endswith("used up. Wait, then let it go on")
    assert stuck(project) is not None
    (shown,) = current_snapshot(project).accounts
    assert (shown.until, shown.held_by) == (None, "after_limit.auto")
    project.queue.now = lambda: later(utc_now(), 601)
    (need,) = current_snapshot(project).attention
    assert need.why.startswith("the account paid was at its limit (over since ")
    assert need.why.endswith("used up. Let it go on")


def test_who_waits_for_an_hour_of_the_day_says_when_its_limit_is_over_and_when_it_goes_on(tmp_path: Path) -> None:
    reset = later(utc_now(), 600)
    begin = datetime.fromisoformat(later(reset, 7200)).astimezone()
    window = f"{begin:%H:%M}-{begin + timedelta(hours=1):%H:%M}"
    project = make_project(tmp_path / "m", CONFIG.replace("slack", f"window: '{window}', slack"))
    AccountFile(project).change(Limited("paid", utc_now(), "used up", reset))
    (shown,) = current_snapshot(project).accounts
    assert shown.until is not None
    assert (shown.resets_at, shown.held_by) == (reset, "after_limit.window")
    assert clock(shown.until) == f"{begin:%H:%M}:00"
    both = f"is over at {clock(reset)}, it goes on at {clock(shown.until)} (`after_limit.window`)"
    assert f"paid: its limit {both}" in draw(msgspec.structs.replace(busy(), accounts=(shown,)), 120)
    (event,) = happened(project, "account-limited")
    assert f"is at its limit, which {both.replace(', it', '; it')}: used up" in (describe_event(event) or "")
    AccountFile(project).change(Limited("paid", utc_now(), "used up", None))
    (shown,) = current_snapshot(project).accounts
    assert shown.resets_at is None, "nobody told"


def test_a_drain_is_stuck_only_if_nothing_goes_on_by_itself(project: Project) -> None:
    add_all(project, "a")
    limit(project)
    assert stuck(project) is None, "it opens by itself"
    refuse(project)
    assert stuck(project) == "all that is left waits for what is paused: the account paid; see `parallel-loop status`"
    add_all(project, "b", program=None, role="builder")
    assert stuck(project) is None, "there is a fallback"
    limit(project, "yours")
    assert stuck(project) is None, "which will open"
    refuse(project, "yours", "yours")
    assert stuck(project) is not None
    add(project, "c")
    assert stuck(project) is None, "something else is left"


def test_a_ready_item_says_which_account_it_waits_for(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(project, "a")
    add_all(project, "b", program=None, role="builder")
    add(project, "c")
    cli = CommandLine(capsys, monkeypatch, project.root)

    def why() -> list[str | None]:
        return [row["why"] for row in json.loads(cli("list", "--json").out)]

    assert why() == [None, None, None]
    until = f"the account paid, until {clock(limit(project))}"
    assert why() == [f"waits for {until}", None, None], "there is a fallback for b"
    assert f"ready: waits for {until}\n" in cli("show", "a").out
    refuse(project, "yours", "yours")
    assert why() == [f"waits for {until}", f"waits for {until}, the account yours, which needs you", None]
    assert cli("resume", "paid").code == 0
    assert why() == [None, None, None], "one of them is tried"


def test_the_beginning_of_a_run_is_a_reason_to_try(project: Project) -> None:
    tell_that_a_run_begins(project)
    assert not project.state.accounts.exists()
    add_all(project, "a")
    refuse(project)
    tell_that_a_run_begins(project)
    assert stuck(project) is None
    assert current_snapshot(project).attention == ()


@pytest.mark.usefixtures("utc")
def test_the_dashboard_has_a_line_for_each_account() -> None:
    accounts = (
        AccountStatus(name="paid", state="limited", until=later(NOW, 3600), why="the limit five_hour is used up"),
        AccountStatus(name="x", state="backing-off", until=later(NOW, 20), why="busy", cap=2, in_use=1),
        AccountStatus(name="y", state="open", until=NOW, why="busy", cap=3, in_use=3),
        AccountStatus(name="z", state="refused", why="401"),
    )
    snapshot = msgspec.structs.replace(busy(), accounts=accounts)
    text = draw(snapshot, rows=60)
    assert "Accounts (4)" in text
    assert "paid: at its limit until 13:03:44 (in 1h00m): the limit five_hour is used up" in text
    assert "x: its service is busy until 12:04:04 (in 20s), 1 of at most 2 at once: busy" in text
    assert "y: open, 3 of at most 3 at once\n" in text.replace(" \n", "\n")
    assert "and 1 more: parallel-loop status" in text
    for columns, rows in ((40, 24), (80, 24), (20, 10), (1, 1)):
        lines = draw(snapshot, columns, rows).rstrip("\n").split("\n")
        assert len(lines) <= rows
        assert max(map(len, lines)) <= columns


@pytest.mark.usefixtures("utc")
@pytest.mark.parametrize(
    ("event", "more", "shown"),
    [
        ("account-limited", {"until": later(NOW, 60), "why": "used up"}, "is at its limit until 12:04:44: used up"),
        ("account-backing-off", {"why": "429"}, "meets a busy service and waits: 429"),
        ("account-refused", {"why": "401"}, "is refused and needs a person: 401"),
        ("account-open", {}, "is used again"),
    ],
)  # fmt: skip
def test_what_happens_to_an_account_is_one_line(event: str, more: dict[str, str], shown: str) -> None:
    line = describe_event({"at": NOW, "event": event, "account": "paid", **more})
    assert line == f"12:03:44  -        the account paid {shown}"
