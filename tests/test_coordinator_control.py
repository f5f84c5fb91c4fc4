"""Speaking to a coordinator: what is written down, and what a real run makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.coordinator.control import NotRunning, Wanted, read_wanted, request, write_wanted
from parallel_loop.coordinator.drawing.frame import Frame
from parallel_loop.coordinator.drawing.tables import status_text
from parallel_loop.coordinator.lock import CoordinatorLock
from support.runs import PATIENCE_SECONDS, WORKER, add, events, make_project, running, states
from support.waiting import eventually


def test_without_a_coordinator_nothing_is_asked_of_anybody(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    write_wanted(project.state, Wanted(agents=3))
    with pytest.raises(NotRunning, match="parallel-loop run"):
        request(project, paused=True)
    assert read_wanted(project.state) == Wanted(agents=3)


def test_a_coordinator_that_has_not_begun_to_listen_is_waited_for_and_then_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallel_loop.coordinator.control._PATIENCE_SECONDS", 0.05)
    project = make_project(tmp_path / "r")
    lock = CoordinatorLock(project.state.coordinator_lock, 1, 1.0, "boot")
    with pytest.raises(NotRunning):
        request(project, agents=2)
    lock.close()


def test_a_request_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    lock = CoordinatorLock(project.state.coordinator_lock, 4242, 1.0, "boot")
    write_wanted(project.state, Wanted(agents=3))
    before = project.queue.bell.heard()
    assert request(project, paused=True).pid == 4242
    assert request(project, agents=5).pid == 4242
    request(project, ending="finish")
    assert read_wanted(project.state) == Wanted(agents=5, paused=True, ending="finish")
    assert project.queue.bell.heard() != before
    lock.close()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"agents": "many"}', b'{"agents": 1000000000}', b'{"agents": 0}', b"\xff"]
)
def test_a_wanted_state_that_makes_no_sense_is_none(tmp_path: Path, content: bytes) -> None:
    project = make_project(tmp_path / "r")
    project.state.wanted.write_bytes(content)
    assert read_wanted(project.state) is None


def test_pause_resume_scale_and_stop_take_effect_on_a_real_run(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    with running(project, "--agents", "1") as run:
        eventually(lambda: run.agent("agent-1") and run.agent("agent-1").state == "idle", PATIENCE_SECONDS)
        request(project, paused=True)
        eventually(lambda: run.snapshot().coordinator.state == "paused", PATIENCE_SECONDS)
        add(project, "one")
        request(project, agents=3)  # started while paused, a worker would take the item before it is told
        eventually(lambda: run.snapshot().coordinator.wanted_agents == 3, PATIENCE_SECONDS)
        assert run.snapshot().coordinator.agents_by is None, "the configuration says so, too"
        assert states(project) == {"one": "ready"}
        assert len(run.children(WORKER)) == 1
        request(project, paused=False)
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)
        eventually(lambda: len(run.children(WORKER)) == 3, PATIENCE_SECONDS)
        request(project, agents=1)
        eventually(lambda: run.snapshot().coordinator.agents_by == "scale 1", PATIENCE_SECONDS)
        assert "by scale 1, not `agents: 3`" in status_text(run.snapshot(), Frame(200))
        eventually(lambda: len(run.children(WORKER)) == 1, PATIENCE_SECONDS)
        eventually(lambda: [agent.name for agent in run.snapshot().agents] == ["agent-1"], PATIENCE_SECONDS)
        request(project, ending="finish")
        assert run.wait() == 0
    assert run.output.endswith("ended: 1 done, 0 failed, none left\n")
    told = [event["event"] for event in events(project)]
    assert [event for event in told if event in {"paused", "resumed", "finishing"}] == [
        "paused",
        "resumed",
        "finishing",
    ]
    assert "died" not in told
    with pytest.raises(NotRunning):
        request(project, paused=True)


def test_stop_now_ends_the_program_and_gives_its_item_back_at_no_cost(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add(project, "long", "echo begun > begun; exec sleep 1000")
    with running(project, "--agents", "1") as run:
        run.until_working("long")
        request(project, ending="stop")
        assert run.wait() == 130
    entry = project.queue.entry("long")
    assert entry is not None
    assert entry.last is not None
    assert (entry.last.kind, entry.last.outcome, entry.last.counted) == ("released", "interrupted", False)
