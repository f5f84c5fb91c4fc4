"""Runs in which accounts meet limits, by a program that speaks as Claude Code does: what goes on, and when."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from parallel_loop.coordinator.cli import main
from parallel_loop.harness.accounts import standing
from parallel_loop.harness.accounts.account_file import AccountFile
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.queue.watching import BellWatch
from support.actors import actor, script
from support.harness import Workshop, make_workshop
from support.runs import PATIENCE_SECONDS, add, happened, make_project, running, states
from support.waiting import eventually

LOOP = str(Path(__file__).parent.parent / "loop.py")
ALONE = pytest.mark.parametrize("alone", [False, True], ids=["coordinator", "loop"])
DO_IT = script({"run": "echo done > $PARALLEL_LOOP_ITEM.txt"})
AT_ONCE = "after_limit: {slack: 0s, jitter: 0s}\nretry: {attempts: 1, first: 0s}\n"


class Service:
    """What the program `name` uses."""

    def __init__(self, folder: Path, name: str, says: str = "ok") -> None:
        self.name, self.folder = name, folder / name
        self.folder.mkdir(parents=True)
        self.says(says)

    def says(self, says: str) -> None:
        (self.folder / "service.new").write_text(says)
        (self.folder / "service.new").rename(self.folder / "service")

    @property
    def calls(self) -> list[dict[str, Any]]:
        try:
            return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
        except FileNotFoundError:
            return []

    @property
    def configured(self) -> str:
        return f"{self.name}: {actor(resume_in='same', env={'ACTOR_HOME': str(self.folder)})}"


def programs(*services: Service) -> str:
    return "programs: {" + ", ".join(service.configured for service in services) + "}\n"


def add_for(project: Project, name: str, *items: str, **fields: object) -> None:
    for item in items:
        add(project, item, **({"command": None, "program": name, "prompt": DO_IT} | fields))


def counted(project: Project, *items: str) -> list[int]:
    entries = [project.queue.entry(item) for item in items]
    return [entry.counted_attempts for entry in entries if entry is not None]


def call(project: Project, *argv: str) -> int:
    return main(["--repo", str(project.root), *argv])


def test_a_run_over_a_limit_burns_no_attempt_and_goes_on_in_the_same_session_within_seconds_of_the_reset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = Service(tmp_path, "mine"), Service(tmp_path, "theirs")
    project = make_project(tmp_path / "r", programs(mine, theirs) + AT_ONCE)
    add_for(project, "mine", "a", "b", priority=0)
    add_for(project, "theirs", "other")
    mine.says("limit in 4")
    with running(project, "--drain", "--agents", "2") as run:
        free = eventually(lambda: [one for one in run.snapshot().accounts if not one.in_use], PATIENCE_SECONDS)
        assert [(shown.name, shown.state) for shown in free] == [("mine", "limited")]
        assert call(project, "status") == 0
        said = capsys.readouterr().out
        assert "Accounts (1)" in said
        assert "mine: at its limit until" in said
        assert run.snapshot().attention == (), "nobody has to do anything"
        assert run.wait() == 0, run.output
    assert states(project) == dict.fromkeys(("a", "b", "other"), "done")
    assert counted(project, "a", "b", "other") == [0, 0, 0]
    reset = float((mine.folder / "service").read_text().split()[1])
    assert theirs.calls[0]["at"] < reset, "other programs go on, in places that are free"
    before = [one for one in mine.calls if one["at"] < reset]
    after = [one for one in mine.calls if one["at"] >= reset]
    assert {one["item"] for one in before} <= {"a", "b"}
    assert len(before) <= 2, "each at most once: nobody asks again before it is time"
    assert 0 <= after[0]["at"] - reset < 5.0
    assert 1.9 < after[1]["at"] - after[0]["at"] < 6.0, "one after the other"
    known = {one["item"]: (one["session"], one["agent"]) for one in before}
    for one in after:
        if one["item"] in known:
            assert (one["how"], (one["session"], one["agent"])) == ("--resume", known[one["item"]])
    assert run.snapshot().accounts == ()
    for event in ("account-limited", "account-open"):
        assert [each["account"] for each in happened(project, event)] == ["mine"]
    assert "the account mine is at its limit until " in run.output


@ALONE
def test_a_drain_ends_for_an_account_that_is_refused_and_says_what_to_do(
    tmp_path: Path, alone: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, theirs = Service(tmp_path, "mine", "401"), Service(tmp_path, "theirs")
    project = make_project(tmp_path / "r", programs(mine, theirs) + AT_ONCE)
    add_for(project, "mine", "a", "b", priority=0)
    add_for(project, "theirs", "other")
    options = ("--drain",) if alone else ("--drain", "--agents", "1")
    with running(project, *options, main=LOOP if alone else "") as run:
        assert run.wait() == 1, run.output
        assert "all that is left waits for what is paused: the account mine" in run.output
        (need,) = run.snapshot().attention
    assert need.why.startswith("the account mine is refused, so mine starts nothing: ")
    assert need.next == "parallel-loop resume mine"
    assert states(project) == {"a": "ready", "b": "ready", "other": "done"}
    assert counted(project, "a", "b") == [0, 0]
    assert len(mine.calls) == 1
    mine.says("ok")
    call(project, "doctor", "--json")
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [each["remedy"] for each in found if each["name"] == "account"] == [
        "log in, then `parallel-loop resume mine`"
    ]
    assert call(project, "resume", "mine") == 0
    assert call(project, "resume", "minne") == 1
    assert "'minne' is not paused; parked: mine" in capsys.readouterr().err
    if not alone:
        assert call(project, "cancel", "b") == 0
        with running(project, *options) as run:
            assert run.wait() == 0, run.output
        assert [one["how"] for one in mine.calls[1:]] == ["--resume"]


# --- one worker in this process -----------------------------------------------------------------------


@pytest.fixture
def here(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "SPACING_SECONDS", (0.0, 0.0))


def shop_with(tmp_path: Path, *services: Service, more: str = "") -> Workshop:
    return make_workshop(tmp_path / "r", programs(*services) + more + AT_ONCE)


@pytest.mark.usefixtures("here")
def test_a_role_runs_with_its_fallback_while_the_account_is_parked_and_the_record_says_so(tmp_path: Path) -> None:
    mine, theirs = Service(tmp_path, "mine", "limit 9e9"), Service(tmp_path, "theirs")
    mine.says(f"limit {time.time() + 3600}")
    shop = shop_with(tmp_path, mine, theirs, more="roles: {builder: {program: mine, fallback: theirs}}\n")
    shop.add("a", prompt=DO_IT, role="builder")
    with contextlib.closing(shop.worker()) as worker:
        assert [worker.work_once(), worker.work_once(), worker.work_once()] == [True, True, False]
    programs_ = [record.program for record in shop.entry("a").records if record.kind != "claimed"]
    assert programs_ == ["mine", "theirs"]
    assert (shop.last("a").kind, [one["how"] for one in theirs.calls]) == ("landing", ["--session-id"])
    assert shop.entry("a").item.program is None


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("status", "outcome"), [("429", "rate-limited"), ("529", "overloaded")])
def test_a_busy_service_is_left_alone_for_a_while_and_costs_nothing(tmp_path: Path, status: str, outcome: str) -> None:
    mine = Service(tmp_path, "mine", status)
    shop = shop_with(tmp_path, mine)
    shop.add("a", prompt=DO_IT, program="mine")
    with contextlib.closing(shop.worker()) as worker:
        assert [worker.work_once(), worker.work_once()] == [True, False]
    record = shop.last("a")
    assert (record.kind, record.outcome, record.counted, record.not_before) == ("released", outcome, False, None)
    account = AccountFile(shop.project).look().get("mine")
    assert account is not None
    assert (account.standing, account.cap, account.waits) == ("backing-off", 1, 1)


@pytest.mark.usefixtures("here")
def test_an_idle_worker_plans_to_wake_for_the_reset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[float] = []
    monkeypatch.setattr(Orders, "wait_for_ring", lambda _orders, _watch, seconds: planned.append(seconds))
    mine = Service(tmp_path, "mine", f"limit {time.time() + 4.0}")
    shop = shop_with(tmp_path, mine, more="health: {heartbeat: 1h, silent: 2h}\n")
    shop.add("a", prompt=DO_IT, program="mine")
    with (
        contextlib.closing(shop.worker()) as worker,
        contextlib.closing(BellWatch(shop.project.queue.bell)) as watch,
    ):
        assert worker.work_once()
        assert not worker.work_once()
        worker.wait(watch)
    assert 0 < planned[0] < 4.0
