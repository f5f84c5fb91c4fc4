"""A worker as the coordinator sees it: orders, heartbeats, its place, and what becomes of its item."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallel_loop.coordinator.control import Ending, Wanted, write_wanted
from parallel_loop.harness import attempt, child, identity, setting_up
from parallel_loop.harness import worker as worker_module
from parallel_loop.harness.heart import Heart, Seen
from parallel_loop.harness.keeping import tree
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.setting_up import ensure_landing_branch, landing_tip
from parallel_loop.harness.shortage import is_shortage, once_there_is_room
from parallel_loop.harness.state import AgentDirectory, Heartbeat, living_worker, read_heartbeat
from parallel_loop.queue import atomic
from parallel_loop.queue.clock import later
from parallel_loop.queue.healing import take_back_from_the_dead
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, Taker
from parallel_loop.queue.watching import BellWatch
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.landing import LandingBranch
from parallel_loop.worktrees.repository import Repository
from support.harness import Workshop, keeper_of, make_workshop, program, spare_others, start_worker
from support.queues import START, Clock
from support.repository import environment, git, make_empty_repository
from support.waiting import eventually

NO_SPACE = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    tree.become_subreaper()
    spare_others(monkeypatch)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = make_workshop(tmp_path / "repo", "health: {heartbeat: 50ms}\n")
    yield shop
    for pid in shop.mark.living():
        os.kill(pid, signal.SIGKILL)


def kind(shop: Workshop, item_id: str) -> Callable[[], str | None]:
    def look() -> str | None:
        last = shop.entry(item_id).last
        return None if last is None or last.kind == "claimed" else last.kind

    return look


def end(worker: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Close its standard input, wait, and return exit code and what it said."""
    _, said = worker.communicate(timeout=60)
    return worker.returncode, said.decode()


def events(shop: Workshop, name: str) -> list[dict[str, object]]:
    lines = map(json.loads, shop.project.state.events.read_text().splitlines())
    return [line for line in lines if line["event"] == name]


def beat_of(shop: Workshop) -> Heartbeat:
    beat = read_heartbeat(shop.project.state.agent("agent-1"))
    assert beat is not None
    return beat


# --- orders -------------------------------------------------------------------------------------------


def test_a_worker_takes_item_after_item_and_ends_when_its_orders_end(shop: Workshop) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.start()
    eventually(kind(shop, "one"))
    shop.add("two", "echo 2 > b; exit 1", max_attempts=1)
    eventually(kind(shop, "two"))
    eventually(lambda: beat_of(shop).state == "idle")
    assert (beat_of(shop).done, beat_of(shop).failed) == (1, 1)
    assert living_worker(shop.project.state.agent("agent-1")) == beat_of(shop)
    assert end(worker) == (0, "")
    assert living_worker(shop.project.state.agent("agent-1")) is None
    assert (shop.last("one").kind, shop.last("two").kind) == ("landing", "failed")


