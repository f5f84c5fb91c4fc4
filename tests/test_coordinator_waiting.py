"""For how long the coordinator waits when nothing happens, and that a request, a ring or a death wakes it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from parallel_loop.coordinator import coordinator as coordinator_module
from parallel_loop.coordinator import crew as crew_module
from parallel_loop.coordinator import status as status_module
from parallel_loop.coordinator.control import request
from parallel_loop.coordinator.coordinator import Coordinator
from parallel_loop.coordinator.crew import Crew
from parallel_loop.coordinator.lifecycle import PlaceState
from parallel_loop.coordinator.run import Lines
from parallel_loop.harness.project import Project
from parallel_loop.queue.watching import POLL_SECONDS, BellWatch
from support.runs import PATIENCE_SECONDS, add, events, make_project, running, states
from support.waiting import eventually

# A coordinator, and workers, that nothing but an event wakes within the time of a test.
PATIENT_RUN = """
import sys
from parallel_loop.coordinator import coordinator, crew, status
from parallel_loop.coordinator.cli import main
status._IDLE_SECONDS = status._PUBLISH_SECONDS = crew._HEALTH_SECONDS = 1800.0
sys.exit(main(["run", "--agents", "1"]))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "r", "health: {heartbeat: 1h, silent: 24h}")


@pytest.fixture
def idle(project: Project) -> Iterator[tuple[Coordinator, BellWatch]]:
    """A coordinator that has just looked at everything, and has no process."""
    with (project.root.parent / "out").open("w") as out:
        coordinator = Coordinator(project, "main", agents=1, drain=False, display=Lines(project.state.events, out))
        coordinator._work.heard = project.queue.bell.heard()
        coordinator._status.due = time.monotonic() + 3.0
        coordinator._crew._next_health = time.monotonic() + 5.0
        with coordinator._signals, closing(BellWatch(project.queue.bell)) as watch:
            yield coordinator, watch


def test_it_waits_for_the_earliest_of_what_nobody_tells_of(idle: tuple[Coordinator, BellWatch]) -> None:
    coordinator, watch = idle
    assert coordinator._plan_to_wait(watch) == (pytest.approx(3.0, abs=0.5), watch.descriptors)
    place = coordinator._crew.place("agent-1")
    place.state, place.resume_at = PlaceState.WAITING, time.monotonic() + 1.0
    assert coordinator._plan_to_wait(watch)[0] == pytest.approx(1.0, abs=0.5)
    place.resume_at = 0.0
    assert coordinator._plan_to_wait(watch)[0] == 0.0


def test_it_does_not_turn_without_end_while_it_is_paused_and_a_place_is_empty(project: Project) -> None:
    crew = Crew(project, "main")
    crew._next_health = time.monotonic() + 5.0
    place = crew.place("agent-1")
    place.state, place.resume_at = PlaceState.WAITING, 0.0
    assert crew.next_look(paused=True) == crew._next_health
    crew.lander.state, crew.lander.resume_at = PlaceState.WAITING, 0.0
    assert crew.next_look(paused=True) == 0.0, "landing goes on"


def test_a_ring_before_the_wait_is_not_slept_through(idle: tuple[Coordinator, BellWatch], project: Project) -> None:
    coordinator, watch = idle
    project.queue.bell.ring()
    watch.drain()
    assert coordinator._plan_to_wait(watch)[0] == 0.0


def test_right_after_a_look_a_thousand_rings_are_no_thousand_turns(
    idle: tuple[Coordinator, BellWatch], project: Project
) -> None:
    coordinator, watch = idle
    coordinator._not_before = time.monotonic() + 2.0
    project.queue.bell.ring()
    seconds, descriptors = coordinator._plan_to_wait(watch)
    assert seconds == pytest.approx(coordinator_module._BUSY_SECONDS, abs=0.05)
    assert list(descriptors) == []


def test_where_the_kernel_does_not_tell_it_looks(idle: tuple[Coordinator, BellWatch]) -> None:
    coordinator, watch = idle
    watch.close()
    assert coordinator._plan_to_wait(watch) == (POLL_SECONDS, ())


def test_a_place_whose_end_nobody_tells_is_looked_at(project: Project) -> None:
    crew = Crew(project, "main")
    crew._next_health = time.monotonic() + 5.0

    class Unwatched:
        descriptor = None

    crew.place("agent-1").process = Unwatched()  # type: ignore[assignment]
    assert crew.next_look(paused=False) <= time.monotonic() + crew_module._LOOK_SECONDS


def test_a_late_turn_is_late_by_what_was_not_planned(idle: tuple[Coordinator, BellWatch]) -> None:
    coordinator, _ = idle
    coordinator._last_turn = time.monotonic() - 10.0
    assert coordinator._late_seconds(3.0) == pytest.approx(6.6, abs=0.3)
    assert coordinator._late_seconds(3.0) == 0.0


def test_requests_rings_and_deaths_wake_a_run_that_would_sleep_for_half_an_hour(
    project: Project, tmp_path: Path
) -> None:
    assert status_module._IDLE_SECONDS
    script = tmp_path / "patient.py"
    script.write_text(PATIENT_RUN)
    with running(project, main=str(script)) as run:
        eventually(lambda: "started" in [event["event"] for event in events(project)], PATIENCE_SECONDS)
        add(project, "one")
        eventually(lambda: states(project) == {"one": "done"}, PATIENCE_SECONDS)
        (worker,) = run.children("parallel_loop.harness.worker")
        until_asleep(run.process.pid)
        worker.kill()
        eventually(lambda: "died" in [event["event"] for event in events(project)], PATIENCE_SECONDS)
        until_asleep(run.process.pid)
        request(project, paused=True)
        eventually(lambda: "paused" in [event["event"] for event in events(project)], PATIENCE_SECONDS)
        until_asleep(run.process.pid)
        request(project, ending="finish")
        assert run.wait() == 0, run.output


def until_asleep(pid: int) -> None:
    """Wait until the process has not run for a while: no turn that was under way can notice what comes next."""
    seen: list[int] = []

    def is_asleep() -> bool:
        seen.append(psutil.Process(pid).num_ctx_switches().voluntary)
        return len(seen) > 25 and len(set(seen[-25:])) == 1

    eventually(is_asleep, PATIENCE_SECONDS)
