"""The lander's forecast: what it looks at, when, and what it says of conflicts to come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator import forecaster
from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.forecaster import Forecaster
from parallel_loop.coordinator.lander import Lander
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.overlaps.forecast import Clash, Forecast
from parallel_loop.harness.project import Project
from parallel_loop.harness.rereading import Watched
from parallel_loop.harness.state import Session
from parallel_loop.queue import atomic
from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.queue.watching import BellWatch
from parallel_loop.worktrees.errors import GitError
from support.landing import a_lander, hand_over, land, make_branch
from support.repository import git
from support.runs import PATIENCE_SECONDS, add, happened, make_project, running, states, waits_for
from support.taking import claimed
from support.waiting import eventually


class Worker:
    """A worker that has taken an item and whose program has committed `files`."""

    def __init__(
        self, project: Project, number: int, item_id: str, files: Mapping[str, str], base: str = "main"
    ) -> None:
        self.project = project
        if project.queue.entry(item_id) is None:
            add(project, item_id)
        self.taker = Taker(project.queue, Owner(f"agent-{number}", os.getpid()))
        claim = claimed(self.taker)
        assert claim.item.id == item_id
        self.claim: Claim = claim
        self.branch = f"parallel-loop/item/{item_id}/{claim.attempt}"
        agent = project.state.agent(f"agent-{number}")
        agent.create()
        session = Session(item_id, claim.attempt, self.branch, claim.started_at)
        atomic.replace_file(agent.session, msgspec.json.encode(session))
        self.commit(files, base)

    def commit(self, files: Mapping[str, str], base: str | None = None) -> None:
        if files:
            make_branch(self.project, self.branch, files, base or self.branch)
        else:
            git(self.project.root, "branch", "--force", self.branch, base or self.branch)

    def end(self, kind: str) -> None:
        assert self.taker.end(self.claim, Record(kind=kind, at=utc_now(), outcome="failed"))


def forecast(project: Project) -> Forecast:
    return Watched(project.state.forecast, Forecast).look()


def maker(lander: Lander) -> Forecaster:
    return lander._forecaster


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "r")


def test_conflicts_of_branches_in_work_are_foreseen_and_shown(project: Project) -> None:
    Worker(project, 1, "one", {"README": "one\n"})
    Worker(project, 2, "two", {"README": "two\n", "other": "2"})
    Worker(project, 3, "three", {"src/c": "3"})
    Worker(project, 4, "idle", {})
    handed = hand_over(project, "handed", {"src/c": "handed"})
    git(project.root, "commit", "-q", "--allow-empty", "-m", "x")
    with a_lander(project) as lander:
        assert maker(lander).is_due(busy=False)
        assert maker(lander).make()
        made = forecast(project)
        assert [(one.item, one.attempt, one.paths) for one in made.branches] == [
            ("one", 1, ("README",)),
            ("two", 1, ("README", "other")),
            ("three", 1, ("src/c",)),
            ("idle", 1, ()),
            ("handed", 1, ("src/c",)),
        ]
        assert made.branches[-1].commit == handed
        expected = [(("one", "two"), ("README",)), (("three", "handed"), ("src/c",))]
        assert [(one.items, one.paths) for one in made.conflicts] == expected
        shown = current_snapshot(project)
        assert [(one.items, one.paths) for one in shown.conflicts] == expected
        assert shown.attention == ()
        lander.land_all()
        assert [one.items for one in current_snapshot(project).conflicts] == [("one", "two")]
        maker(lander).make()
        assert Clash(items=("three",), paths=("src/c",)) in forecast(project).conflicts


def test_git_is_asked_once_a_minute_at_most_and_only_when_a_branch_moved(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(project, 1, "one", {"README": "one\n"})
    now = [1000.0]
    monkeypatch.setattr(forecaster.time, "monotonic", lambda: now[0])
    with a_lander(project) as lander:
        made = maker(lander)
        assert made.make()
        assert made.seconds_until_due == 60.0
        assert not made.is_due(busy=False)
        now[0] += 60
        assert made.is_due(busy=False)
        assert not made.is_due(busy=True)  # there is always something to land: once in ten minutes
        calls: list[object] = []
        monkeypatch.setattr(made._merges, "tips", lambda *given: calls.append(given) or {})
        assert not made.make()
        assert calls == []
        assert made.seconds_until_due == 10.0  # looking again costs no git
        worker.commit({"more": "x"})
        now[0] += 600
        assert made.is_due(busy=True)
        made.make()
        assert len(calls) == 1


def test_a_first_commit_is_noticed_soon_after_branches_without_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Worker(project, 1, "one", {}), Worker(project, 2, "two", {})
    now = [1000.0]
    monkeypatch.setattr(forecaster.time, "monotonic", lambda: now[0])
    with a_lander(project) as lander:
        assert maker(lander).make()
        assert maker(lander).seconds_until_due == 10.0  # nothing was merged, so the minute has not begun
        one.commit({"README": "one\n"})
        two.commit({"README": "two\n"})
        assert maker(lander).make()
    assert [clash.items for clash in forecast(project).conflicts] == [("one", "two")]


def test_a_forecast_that_took_long_is_made_less_often(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker(project, 1, "one", {"README": "one\n"})
    now = [1000.0]
    monkeypatch.setattr(forecaster.time, "monotonic", lambda: now[0])
    with a_lander(project) as lander:
        real = maker(lander)._merges.changed

        def slow(*given: object) -> object:
            now[0] += 5
            return real(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(maker(lander)._merges, "changed", slow)
        assert maker(lander).make()
        assert maker(lander).seconds_until_due == 250.0


def test_without_anything_in_work_no_git_is_asked_and_nothing_is_written(project: Project) -> None:
    add(project, "one")
    with a_lander(project) as lander:
        assert not maker(lander).make()
        assert maker(lander).seconds_until_due <= 10.0
    assert not project.state.forecast.exists()


def test_what_branches_changed_is_known_until_their_items_end(project: Project) -> None:
    worker = Worker(project, 1, "one", {"README": "one\n"})
    with a_lander(project) as lander:
        maker(lander).make()
        worker.end("released")
        maker(lander).make()
        assert forecast(project).branches == ()
        assert forecast(project).earlier == {"one": ("README",)}
        entry = project.queue.entry("one")
        assert entry is not None
        assert project.queue.append(entry, Record(kind="cancelled", at=utc_now()))
        make_branch(project, "x", {"x": "x"})
        git(project.root, "update-ref", "refs/heads/parallel-loop/landed", "x")
        maker(lander).make()
    assert forecast(project).earlier == {}


def test_of_too_many_branches_the_newest_are_looked_at(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecaster, "MOST_BRANCHES", 2)
    for number in range(1, 4):
        Worker(project, number, f"i{number}", {"README": f"{number}\n"})
    with a_lander(project) as lander:
        maker(lander).make()
    assert [one.item for one in forecast(project).branches] == ["i2", "i3"]
    assert len(forecast(project).conflicts) == 1


def test_of_too_many_paths_the_folders_are_told(project: Project) -> None:
    Worker(project, 1, "one", {f"src/{number}/x": "1" for number in range(120)})
    with a_lander(project) as lander:
        maker(lander).make()
    assert forecast(project).branches[0].paths == ("src/",)


def fail(*_: object) -> None:
    raise GitError(("merge-tree",), Path("/"), 128, "no such option")


@pytest.mark.parametrize("broken", ["orphan", "gone", "git"])
def test_what_git_cannot_do_hinders_no_landing(project: Project, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Worker(project, 1, "one", {"README": "one\n"})
    two = Worker(project, 2, "two", {"README": "two\n"})
    Worker(project, 3, "three", {"README": "three\n"})
    if broken == "orphan":
        tree = git(project.root, "rev-parse", "main^{tree}")
        commit = git(project.root, "commit-tree", "-m", "no parent", tree)
        git(project.root, "update-ref", f"refs/heads/{two.branch}", commit)
    elif broken == "gone":
        git(project.root, "update-ref", "-d", f"refs/heads/{two.branch}")
    hand_over(project, "four", {"four": "4"})
    with a_lander(project) as lander:
        if broken == "git":
            monkeypatch.setattr(maker(lander)._merges, "clashes", fail)
            assert not maker(lander).make()
            assert not maker(lander).is_due(busy=False)
        else:
            assert maker(lander).make()
            assert [one.items for one in forecast(project).conflicts] == [("one", "three")]
        lander.land_all()
    entry = project.queue.entry("four")
    assert entry is not None
    assert entry.last_is("done")


def test_a_forecast_changes_nothing_that_is_landed(project: Project) -> None:
    hand_over(project, "one", {"README": "one\n"})
    hand_over(project, "two", {"README": "two\n"})
    with a_lander(project) as lander:
        maker(lander).make()
    assert forecast(project).conflicts != ()
    land(project)
    entry = project.queue.entry("one")
    assert entry is not None
    assert entry.last_is("done")


class OnceAround(Orders):
    """Orders that say to finish as soon as there is nothing to do but wait."""

    def wait_for_ring(self, watch: BellWatch, seconds: float) -> None:
        assert 0 < seconds <= 10
        self.finishing = True


def test_a_lander_with_nothing_to_land_makes_a_forecast(project: Project) -> None:
    Worker(project, 1, "one", {"README": "one\n"})
    hand_over(project, "two", {"README": "two\n"})
    lander = Lander(project, "main", OnceAround())
    lander.run()
    lander.close()
    assert forecast(project).conflicts == (Clash(items=("one",), paths=("README",)),)


def test_a_run_does_not_start_together_what_touches_the_same_paths(project: Project, tmp_path: Path) -> None:
    go = tmp_path / "go"
    add(project, "one", waits_for(go), paths=("src/",))
    add(project, "two", waits_for(go), paths=("src/*.py",))
    add(project, "three", waits_for(go))
    with running(project, "--agents", "2", "--drain") as run:
        eventually(lambda: [event["item"] for event in happened(project, "claimed")][1:], PATIENCE_SECONDS)
        assert {event["item"] for event in happened(project, "claimed")} == {"one", "three"}
        go.touch()
        assert run.wait() == 0
    assert set(states(project).values()) == {"done"}
    assert [event["item"] for event in happened(project, "passed-over")] == ["two"]