def test_the_item_in_hand_is_finished_and_no_other_is_taken(shop: Workshop, tmp_path: Path) -> None:
    shop.add("one", f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do :; done; echo 1 > a")
    shop.add("two", "true")
    worker = shop.start()
    eventually((tmp_path / "up").exists)
    assert worker.stdin is not None
    worker.stdin.close()
    (tmp_path / "go").touch()
    assert worker.wait(60) == 0
    assert worker.stderr is not None
    worker.stderr.close()
    assert shop.last("one").kind == "landing"
    assert shop.entry("two").last is None


def test_a_paused_worker_takes_nothing_until_it_is_resumed(shop: Workshop) -> None:
    worker = shop.start()
    eventually(lambda: living_worker(shop.project.state.agent("agent-1")))
    assert worker.stdin is not None
    worker.stdin.write(b"pause\n")
    eventually(lambda: beat_of(shop).state == "idle")
    seen = beat_of(shop).at
    shop.add("one", "true")
    eventually(lambda: beat_of(shop).at > seen)
    worker.stdin.write(b"resume\n")
    assert eventually(kind(shop, "one")) == "done"
    assert end(worker)[0] == 0


@pytest.mark.parametrize(("ending", "counted"), [("stop", False), ("finish", True), ("", True)])
def test_sigterm_ends_the_program_and_gives_the_item_back_at_no_cost_if_a_stop_is_wanted(
    shop: Workshop, tmp_path: Path, ending: Ending, counted: bool
) -> None:
    write_wanted(shop.project.state, Wanted(1, ending=ending))
    shop.add("one", f"echo 1 > a; touch {tmp_path}/up; sleep 600")
    worker = shop.start()
    eventually((tmp_path / "up").exists)
    worker.send_signal(signal.SIGINT)  # of the terminal: the coordinator's business
    worker.terminate()
    assert end(worker) == (0, "")
    record = shop.last("one")
    assert (record.kind, record.outcome, record.counted) == ("released", "interrupted", counted)
    assert git(shop.root, "show", f"{record.commit}:a") == "1"
    assert shop.mark.living() == []


# --- its place ----------------------------------------------------------------------------------------


def test_a_second_worker_in_the_same_place_goes_away(shop: Workshop, tmp_path: Path) -> None:
    shop.add("one", f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do :; done; echo 1 > a")
    first = shop.start()
    eventually((tmp_path / "up").exists)
    code, said = end(shop.start())
    assert (code, said) == (3, "agent-1 has a living process already; that one is left alone\n")
    (tmp_path / "go").touch()
    assert end(first)[0] == 0
    assert shop.last("one").kind == "landing", "its program was not taken for a leftover"


@pytest.mark.parametrize("keeper_lives", [True, False], ids=["", "its keeper was killed, too"])
def test_the_next_worker_ends_what_a_killed_one_left_and_salvages_its_work(
    shop: Workshop, tmp_path: Path, keeper_lives: bool
) -> None:
    daemon = " ".join(program("daemon", tmp_path / "pid"))
    shop.add("one", f"[ $PARALLEL_LOOP_ATTEMPT = 1 ] || exit 0; echo 1 > a; {daemon}; touch {tmp_path}/up; sleep 600")
    killed = shop.start()
    eventually(lambda: (tmp_path / "up").exists() and (tmp_path / "pid").exists())
    if not keeper_lives:
        os.kill(killed.pid, signal.SIGSTOP)
        os.kill(keeper_of(killed.pid), signal.SIGKILL)
    killed.kill()
    end(killed)
    if keeper_lives:
        eventually(lambda: shop.mark.living() == [])
    else:
        assert len(shop.mark.living()) >= 2, "the program and its daemon outlive both"
    worker = shop.worker()
    assert shop.mark.living() == [], "they are ended before anything is touched"
    assert not worker.work_once(), "the item is still the dead one's"
    (taken,) = take_back_from_the_dead(shop.project.queue, shop.project.retry)
    assert taken.item.id == "one"
    assert worker.work_once()
    worker.close()
    assert [record.outcome for record in shop.entry("one").records] == [None, "died", None, "done"]
    ref = "refs/parallel-loop/salvage/one/1"
    assert git(shop.root, "show", f"{ref}:a") == "1"
    assert [event["ref"] for event in events(shop, "salvaged")] == [ref]


def test_a_worker_leaves_the_programs_of_other_places_alone(shop: Workshop, tmp_path: Path) -> None:
    shop.add("one", f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do :; done")
    first = shop.start("agent-1")
    eventually((tmp_path / "up").exists)
    shop.worker("agent-11").close()
    (tmp_path / "go").touch()
    assert end(first)[0] == 0
    assert shop.last("one").kind == "done"


def test_an_item_cancelled_while_it_is_worked_on_is_dropped_and_the_next_one_taken(
    shop: Workshop, tmp_path: Path
) -> None:
    shop.add("one", f"echo half > a; touch {tmp_path}/up; sleep 600")
    worker = shop.start()
    eventually((tmp_path / "up").exists)
    cancelled = Record(kind="cancelled", at=shop.project.queue.now(), why="a person said so")
    assert shop.project.queue.append(shop.entry("one"), cancelled)
    shop.add("two", "test ! -e a && echo 2 > b")
    assert eventually(kind(shop, "two")) == "landing"
    assert end(worker) == (0, "")
    assert shop.last("one") == cancelled, "the late result is recorded nowhere"
    assert git(shop.root, "show", "refs/parallel-loop/salvage/one/1:a") == "half"
    assert [event["item"] for event in events(shop, "abandoned")] == ["one"]


def test_who_loses_the_claim_before_the_program_starts_does_not_start_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cancel(*_: object) -> list[str]:
        assert shop.project.queue.append(shop.entry("one"), Record(kind="cancelled", at=shop.project.queue.now()))
        return []

    monkeypatch.setattr(attempt, "equip", cancel)
    assert shop.work("one", f"touch {tmp_path}/started").kind == "cancelled"
    assert not (tmp_path / "started").exists()


def test_what_cannot_be_salvaged_now_does_not_end_the_worker(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.worker()
    monkeypatch.setattr(Taker, "end", lambda *_: False)
    with monkeypatch.context() as patch:
        patch.setattr("parallel_loop.harness.workplace.salvage", lambda *_: (_ for _ in ()).throw(NO_SPACE))
        patch.setattr("parallel_loop.harness.attempt.Attempt.make", lambda _: None)
        assert worker.work_once()
    worker.close()
    (event,) = events(shop, "abandoned")
    assert event["why"] == str(NO_SPACE)
    assert beat_of(shop).state == "idle"


# --- what the world refuses ---------------------------------------------------------------------------


def no_commit(root: Path) -> None:
    make_empty_repository(root)


def foreign(root: Path) -> None:
    make_workshop(root)
    (root / ".parallel-loop/worktrees/agent-1").mkdir(parents=True)
    (root / ".parallel-loop/worktrees/agent-1/mine").write_text("")


def wrong_configuration(root: Path) -> None:
    make_workshop(root)
    (root / "parallel-loop.yaml").write_text("agnets: 3\n")


def no_repository(root: Path) -> None:
    root.mkdir()


def newer_queue(root: Path) -> None:
    shop = make_workshop(root)
    shop.project.queue.create()
    shop.project.queue.layout.format.write_text('{"version": 99}')


@pytest.mark.parametrize(
    ("prepare", "code", "line"),
    [
        (no_commit, 4, "has no commit yet"),
        (foreign, 4, "is in the way of an agent's worktree"),
        (wrong_configuration, 2, "did you mean `agents`?"),
        (no_repository, 4, "is not in a git repository"),
        (newer_queue, 4, "has format 99"),
    ],
)
def test_what_stands_against_working_is_one_line_and_an_exit_code(
    tmp_path: Path, prepare: Callable[[Path], None], code: int, line: str
) -> None:
    root = tmp_path / "a\nb"
    prepare(root)
    found, said = end(start_worker(root, "agent-1", environment()))
    assert found == code, said
    assert line in said
    assert said.count("\n") == 1


def test_a_record_that_finds_no_room_is_written_when_there_is_some(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, tries = atomic.publish, []

    def without_room(private: Path, target: str, data: bytes, *, durable: bool) -> bool:
        if str(target).endswith("one.2"):
            tries.append(target)
            if len(tries) < 4:
                raise NO_SPACE
        return publish(private, target, data, durable=durable)

    monkeypatch.setattr(atomic, "publish", without_room)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    assert shop.work("one", "echo 1 >> a; echo once >> ../ran").kind == "landing"
    assert len(tries) == 4
    assert (shop.project.worktrees / "ran").read_text() == "once\n", "the work is not done again"
    assert len(events(shop, "cannot-record")) == 1


def stopping_when_asked_to_wait() -> Orders:
    orders = Orders()
    orders.wait = lambda *_: orders.stop()  # type: ignore[method-assign]
    return orders


def test_who_is_to_stop_at_once_does_not_wait_for_room(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.add("one", "true")
    worker = shop.worker(orders=stopping_when_asked_to_wait())
    monkeypatch.setattr("parallel_loop.harness.attempt.Attempt.make", lambda _: Record(kind="done", at="x"))
    monkeypatch.setattr(Taker, "end", lambda *_: (_ for _ in ()).throw(NO_SPACE))
    with pytest.raises(OSError, match="No space left"):
        worker.work_once()
    worker.close()
    assert [entry.item.id for entry in take_back_from_the_dead(shop.project.queue, shop.project.retry)] == ["one"]


def test_a_claim_that_is_lost_while_waiting_for_room_is_abandoned(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled_meanwhile(*_: object) -> bool:
        shop.project.queue.append(shop.entry("one"), Record(kind="cancelled", at=shop.project.queue.now()))
        raise NO_SPACE

    monkeypatch.setattr(Taker, "end", cancelled_meanwhile)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    assert shop.work("one", "echo 1 > a").kind == "cancelled"
    assert len(events(shop, "abandoned")) == 1


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (NO_SPACE, True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EACCES, "x"), False),
        (GitError((), Path("/"), 128, "fatal: sha1 file write error: No space left on device"), True),
        (GitError((), Path("/"), 128, "fatal: unable to create thread: Resource temporarily unavailable"), True),
        (GitError((), Path("/"), 128, "fatal: not a valid object name"), False),
        (ValueError("No space left on device"), False),
    ],
)
def test_what_counts_as_want_of_room(error: Exception, short: bool) -> None:
    asked: list[Exception] = []

    def act() -> None:
        raise error

    assert is_shortage(error) == short
    with pytest.raises(type(error)):
        once_there_is_room(act, lambda why: bool(asked.append(why)))
    assert asked == ([error] if short else [])


def test_errors_of_the_work_end_a_service_with_one_line_and_bugs_with_a_traceback(
    shop: Workshop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Service:
        closed = False

        def __init__(self, error: Exception) -> None:
            self._error = error

        def run(self) -> None:
            raise self._error

        def close(self) -> None:
            Service.closed = True

    with open(os.devnull) as nothing:  # noqa: PTH123 (a descriptor for standard input)
        monkeypatch.setattr("sys.stdin", nothing)
        monkeypatch.setattr(Orders, "obey_terminate", lambda _: None)
        several = GitError(("status",), Path("/x"), 128, "fatal: one\nfatal: two")
        assert child.serve(lambda _: Service(several)) == child.ENVIRONMENT
        assert capfd.readouterr().err == "git status failed in /x (exit code 128): fatal: one fatal: two\n"
        assert Service.closed
        with pytest.raises(ZeroDivisionError):
            child.serve(lambda _: Service(ZeroDivisionError()))


# --- heartbeats and the landing branch ----------------------------------------------------------------


def test_a_heart_beats_when_it_is_due_and_tells_changes_at_once(tmp_path: Path) -> None:
    now = [100.0]
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    heart = Heart(agent, 5.0, lambda: now[0])

    def read() -> Heartbeat:
        beat = read_heartbeat(agent)
        assert beat is not None
        return beat

    heart.tell("working", item="one", attempt=2)
    now[0] = 104.0
    seen = Seen("well", 0.5, 10**9, 7.0, 3)
    heart.beat(seen)
    assert (read().beat, read().progress) == (100.0, None)
    now[0] = 105.0
    heart.beat(seen)
    assert (read().beat, read().progress, read().item, read().attempt) == (105.0, 104.5, "one", 2)
    assert (read().work, read().rss_bytes // 10**9) == ("well", 1)
    assert read().cpu_percent >= 140, "seven seconds in five, and its own"
    now[0] = 106.0
    heart.beat(seen._replace(verdict="over-limit"))
    assert (read().beat, read().work) == (106.0, "over-limit"), "a change of the verdict is told at once"
    heart.rest(failed=1)
    assert (read().state, read().item, read().progress, read().failed) == ("idle", None, None, 1)
    assert (read().work, read().rss_bytes // 10**9) == (None, 0)
    assert read().identity == identity.own_identity()
    agent.heartbeat.write_text("{")
    assert read_heartbeat(agent) is None


def test_a_heart_beats_by_itself_while_one_waits_for_git_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    heart = Heart(agent, 0.01)
    heart.tell("preparing")

    def at() -> float:
        beat = read_heartbeat(agent)
        assert beat is not None
        return beat.beat

    with heart.beating():
        before = at()
        eventually(lambda: at() > before)
        monkeypatch.setattr("parallel_loop.harness.heart._LONGEST_SECONDS", 0.02)
    with heart.beating():  # as if git hung
        last = [0.0]

        def is_still() -> bool:
            before, last[0] = last[0], at()
            return before == last[0] and heart._monotonic() > before + 1.0

        eventually(is_still)


def test_a_full_disk_stops_no_heart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = AgentDirectory(tmp_path / "agent-1")
    agent.create()
    now = [100.0]
    heart = Heart(agent, 5.0, lambda: now[0])
    heart.tell("working")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "replace_file", lambda *_: (_ for _ in ()).throw(NO_SPACE))
        now[0] = 107.5
        heart.beat()
        seen = read_heartbeat(agent)
        assert seen is not None
        assert (seen.beat, seen.state) == (107.5, "working"), "nothing can be written, and it is not silent"
        agent.heartbeat.unlink()
        heart.rest()
    now[0] = 120.0
    heart.beat()
    seen = read_heartbeat(agent)
    assert seen is not None
    assert (seen.beat, seen.state) == (120.0, "idle")


def test_of_two_who_make_the_landing_branch_both_get_it(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = shop.worker()
    repository, worktree = Repository.open(shop.root), worker._place.worktree()
    worker.close()
    ensure = LandingBranch.ensure

    def too_late(self: LandingBranch, tip: str) -> str:
        ensure(self, tip)
        raise GitError(("update-ref",), shop.root, 128, "reference already exists")

    with monkeypatch.context() as patch:
        patch.setattr(setting_up.LandingBranch, "ensure", too_late)
        assert ensure_landing_branch(repository, worktree, "main").tip() == git(shop.root, "rev-parse", "main")
    assert landing_tip(repository, worktree, "gone") == git(shop.root, "rev-parse", "main")
    git(shop.root, "branch", "-qD", "parallel-loop/landed")
    with monkeypatch.context() as patch:
        patch.setattr(
            setting_up.LandingBranch, "ensure", lambda *_: (_ for _ in ()).throw(GitError((), shop.root, 1, ""))
        )
        with pytest.raises(GitError):
            ensure_landing_branch(repository, worktree, "main")


# --- waiting for work -------------------------------------------------------------------------------------------------


class Patience(Orders):
    """Orders that only note for how long a worker would have waited, and on how many descriptors."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._most = waits

    def wait(self, seconds: float, *descriptors: int) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self._most:
            self.finish()


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A workshop in which nothing but an event wakes a worker within the time of a test."""
    monkeypatch.setattr(worker_module, "_LOOK_AGAIN_SECONDS", 7200.0)
    return make_workshop(tmp_path / "patient", "health: {heartbeat: 1h, silent: 2h}\n")


# What a worker does when nobody wakes it takes at least half an hour.
PATIENT_WORKER = """
import errno, sys
from parallel_loop.harness import worker
from parallel_loop.queue import watching
worker._LOOK_AGAIN_SECONDS = 1800.0
def refuse():
    raise OSError(errno.EMFILE, "Too many open files")
if sys.argv.pop(1) == "refused":
    watching.kernel_source = refuse
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("kernel", ["willing", "refused"])
def test_an_idle_worker_takes_what_is_added_told_by_the_kernel_or_by_looking(patient: Workshop, kernel: str) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", PATIENT_WORKER, kernel, str(patient.root), "agent-1", "main"],
        env=dict(patient.project.environ),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    eventually(lambda: living_worker(patient.project.state.agent("agent-1")) and beat_of(patient).state == "idle")
    for number in range(3):
        patient.add(f"item-{number}", "true")
        assert eventually(kind(patient, f"item-{number}")) == "done"
    assert end(worker) == (0, "")


def test_what_is_added_between_the_look_and_the_wait_is_not_slept_over(
    patient: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = Orders()
    worker = patient.worker(orders=orders)
    take, looks = worker._taker.take, iter(range(1000))

    def take_and_then_something_happens() -> Claim | None:
        claim = take()
        if next(looks) == 0:
            patient.add("one", "true")
        elif claim is None:
            orders.finish()
        return claim

    monkeypatch.setattr(worker._taker, "take", take_and_then_something_happens)
    worker.run()  # for an hour, should the ring be lost
    worker.close()
    assert patient.last("one").kind == "done"


def test_a_worker_waits_exactly_until_the_next_delayed_item_is_due(patient: Workshop) -> None:
    clock = Clock()
    queue = patient.project.queue
    queue.now = clock
    for item_id, seconds in (("later", 300.0), ("sooner", 90.0)):
        patient.add(item_id, "true")
        entry = patient.entry(item_id)
        queue.append(entry, Record(kind="released", at=clock(), not_before=later(START, seconds)))
    orders = Patience(2)
    worker = patient.worker(orders=orders)
    worker.run()
    assert orders.waits[0] == pytest.approx(90.0, abs=0.1)
    clock.advance(91.0)
    orders.finishing = False
    assert worker.work_once()
    assert patient.last("sooner").kind == "done"
    with contextlib.closing(BellWatch(queue.bell)) as watch:
        assert not worker.work_once()
        worker.wait(watch)
        assert orders.waits[-1] == pytest.approx(209.0, abs=1.0)
        orders.paused = True
        worker.wait(watch)
        assert orders.waits[-1] == pytest.approx(3600.0, abs=60.0), "while paused nothing becomes takable"
        worker.wait(watch, 5.0)
        assert orders.waits[-1] == 5.0
    worker.close()


def test_an_idle_worker_beats_and_now_and_then_trusts_no_listing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_LOOK_AGAIN_SECONDS", 0.0)
    looked: list[int] = []
    orders = Patience(1)
    worker = shop.worker(orders=orders)
    beat = beat_of(shop).at

    def look_again() -> None:
        looked.append(len(orders.waits))
        if len(looked) == 3:
            monkeypatch.setattr(worker_module, "_LOOK_AGAIN_SECONDS", 7200.0)

    monkeypatch.setattr(worker._taker, "look_again", look_again)
    eventually(lambda: worker._heart.seconds_until_beat == 0.0)
    worker.run()
    worker.close()
    assert looked == [0, 0, 0], "it looks at once, it does not wait first"
    assert orders.waits[0] <= 0.05
    assert beat_of(shop).at > beat
