"""A worker as the coordinator sees it: orders, its place, what it does not begin with, and what becomes of its item."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from parallel_loop.coordinator.control import Ending, Wanted, write_wanted
from parallel_loop.harness import attempt, child, setting_up
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.setting_up import ensure_landing_branch, landing_tip
from parallel_loop.harness.state import living_worker
from parallel_loop.queue.healing import take_back_from_the_dead
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Taker
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.landing import LandingBranch
from parallel_loop.worktrees.repository import Repository
from support.harness import Workshop, end_worker, keeper_of, make_workshop, program, start_worker
from support.repository import environment, git, make_empty_repository
from support.runs import happened
from support.shortage import NO_SPACE
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    shop = make_workshop(tmp_path / "repo", "health: {heartbeat: 50ms}\n")
    yield shop
    for pid in shop.mark.living():
        os.kill(pid, signal.SIGKILL)


def test_who_waits_for_a_person_has_not_failed(shop: Workshop) -> None:
    shop.add("one", 'echo "which?" > "$PARALLEL_LOOP_ASK_FILE"')
    worker = shop.worker()
    assert worker.work_once()
    assert (shop.last("one").kind, shop.beat().done, shop.beat().failed) == ("waiting", 0, 0)
    worker.close()


# --- orders -------------------------------------------------------------------------------------------


def test_a_worker_takes_item_after_item_and_ends_when_its_orders_end(shop: Workshop) -> None:
    shop.add("one", "echo 1 > a")
    worker = shop.start()
    eventually(shop.kind("one"))
    shop.add("two", "echo 2 > b; exit 1", max_attempts=1)
    eventually(shop.kind("two"))
    eventually(lambda: shop.beat().state == "idle")
    assert (shop.beat().done, shop.beat().failed) == (1, 1)
    assert living_worker(shop.project.state.agent("agent-1")) == shop.beat()
    assert end_worker(worker) == (0, "")
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
    eventually(lambda: shop.beat().state == "idle")
    seen = shop.beat().at
    shop.add("one", "true")
    eventually(lambda: shop.beat().at > seen)
    worker.stdin.write(b"resume\n")
    assert eventually(shop.kind("one")) == "done"
    assert end_worker(worker)[0] == 0


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
    assert end_worker(worker) == (0, "")
    record = shop.last("one")
    assert (record.kind, record.outcome, record.counted) == ("released", "interrupted", counted)
    assert git(shop.root, "show", f"{record.commit}:a") == "1"
    assert shop.mark.living() == []


# --- its place ----------------------------------------------------------------------------------------


def test_a_second_worker_in_the_same_place_goes_away(shop: Workshop, tmp_path: Path) -> None:
    shop.add("one", f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do :; done; echo 1 > a")
    first = shop.start()
    eventually((tmp_path / "up").exists)
    code, said = end_worker(shop.start())
    assert (code, said) == (3, "agent-1 has a living process already; that one is left alone\n")
    (tmp_path / "go").touch()
    assert end_worker(first)[0] == 0
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
    end_worker(killed)
    if keeper_lives:
        eventually(lambda: shop.mark.living() == [])
    else:
        assert len(shop.mark.living()) >= 2, "the program and its daemon outlive both"
    worker = shop.worker()
    assert shop.mark.living() == [], "they are ended before anything is touched"
    ref = "refs/parallel-loop/salvage/one/1"
    assert git(shop.root, "show", f"{ref}:a") == "1", "saved before anybody takes anything"
    assert git(shop.project.worktrees / "agent-1", "branch", "--show-current") == "", "the branch is free"
    assert not worker.work_once(), "the item is still the dead one's"
    (taken,) = take_back_from_the_dead(shop.project.queue, shop.project.retry)
    assert taken.item.id == "one"
    assert worker.work_once()
    worker.close()
    assert [record.outcome for record in shop.entry("one").records] == [None, "died", None, "done"]
    assert [event["ref"] for event in happened(shop.project, "salvaged")] == [ref]


def test_a_worker_leaves_the_programs_of_other_places_alone(shop: Workshop, tmp_path: Path) -> None:
    shop.add("one", f"touch {tmp_path}/up; until [ -e {tmp_path}/go ]; do :; done")
    first = shop.start("agent-1")
    eventually((tmp_path / "up").exists)
    shop.worker("agent-11").close()
    (tmp_path / "go").touch()
    assert end_worker(first)[0] == 0
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
    assert eventually(shop.kind("two")) == "landing"
    assert end_worker(worker) == (0, "")
    assert shop.last("one") == cancelled, "the late result is recorded nowhere"
    assert git(shop.root, "show", "refs/parallel-loop/salvage/one/1:a") == "half"
    assert [event["item"] for event in happened(shop.project, "abandoned")] == ["one"]


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
        patch.setattr("parallel_loop.harness.workplace.rescue", lambda *_: (_ for _ in ()).throw(NO_SPACE))
        patch.setattr("parallel_loop.harness.attempt.Attempt.make", lambda _: None)
        assert worker.work_once()
    worker.close()
    (event,) = happened(shop.project, "abandoned")
    assert event["why"] == str(NO_SPACE)
    assert shop.beat().state == "idle"


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
    found, said = end_worker(start_worker(root, "agent-1", environment()))
    assert found == code, said
    assert line in said
    assert said.count("\n") == 1


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
