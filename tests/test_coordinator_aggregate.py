"""The snapshot, of queues made by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from parallel_loop.coordinator.aggregate import build, current_snapshot
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.coordinator.snapshot import AgentStatus, Attention, CoordinatorStatus, Snapshot, decode, encode
from parallel_loop.coordinator.target_report import TargetReport, read_target, write_target
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import later, utc_now
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Taker
from support.queues import append
from support.runs import add, make_project
from support.taking import claimed


def take(project: Project, item_id: str, **ending: object) -> Taker:
    """Claim the item, which is the only one takable, and end the attempt as `ending` says."""
    taker = Taker(project.queue, Owner("agent-1", os.getpid()))
    claim = claimed(taker)
    assert claim.item.id == item_id
    if ending:
        assert taker.end(claim, Record(**({"at": utc_now(), "agent": "agent-1"} | ending)))
        taker.close()
    return taker


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "r")


def attention(project: Project) -> Mapping[str | None, tuple[str, str | None]]:
    return {need.item: (need.why, need.next) for need in current_snapshot(project).attention}


def test_a_repository_in_which_nothing_was_ever_run(project: Project) -> None:
    snapshot = current_snapshot(project)
    assert snapshot.coordinator == CoordinatorStatus(state="stopped")
    assert snapshot.agents == snapshot.attention == snapshot.recent == ()
    assert snapshot.totals.success_rate is None
    assert snapshot.totals.mean_seconds is None
    assert not project.queue.layout.root.exists(), "looking changes nothing"


def test_every_state_is_counted(project: Project) -> None:
    add(project, "done")
    take(project, "done", kind="done", seconds=2.0)
    add(project, "failed")
    take(project, "failed", kind="failed", why="no luck", seconds=9.0)
    add(project, "delayed")
    take(project, "delayed", kind="released", not_before=later(utc_now(), 3600), counted=True)
    add(project, "waiting")
    take(project, "waiting", kind="waiting", outcome="asked", why="which?")
    add(project, "landing")
    take(project, "landing", kind="landing", branch="b", commit="c")
    add(project, "cancelled")
    append(project.queue, "cancelled", "cancelled")
    add(project, "blocked", after=("failed",))
    add(project, "working")
    taker = take(project, "working")
    add(project, "ready")
    snapshot = current_snapshot(project)
    assert json.loads(encode(snapshot))["queue"] == dict.fromkeys(
        ("ready", "blocked", "delayed", "working", "landing", "waiting", "done", "failed", "cancelled"), 1
    )
    assert snapshot.totals.items == 9
    assert snapshot.totals.done_last_hour == 1
    assert snapshot.totals.success_rate == 0.5
    assert snapshot.totals.mean_seconds == 2.0
    taker.close()


def test_items_done_long_ago_are_not_of_the_last_hour(project: Project) -> None:
    add(project, "old")
    take(project, "old", kind="done", at=later(utc_now(), -3601), seconds=1.0)
    assert current_snapshot(project).totals.done_last_hour == 0


def test_what_needs_a_person_is_said_with_the_command_to_run_next(project: Project) -> None:
    add(project, "asks")
    take(project, "asks", kind="waiting", outcome="asked", why="which licence?")
    add(project, "looks")
    take(project, "looks", kind="waiting", outcome="review", why="wants a look")
    add(project, "fails")
    take(project, "fails", kind="failed", why="the program ended with exit code 1")
    add(project, "gone")
    append(project.queue, "gone", "cancelled")
    add(project, "after-failed", after=("fails",))
    add(project, "after-cancelled", after=("gone",))
    assert attention(project) == {
        "asks": ("which licence?", "parallel-loop answer asks TEXT"),
        "looks": ("wants a look; then `approve` or `reject` it", "parallel-loop diff looks"),
        "fails": ("the program ended with exit code 1", "parallel-loop show fails"),
        "after-failed": ("waits for fails, which is failed", "parallel-loop show fails"),
        "after-cancelled": ("waits for gone, which is cancelled", "parallel-loop retry gone"),
    }


def test_whose_worker_is_dead_is_told_while_nobody_takes_it_back(project: Project) -> None:
    add(project, "one")
    one = take(project, "one")
    assert attention(project) == {}
    one.close()
    mend = "and no coordinator runs: the next run takes {} back, or `parallel-loop doctor --repair`"
    assert attention(project) == {"one": (f"its worker is dead, {mend.format('it')}", "parallel-loop run")}
    add(project, "two")
    two = Taker(project.queue, Owner("agent-2", os.getpid()))
    assert two.take() is not None
    two.close()
    said = f"the workers of 2 items are dead, {mend.format('them')}"
    assert attention(project) == {None: (said, "parallel-loop run")}
    lock = CoordinatorLock(project.state.coordinator_lock, os.getpid(), 1.0, "boot")
    assert attention(project) == {}, "a coordinator takes them back itself"
    lock.close()


def test_damage_in_the_queue_needs_a_person(project: Project) -> None:
    add(project, "one")
    Path(project.queue.layout.record("one", 1)).write_text("nonsense")
    ((why, command),) = attention(project).values()
    assert "is damaged or foreign" in why
    assert command == "parallel-loop doctor"


def test_needs_come_in_the_order_in_which_they_are_best_looked_at(project: Project) -> None:
    add(project, "killed")
    take(project, "killed", kind="failed", outcome="died", why="the worker died")
    for number in range(3):
        add(project, f"behind-{number}", after=("killed",))
    add(project, "broken")
    add(project, "behind-broken", after=("broken",))
    Path(project.queue.layout.record("broken", 1)).write_text("nonsense")
    (project.queue.layout.root / os.fsdecode(b"odd\xff\n")).write_text("mine")
    add(project, "asks")
    take(project, "asks", kind="waiting", outcome="asked", why="which?")
    snapshot = decode(encode(current_snapshot(project)))
    assert [(need.item, need.next) for need in snapshot.attention] == [
        ("asks", "parallel-loop answer asks TEXT"),
        ("killed", "parallel-loop retry killed"),
        ("broken", "parallel-loop doctor"),
        (None, "parallel-loop doctor"),
        ("killed", "parallel-loop show killed"),
        ("behind-broken", "parallel-loop doctor"),
    ]
    assert snapshot.attention[3].why.endswith("odd\\xff\n: is none of the queue's files")
    assert snapshot.attention[4].why == "is failed, and 3 items wait for it"
    assert snapshot.attention[5].why == "waits for broken, which is damaged"


def test_a_blocked_target_needs_a_person(project: Project) -> None:
    report = TargetReport("main", "c0ffee", "README is changed", "git stash")
    assert write_target(project.state.root, report)
    assert not write_target(project.state.root, report), "it says nothing new"
    assert attention(project) == {None: ("main does not follow: README is changed", "git stash")}
    assert current_snapshot(project).target.blocked == "README is changed"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"name": 1}', b"\xff"])
def test_a_target_report_that_cannot_be_read_is_none(project: Project, content: bytes) -> None:
    (project.state.root / "target.json").write_bytes(content)
    assert read_target(project.state.root) is None


@pytest.mark.parametrize("name", ["agent-2", "landing"])
def test_a_place_that_was_given_up_needs_a_person_the_landers_too(project: Project, name: str) -> None:
    agents = [AgentStatus(name=name, health="failing", state="failing", note="no module named x")]
    survey = Survey(project.queue)
    snapshot = build(project, survey, agents, CoordinatorStatus(state="running"))
    (need,) = snapshot.attention
    assert need.why == f"{name} was given up: no module named x"
    assert need.next == f"parallel-loop logs {name} --worker"
    assert [agent.name for agent in snapshot.agents] == ["agent-2"] * (name == "agent-2")


def test_the_agents_come_in_the_order_of_their_places(project: Project) -> None:
    agents = [AgentStatus(name=f"agent-{number}", health="well", state="idle") for number in (10, 3, 1, 2)]
    snapshot = build(project, Survey(project.queue), agents, CoordinatorStatus(state="running"))
    assert [agent.name for agent in snapshot.agents] == ["agent-1", "agent-2", "agent-3", "agent-10"]


def test_of_a_limit_that_was_passed_the_key_and_the_figure_are_said_and_what_to_run_then(project: Project) -> None:
    add(project, "one")
    why = "the program was stopped after 2.0 s: it used 5.0 GB of memory, its limit is 4.0 GB (limits.memory)"
    take(project, "one", kind="failed", outcome="over-limit", why=why)
    said = f"{why}; raise that, or have it need less, then try again"
    assert attention(project) == {"one": (said, "parallel-loop retry one")}


def test_too_many_needs_are_cut_short(project: Project) -> None:
    for number in range(60):
        add(project, f"i{number}")
        append(project.queue, f"i{number}", "cancelled")
        add(project, f"j{number}", after=(f"i{number}",))
    needs = current_snapshot(project).attention
    assert len(needs) == 50
    assert needs[-1] == Attention(item=None, why="and 11 more", next="parallel-loop list")


def test_the_items_that_changed_last_come_first(project: Project) -> None:
    for number in range(3):
        add(project, f"i{number}")
        take(project, f"i{number}", kind="done", seconds=1.0)
    add(project, "untouched")
    assert [item.id for item in current_snapshot(project).recent] == ["i2", "i1", "i0"]


def test_the_document_has_the_fields_of_the_contract_with_their_types(project: Project) -> None:
    add(project, "one")
    agent = AgentStatus(name="agent-1", health="well", state="idle", pid=1)
    survey = Survey(project.queue)
    survey.refresh()
    document = json.loads(encode(build(project, survey, [agent], CoordinatorStatus(state="running", pid=1))))
    assert document["version"] == 1
    assert document["at"].endswith("Z")
    fields = {
        "coordinator": {"state", "pid", "started_at", "uptime_seconds", "cpu_percent", "rss_bytes"},
        "queue": {"ready", "blocked", "delayed", "working", "landing", "waiting", "done", "failed", "cancelled"},
        "totals": {"items", "done_last_hour", "success_rate", "mean_seconds"},
    }
    for name, expected in fields.items():
        assert expected <= set(document[name])
    assert set(document["agents"][0]) >= {
        "name",
        "health",
        "state",
        "pid",
        "item",
        "attempt",
        "role",
        "program",
        "since",
        "heartbeat_age_seconds",
        "progress_age_seconds",
        "restarts",
        "done",
        "failed",
        "rss_bytes",
        "cpu_percent",
    }
    assert all(type(value) is int for value in document["queue"].values())
    assert document["attention"] == []
    assert decode(encode(decode(json.dumps(document).encode()))).version == 1


def published(project: Project, **changes: object) -> Snapshot:
    """A status file as a coordinator of this process writes it, with a mark to know it by."""
    coordinator = CoordinatorStatus(state="running", pid=os.getpid(), wanted_agents=7)
    picture = build(project, Survey(project.queue), [], coordinator)
    picture = Snapshot(**({name: getattr(picture, name) for name in picture.__struct_fields__} | changes))
    project.state.status.write_bytes(encode(picture))
    return picture


def test_while_a_coordinator_runs_its_own_snapshot_is_shown(project: Project) -> None:
    published(project)
    assert current_snapshot(project).coordinator.state == "stopped", "it has ended"
    lock = CoordinatorLock(project.state.coordinator_lock, os.getpid(), 1.0, "boot")
    assert current_snapshot(project).coordinator.wanted_agents == 7
    lock.close()


@pytest.mark.parametrize("how", ["old", "damaged", "of another process"])
def test_a_snapshot_that_is_not_the_coordinators_own_of_now_is_made_anew(project: Project, how: str) -> None:
    if how == "old":
        published(project, at=later(utc_now(), -60))
    elif how == "damaged":
        project.state.status.write_text("{")
    else:
        published(project, coordinator=CoordinatorStatus(state="running", pid=1, wanted_agents=7))
    lock = CoordinatorLock(project.state.coordinator_lock, os.getpid(), 1.0, "boot")
    found = current_snapshot(project).coordinator
    lock.close()
    assert (found.state, found.pid, found.wanted_agents) == ("running", os.getpid(), None)
    assert found.uptime_seconds is not None
    assert 0 <= found.uptime_seconds < 60


def test_a_worker_that_outlived_its_coordinator_is_shown(project: Project) -> None:
    agent = project.state.agent("agent-3")
    agent.create()
    Heart(agent, 5.0).tell("working", item="one", attempt=2)
    (found,) = current_snapshot(project).agents
    assert (found.name, found.health, found.item, found.attempt, found.pid) == (
        "agent-3",
        "finishing",
        "one",
        2,
        os.getpid(),
    )
