"""A lander and a coordinator that find no room, and what is told of it."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.attention import attention
from parallel_loop.coordinator.control import Wanted, read_wanted, write_wanted
from parallel_loop.coordinator.coordinator import Coordinator
from parallel_loop.coordinator.crew import Crew
from parallel_loop.coordinator.lifecycle import Event, PlaceState
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.coordinator.run import Lines
from parallel_loop.coordinator.snapshot import AgentStatus, CoordinatorStatus, QueueCounts, Snapshot, Totals, encode
from parallel_loop.coordinator.spare import SpareDescriptors
from parallel_loop.harness.child import NO_ROOM
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.shortage import Lack
from parallel_loop.queue import atomic
from parallel_loop.queue.survey import Survey
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.landing import LandingBranch
from support.landing import a_lander, hand_over
from support.queues import START
from support.runs import events, kinds, make_project
from support.shortage import LACK, NO_SPACE, lacking
from support.waiting import eventually


def test_what_is_wanted_can_be_written_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_project(tmp_path / "r").state
    long, short = Wanted(12, paused=True, ending="finish"), Wanted(1)
    write_wanted(state, long)
    monkeypatch.setattr(atomic, "replace_file", lambda *_: (_ for _ in ()).throw(NO_SPACE))
    for wanted in (short, long):
        write_wanted(state, wanted)
        assert read_wanted(state) == wanted


@pytest.mark.parametrize("said", ["fatal: No space left on device", "fatal: unable to write new index file"])
def test_a_branch_that_finds_no_room_is_landed_when_there_is_some_and_is_not_sent_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    project = make_project(tmp_path / "r", "checks: ['true']\n")
    hand_over(project, "one", {"one": "1"})

    def join(*_: object, **__: object) -> None:
        raise GitError(("merge-tree",), project.root, 128, said)

    with a_lander(project) as lander:
        with monkeypatch.context() as patch:
            patch.setattr(LandingBranch, "join", join)
            looks = 2 if "No space" in said else 3  # before it, after it when git did not say why, and at telling of it
            lacking(patch, *[None, *[LACK] * (looks - 1)] * 5)
            assert [lander.land_next() for _ in range(5)] == [False] * 5
            lacking(patch, LACK)
            lander.land_all()
            lander.look_at_target()
            assert lander.seconds_until_look == 0.0
            monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 1.0)
            assert lander.seconds_until_look >= 1.0, "it does not look again and again meanwhile"
        assert kinds(project, "one") == ["claimed", "landing"]
        lander.land_all()
    assert kinds(project, "one") == ["claimed", "landing", "done"]
    assert [event["event"] for event in events(project) if "hindered" in str(event["event"])] == [
        *["hindered", "unhindered"] * 5,
    ]


def test_a_check_that_fails_for_want_of_room_sends_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "r", f"checks: ['test -e {tmp_path}/room']\n")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        lacking(monkeypatch, None, LACK, None)
        lander.land_next()
        assert kinds(project, "one") == ["claimed", "landing"]
        (tmp_path / "room").touch()
        assert lander.land_next()
    assert kinds(project, "one") == ["claimed", "landing", "done"]


def test_a_process_that_could_not_begin_for_want_of_room_counts_as_no_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "r", "health: {restarts: 1}\n")
    crew = Crew(project, "main")
    crew.begin()
    place = crew.place("agent-1")
    place.module = "parallel_loop.harness.state"  # any process will do
    argv = [sys.executable, "-c", f"raise SystemExit({NO_ROOM})"]
    popen = subprocess.Popen
    monkeypatch.setattr(
        "parallel_loop.coordinator.process.subprocess.Popen", lambda _argv, **options: popen(argv, **options)
    )
    for _ in range(4):
        crew.happen(place, Event.WANTED if place.state is PlaceState.VACANT else Event.PAUSE_OVER)
        assert place.process is not None
        eventually(lambda: crew.notice_deaths(crew.descriptors()))
        assert place.state is PlaceState.WAITING
        assert "want of room" in (place.note or "")
    assert place.restarts.total == 0
    assert place.restarts.deaths_in_a_row == 0
    later = place.resume_at
    crew.go_on()
    assert place.resume_at < later, "it begins at once when there is room again"
    crew.leave()


def test_nobody_is_taken_for_silent_while_nothing_can_be_written(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    coordinator = Coordinator(project, "main", agents=1, drain=False, display=Lines(project.state.events, sys.stdout))
    coordinator._last_turn -= 100.0
    assert coordinator._late_seconds(200.0) == 0.0
    coordinator._last_turn -= 100.0
    coordinator._complaint.tell(LACK)
    assert coordinator._late_seconds(200.0) >= 100.0


def test_what_every_agent_lacks_is_told_once_with_its_remedy(tmp_path: Path) -> None:
    survey = Survey(make_project(tmp_path / "r").queue)

    def agent(name: str, note: str | None, remedy: str = "do it") -> AgentStatus:
        return AgentStatus(name=name, health="no-room" if note else "well", state="idle", note=note, next=remedy)

    low = agent("agent-2", "disk of the state: 3 MB free", LACK.next)
    agents = [agent("agent-1", "Too many"), low, agent("agent-3", "Too many"), agent("a", None)]
    found = attention([], survey, agents, None, lack=LACK)
    assert [(entry.why.partition(";")[0], entry.next) for entry in found] == [
        (LACK.why, LACK.next),
        ("agent-1, agent-3: Too many", "do it"),
    ]


@pytest.mark.parametrize("lack", [LACK, None])
def test_a_snapshot_that_is_old_is_not_trusted_and_readers_look_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lack: Lack | None
) -> None:
    project = make_project(tmp_path / "r")
    lock = CoordinatorLock(project.state.coordinator_lock, *own_identity())
    agent = project.state.agent("agent-1")
    agent.create()
    Heart(agent, 5.0).tell("working", item="one")
    old = Snapshot(
        at=START,
        coordinator=CoordinatorStatus(state="running", pid=os.getpid()),
        agents=(),
        queue=QueueCounts(),
        totals=Totals(),
        attention=(),
    )
    project.state.status.write_bytes(encode(old))
    monkeypatch.setattr("parallel_loop.coordinator.aggregate.find_lack", lambda _: lack)
    picture = current_snapshot(project)
    lock.close()
    assert [(agent.name, agent.health) for agent in picture.agents] == [("agent-1", "well")]
    assert picture.attention[0].why.startswith(
        LACK.why if lack else f"the coordinator (pid {os.getpid()}) has published"
    )


def test_spare_descriptors_are_there_when_there_are_no_others() -> None:
    with SpareDescriptors() as spare:
        use_up_descriptors(spare)


def use_up_descriptors(spare: SpareDescriptors) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = 1 + max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        with spare.given_up():
            os.close(os.open("/dev/null", os.O_RDONLY))
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in taken:
            os.close(descriptor)


def test_a_line_that_a_full_disk_cut_off_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write = tmp_path / "events.jsonl", os.write
    atomic.append_line(path, b'{"n": 1}')
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:4]))
        with pytest.raises(OSError, match="No space left"):
            atomic.append_line(path, b'{"n": 2}')
        assert path.read_bytes() == b'{"n": 1}\n   \n'
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(NO_SPACE))
        for _ in range(2):
            with pytest.raises(OSError, match="No space left"):
                atomic.append_line(path, b'{"n": 2}')
    atomic.append_line(path, b'{"n": 3}')
    assert path.read_bytes() == b'{"n": 1}\n   \n{"n"\n{"n\n{"n": 3}\n'
    with monkeypatch.context() as patch:
        path.write_bytes(b"torn")
        patch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:4]))
        with pytest.raises(OSError, match="No space left"):
            atomic.append_line(path, b'{"n": 4}')
    assert path.read_bytes() == b"torn\n  \n"


def test_what_killed_processes_were_writing_is_removed_at_the_next_start(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    agent = project.state.agent("agent-1")
    agent.create()
    gone = subprocess.Popen(["true"])
    gone.wait()
    dead = [project.state.root / f".status.json.{gone.pid}-1-1", agent.root / f".heartbeat.json.{gone.pid}-22-3"]
    others = [project.state.root / f".status.json.{os.getpid()}-1-1", agent.root / ".notes.1-2", agent.logs / "1-2-3"]
    for path in (*dead, *others):
        path.touch()
    assert project.state.remove_drafts() == 2
    assert [path.exists() for path in (*dead, *others)] == [False, False, True, True, True]
