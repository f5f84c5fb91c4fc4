"""Want of room: what is told, what is waited for, and that all of it goes on by itself."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from parallel_loop.harness import shortage
from parallel_loop.harness.child import NO_ROOM
from parallel_loop.harness.heart import Heart
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.keeping.bounds import Bounds
from parallel_loop.harness.keeping.kept import Command, Kept
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.outcome import Evidence, judge
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.room import Complaint
from parallel_loop.harness.runner import Run
from parallel_loop.harness.shortage import Lack, find_lack, lack_of
from parallel_loop.harness.state import read_heartbeat
from parallel_loop.queue import atomic
from parallel_loop.queue.records import Entry, Item, Record
from parallel_loop.queue.retry import RetryPolicy
from parallel_loop.queue.survey import Survey
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.git import Git
from parallel_loop.worktrees.landing import LandingBranch
from support import small_disks
from support.harness import Workshop, make_workshop, spare_others
from support.landing import a_lander, hand_over
from support.queues import START
from support.runs import events, kinds, make_project
from support.waiting import eventually

FULL = OSError(errno.ENOSPC, "No space left on device")
LACK = Lack("No space left on device (/x)", "df -h /x")


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    spare_others(monkeypatch)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    return make_workshop(tmp_path / "repo", "checks: ['test -e a']\n")


def lacking(monkeypatch: pytest.MonkeyPatch, *answers: Lack | None) -> None:
    """Let every look at the room of the machine find the next of `answers`, and the last for good."""
    found = itertools.chain(answers, itertools.repeat(answers[-1]))
    monkeypatch.setattr("parallel_loop.harness.room.find_lack", lambda _: next(found))


# --- real machines ----------------------------------------------------------------------------------------


def try_for_real(command: list[str]) -> None:
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.large  # as all of `make room`, but for the descriptors below
def test_a_disk_that_is_full_for_a_while_costs_nothing_and_is_told_of() -> None:
    if not small_disks.may_mount():
        pytest.skip("nothing can be mounted here, not even in a namespace of its own: run it as root on Linux")
    try_for_real(small_disks.in_a_namespace("tmpfs", "bytes"))


def test_descriptors_that_run_out_for_a_while_cost_nothing_and_that_is_told_of() -> None:
    try_for_real(small_disks.inside("descriptors"))


LEAST = """
import resource, sys
from pathlib import Path
from parallel_loop.harness.shortage import find_lack
limit, soft = getattr(resource, sys.argv[1]), int(sys.argv[2])
resource.setrlimit(limit, (soft, resource.getrlimit(limit)[1]))
lack = find_lack([Path(sys.argv[3])])
sys.stdout.write("nothing" if lack is None else f"{lack.why}|{lack.next}")
"""


@pytest.mark.parametrize(("soft", "said"), [(64, "nothing"), (12, "Too many open files|prlimit --pid ")])
def test_descriptors_are_looked_for_before_there_is_none_left(tmp_path: Path, soft: int, said: str) -> None:
    argv = [sys.executable, "-P", "-c", LEAST, "RLIMIT_NOFILE", str(soft), str(tmp_path)]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout.startswith(said)


def test_what_was_tried_leaves_nothing_behind_and_a_directory_that_is_missing_is_no_want_of_room(
    tmp_path: Path,
) -> None:
    assert find_lack([tmp_path, tmp_path]) is None
    assert list(tmp_path.iterdir()) == []
    assert find_lack([tmp_path / "missing"]) is None


def test_a_thread_that_cannot_be_started_is_a_want_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise RuntimeError("can't start new thread")

    git = Git(tmp_path)
    monkeypatch.setattr("threading.Thread.start", refuse)
    lack = find_lack([tmp_path])
    assert lack is not None
    assert lack.why == "No process or thread can be started"
    with pytest.raises(GitError) as failure:
        git.run("init", "--quiet")
    assert shortage.is_shortage(failure.value)
    assert list(tmp_path.iterdir()) == [], "git was not started without somebody to end it"
    heart = Heart(make_workshop(tmp_path / "repo").project.state.agent("agent-1"), 5.0)
    with heart.beating():
        pass


@pytest.mark.parametrize(
    ("error", "why", "remedy"),
    [
        (OSError(errno.ENOSPC, "x", "/d"), "No space left on device (/d)", "df -h /d"),
        (OSError(errno.EROFS, "x", "/a b"), "Read-only file system (/a b)", "findmnt --target '/a b'"),
        (OSError(errno.EDQUOT, "x"), "Disk quota exceeded", "quota -s"),
        (OSError(errno.EMFILE, "x", "/d"), "Too many open files", "prlimit --pid PID --nofile=4096"),
        (OSError(errno.EIO, "x", "/d"), "Input/output error", "parallel-loop doctor"),
        (GitError(("gc",), Path("/d"), 1, "no"), "git gc failed in /d (exit code 1): no", "parallel-loop doctor"),
    ],
)
def test_each_lack_is_one_line_and_one_command(error: Exception, why: str, remedy: str) -> None:
    assert lack_of(error) == Lack(why, remedy.replace("PID", str(os.getpid())))


# --- workers ----------------------------------------------------------------------------------------------


def test_nothing_is_taken_while_there_is_no_room_and_that_is_told_once(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.worker()
    with monkeypatch.context() as patch:
        lacking(patch, LACK)
        assert [worker.work_once() for _ in range(5)] == [False] * 5
        beat = read_heartbeat(shop.project.state.agent("agent-1"))
    assert beat is not None
    assert beat.hindrance == LACK
    assert shop.entry("one").records == ()
    assert worker.work_once()
    worker.close()
    assert shop.last("one").kind == "landing"
    told = [event["event"] for event in events(shop.project)]
    assert told == ["hindered", "unhindered", "claimed", "landing"]
    beat = read_heartbeat(shop.project.state.agent("agent-1"))
    assert beat is not None
    assert beat.hindrance is None


def test_a_history_without_room_is_told_as_soon_as_there_is_some(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaint = Complaint(shop.project, "agent-1")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "append_line", lambda *_: (_ for _ in ()).throw(FULL))
        assert not complaint.tell(LACK)
    assert not complaint.tell(Lack("something else by now", "x"))
    assert not complaint.tell(LACK)
    assert complaint.tell(None)
    assert not complaint.tell(None)
    assert [(event["event"], event["why"]) for event in events(shop.project)] == [
        ("hindered", LACK.why),
        ("unhindered", LACK.why),
    ]


def test_a_program_that_fails_for_want_of_room_costs_no_attempt_the_first_time(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add("one", "exit 1", max_attempts=3)
    worker = shop.worker()
    for _ in range(3):
        lacking(monkeypatch, None, LACK, None)  # before it is taken; at the end of the program; from then on
        assert worker.work_once()
    worker.close()
    ends = [(record.outcome, record.counted) for record in shop.entry("one").records[1::2]]
    assert ends == [("no-room", False), ("no-room", True), ("no-room", True)], (
        "it may be the program that fills the disk"
    )
    assert PauseFile(shop.project).look() == (), "that says nothing of the program"
    assert "exit code 1" in (shop.last("one").why or "")
    assert LACK.why in (shop.last("one").why or "")


def test_a_check_that_fails_for_want_of_room_is_run_again_and_the_work_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare_others(monkeypatch)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    check = tmp_path / "ran"
    shop = make_workshop(tmp_path / "repo", f"checks: ['echo >> {check}; test $(wc -l < {check}) -gt 1']\n")
    lacking(monkeypatch, None, LACK, None)
    assert shop.work("one", "echo 1 > a; echo once >> ../program").kind == "landing"
    assert (shop.project.worktrees / "program").read_text() == "once\n"
    assert check.read_text() == "\n\n"


def test_a_program_that_cannot_be_started_for_want_of_room_costs_no_attempt(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("parallel_loop.harness.runner.Kept", refuse)
    monkeypatch.setattr("parallel_loop.harness.room._FIRST_BREATH_SECONDS", 0.0)
    record = shop.work("one", "true")
    assert (record.outcome, record.counted) == ("no-room", False)


def test_a_command_that_cannot_be_started_for_want_of_descriptors_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    before = set(Path("/proc/self/fd").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("parallel_loop.harness.keeping.kept.open_log", refuse)
        with pytest.raises(OSError, match="Too many open files"):
            Kept(Command(("true",), tmp_path, {}, tmp_path / "log", None, Bounds()))
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_who_finds_no_room_waits_ever_longer_unless_there_is_more(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = shop.worker()
    room, now, free = worker._room, [0.0], [100]

    def wait(seconds: float, *_: int) -> None:
        now[0] += seconds

    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 1.0)
    monkeypatch.setattr("parallel_loop.harness.room.time.monotonic", lambda: now[0])
    monkeypatch.setattr(room, "_free_bytes", lambda: free[0])
    monkeypatch.setattr(room.orders, "wait", wait)
    breaths = []
    for _ in range(6):
        start = now[0]
        room.take_a_breath(lambda: False)
        breaths.append(now[0] - start)
    assert breaths == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    start = now[0]
    room.take_a_breath(lambda: bool(free.__setitem__(0, free[0] + 500_000)))
    assert now[0] - start <= 2.0, "more became free"
    room.breathe_freely()
    start = now[0]
    room.take_a_breath(lambda: False)
    assert now[0] - start == 5.0
    worker.close()


def test_want_of_room_at_taking_does_not_end_a_worker(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.worker()
    read, refusals = atomic.read_file, iter([OSError(errno.EMFILE, "x")] * 2)
    publish = atomic.publish

    def read_file(path: str, *arguments: int) -> bytes | None:
        if str(path).endswith("one.json"):
            for refusal in refusals:
                raise refusal
        return read(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "read_file", read_file)
        patch.setattr(atomic, "publish", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EMFILE, "x")))
        assert not worker.work_once()
    assert [record.kind for record in shop.entry("one").records] == ["claimed"]
    assert atomic.publish is publish
    assert worker.work_once()
    worker.close()
    assert [record.kind for record in shop.entry("one").records] == ["claimed", "released", "claimed", "landing"]
    assert not shop.entry("one").records[1].counted


def test_a_heartbeat_goes_on_in_place_where_no_file_can_be_made(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = shop.project.state.agent("agent-1")
    agent.create()
    heart = Heart(agent, 5.0)
    heart.tell("working", item="a-long-name-of-an-item")
    monkeypatch.setattr(atomic, "replace_file", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "x")))
    before = agent.heartbeat.stat().st_ino
    for state, lack in (("idle", LACK), ("ending", None)):
        heart.tell(state, item=None, hindrance=lack)
        beat = read_heartbeat(agent)
        assert beat is not None
        assert (beat.state, beat.item, beat.hindrance) == (state, None, lack)
    assert agent.heartbeat.stat().st_ino == before
    agent.heartbeat.rename(agent.heartbeat.with_name("moved"))
    agent.heartbeat.write_bytes(b"{}")
    heart.tell("idle")
    assert agent.heartbeat.stat().st_mtime < 1e9, "another file has the name by now: its time tells of the beat"


def test_who_is_to_stop_throws_off_ballast_to_give_its_item_back(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast, publish = shop.project.state.agent("agent-1").ballast, atomic.publish
    orders = Orders()

    def full(*arguments: Any, **options: Any) -> bool:
        if ballast.exists():
            orders.stop()
            raise FULL
        return publish(*arguments, **options)

    shop.add("one", "true")
    worker = shop.worker(orders=orders)
    assert ballast.stat().st_blocks * 512 >= 65_536
    monkeypatch.setattr(atomic, "publish", full)
    assert worker.work_once()
    worker.close()
    assert shop.last("one").kind == "done"
    assert not ballast.exists()
    shop.worker().close()
    assert ballast.exists()


def test_what_is_wanted_can_be_written_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make_project(tmp_path / "r").state
    long, short = Wanted(12, paused=True, ending="finish"), Wanted(1)
    write_wanted(state, long)
    monkeypatch.setattr(atomic, "replace_file", lambda *_: (_ for _ in ()).throw(FULL))
    for wanted in (short, long):
        write_wanted(state, wanted)
        assert read_wanted(state) == wanted


# --- the lander -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["fatal: No space left on device", "fatal: unable to write new index file"])
def test_a_branch_that_finds_no_room_is_landed_when_there_is_some_and_is_not_sent_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    project = make_project(tmp_path / "r", "checks: ['true']\n")
    hand_over(project, "one", {"one": "1"})

    def merge(*_: object) -> None:
        raise GitError(("merge-tree",), project.root, 128, said)

    with a_lander(project) as lander:
        with monkeypatch.context() as patch:
            patch.setattr(LandingBranch, "merge", merge)
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


# --- the coordinator, and what is told --------------------------------------------------------------------


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
        patch.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(FULL))
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


def test_the_second_time_in_a_row_an_attempt_without_room_counts() -> None:
    evidence = Evidence(
        at=START, agent="agent-1", started_at=START, seconds=1.0, branch="b", log="l", error="disk full", shortage=True
    )
    claim, before = (
        Record(kind="claimed", at=START),
        Record(kind="released", at=START, outcome="no-room", counted=False),
    )
    item = Item(id="one", title="One", added_at=START)
    policy = RetryPolicy(3, 1.0, 2.0, 10.0)
    for run, counted in ((None, False), (Run("exited", 1.0, 1), True)):
        record = judge(replace(evidence, run=run), Entry(item, (claim, before, claim)), policy, "auto")
        assert record is not None
        assert (record.outcome, record.counted) == ("no-room", counted)
