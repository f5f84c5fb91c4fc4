"""Workers and paused programs: what they pass over, who tries, and what it costs."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
from pathlib import Path

import msgspec
import pytest

from parallel_loop.harness.keeping.tree import become_subreaper
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.outcome import Evidence
from parallel_loop.harness.pausing import pause_file, pauses
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.pausing.pauses import Event, Resumed, State, TrialBegun
from parallel_loop.harness.pausing.trials import Trials
from parallel_loop.harness.project import Project
from parallel_loop.harness.runner import Run
from parallel_loop.queue.chain import Chain
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim, PassesOver, Taker
from parallel_loop.queue.watching import BellWatch
from support.forks import Crew, Line
from support.harness import make_workshop, spare_others
from support.queues import Clock
from support.runs import add, make_project

MINE = "programs: {mine: {argv: [mine]}, yours: {argv: [yours]}}\nroles: {narrow: {wip: 1}}\n"


class Stand:
    """A worker as far as taking and ending go: its attempts come to what the test says."""

    def __init__(self, project: Project, name: str = "agent-1") -> None:
        self.project = project
        self.trials = Trials(project)
        self.taker = Taker(project.queue, Owner(name, os.getpid()), project.wip)

    def take(self) -> Claim | None:
        return self.trials.take(self.taker)

    def taken(self) -> str | None:
        """Take one and hold it."""
        claim = self.take()
        return claim and claim.item.id

    def end(
        self, claim: Claim, outcome: str = "failed", said: str = "sh: no", seconds: float = 1.0, **fields: object
    ) -> Record | None:
        """End the attempt as one whose program ran for a second and ended with exit code 1, if it failed."""
        at = self.project.queue.now()
        code = 0 if outcome in {"done", "check-failed"} else 1
        kind = "done" if outcome == "done" else "released"
        run = Run("exited", 1.0, code)
        evidence = Evidence(at, "agent-1", claim.started_at, seconds, "b", "l", run=run, output=said)
        record = Record(**({"kind": kind, "at": at, "outcome": outcome} | fields))
        settled = self.trials.settle(claim.item, record, evidence)
        assert settled is not None
        assert self.taker.end(claim, settled)
        return settled


def add_all(project: Project, *names: str, **fields: object) -> None:
    for name in names:
        add(project, name, **({"command": None, "program": "mine"} | fields))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", MINE), clock)


def with_clock(project: Project, clock: Clock) -> Project:
    project.queue.now = clock
    return project


def pause(project: Project, **fields: object) -> Stand:
    """Have three attempts at `mine` fail alike; return the worker that made them."""
    add_all(project, "p1", "p2", "p3", **({"priority": 0} | fields))
    stand = Stand(project)
    for _ in range(3):
        claim = stand.take()
        assert claim is not None
        stand.end(claim, not_before="2099-01-01T00:00:00.000000Z")
    assert PauseFile(project).in_force() != {}
    return stand


def test_items_of_a_paused_program_are_passed_over_each_read_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = pause(project)
    add_all(project, *(f"m{number}" for number in range(50)))
    add_all(project, "y1", "y2", "y3", program="yours")
    read: list[str] = []
    real = Chain.read_named_item
    monkeypatch.setattr(Chain, "read_named_item", lambda chain, name: read.append(name) or real(chain, name))
    assert [stand.taken(), stand.taken(), stand.taken(), stand.taken()] == ["y1", "y2", "y3", None]
    assert [name for name in read if name[0] == "m"] == [f"m{number}" for number in range(50)]
    add_all(project, "urgent", priority=0)
    assert stand.taken() is None
    assert read.count("urgent") == read.count("m0") == 1
    stand.taker.close()


def test_while_none_is_paused_nothing_is_read_locked_or_written(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_all(project, "one", "two")
    stand = Stand(project)
    looks: list[Path] = []
    real = Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: looks.append(path) or real(path, **how))
    asked: list[object] = []
    take = stand.taker.take
    monkeypatch.setattr(stand.taker, "take", lambda *given: asked.extend(given) or take(*given))
    claim = stand.take()
    assert claim is not None
    stand.end(claim, "done")
    assert [path.name for path in looks if path.name.startswith("pauses")] == ["pauses.json"] * 2
    assert asked == []
    assert not project.state.pauses_lock.exists()
    stand.taker.close()


def test_one_worker_tries_when_it_is_time_and_a_success_lets_all_go_on(project: Project, clock: Clock) -> None:
    one = pause(project)
    other = Stand(project, "agent-2")
    add_all(project, "a", "b", "c")
    assert (one.taken(), other.taken()) == (None, None)
    assert 59 < one.trials.seconds_until_due < 60
    clock.advance(60)
    heard = project.queue.bell.heard()
    trial = one.take()
    assert trial is not None
    assert trial.item.id == "a"
    assert other.taken() is None, "one is enough"
    record = one.end(trial)
    assert record is not None
    assert (record.kind, record.counted, record.not_before) == ("released", False, None)
    assert project.queue.bell.heard() != heard
    assert (one.taken(), other.taken()) == (None, None)
    assert 119 < other.trials.seconds_until_due < 120
    clock.advance(120)
    trial = other.take()
    assert trial is not None
    assert trial.item.id == "a"
    assert one.taken() is None
    other.end(trial, "done")
    assert (one.taken(), other.taken()) == ("b", "c")
    assert one.trials.seconds_until_due == math.inf
    for stand in (one, other):
        stand.taker.close()


def test_what_was_begun_before_the_pause_costs_nothing_if_it_only_says_the_same(project: Project) -> None:
    add_all(project, "late-1", "late-2", "late-3", priority=0)
    late = Stand(project, "agent-2")
    claims = [claim for claim in iter(late.take, None) if claim]
    pause(project).taker.close()
    before = PauseFile(project).look()
    settled = [late.end(claims[0]), late.end(claims[1], said="something else")]
    assert [record and record.counted for record in settled] == [False, True]
    assert PauseFile(project).look() == before, "and prolongs nothing"
    late.end(claims[2], "done")
    assert PauseFile(project).look() == ()
    late.taker.close()


@pytest.mark.parametrize(("outcome", "is_paused"), [("failed", True), ("check-failed", False)])
def test_what_prepares_an_attempt_may_take_long_and_a_check_that_does_is_no_quick_failure(
    project: Project, outcome: str, is_paused: bool
) -> None:
    add_all(project, "a", "b", "c")
    stand = Stand(project)
    for _ in range(3):
        claim = stand.take()
        assert claim is not None
        stand.end(claim, outcome, seconds=99.0, not_before="2099-01-01T00:00:00.000000Z")
    assert (PauseFile(project).in_force() != {}) == is_paused
    stand.taker.close()


@pytest.mark.parametrize(("meanwhile", "taken"), [(TrialBegun("mine"), None), (Resumed("mine"), "a")])
def test_who_finds_that_another_was_first_believes_the_file(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch, meanwhile: Event, taken: str | None
) -> None:
    stand = pause(project)
    add_all(project, "a")
    clock.advance(60)
    take = stand.taker.take

    def overtaken(*given: PassesOver) -> Claim | None:
        PauseFile(project).change(meanwhile)
        return take(*given)

    monkeypatch.setattr(stand.taker, "take", overtaken)
    assert stand.taken() == taken
    stand.taker.close()


@pytest.mark.parametrize(
    ("outcome", "fields"), [("interrupted", {}), ("interrupted", {"counted": False}), ("no-room", {"counted": False})]
)
def test_what_says_nothing_of_the_program_pauses_nothing_and_ends_no_pause(
    project: Project, clock: Clock, outcome: str, fields: dict[str, object]
) -> None:
    add_all(project, "a", "b", "c")
    stand = Stand(project)
    for _ in range(3):
        claim = stand.take()
        assert claim is not None
        stand.end(claim, outcome, not_before="2099-01-01T00:00:00.000000Z", **fields)
    assert PauseFile(project).look() == ()
    stand.taker.close()
    stand = pause(project)
    add_all(project, "d")
    clock.advance(60)
    claim = stand.take()
    assert claim is not None
    stand.end(claim, outcome, **fields)
    assert stand.taken() is None
    clock.advance(5)
    assert stand.taken() == "d", "the trial is made again"
    stand.taker.close()


def test_a_trial_of_which_no_item_can_be_taken_is_left_to_who_can(project: Project, clock: Clock) -> None:
    add_all(project, "holder", program="yours", role="narrow")
    holder, stand = Stand(project, "agent-2"), pause(project)
    assert holder.taken() == "holder"
    add_all(project, "a", "b", role="narrow")
    clock.advance(60)
    assert stand.taken() is None
    assert 4 < stand.trials.seconds_until_due < 5, "not at once: it would go round and round"
    add_all(project, "c")
    clock.advance(5)
    assert stand.taken() == "c", "the full role is passed over, and the trial is made with another item"
    stand.taker.close()
    holder.taker.close()


def test_who_is_killed_in_a_trial_keeps_nobody_waiting_for_ever(project: Project, clock: Clock) -> None:
    killed = pause(project)
    add_all(project, "a", "b")
    clock.advance(60)
    assert killed.taken() == "a"
    killed.taker.close()
    stand = Stand(project, "agent-2")
    assert stand.taken() is None
    clock.advance(60)
    assert stand.taken() == "b"
    stand.taker.close()


def test_of_a_long_last_line_both_ends_are_kept(project: Project) -> None:
    add_all(project, "a")
    stand = Stand(project)
    claim = stand.take()
    assert claim is not None
    stand.end(claim, said=f"Traceback:\nbegin {'x' * 999}\x1b end\n\n")
    (trouble,) = PauseFile(project).look()
    assert trouble.last.said.startswith("begin xxx")
    assert trouble.last.said.endswith("\\x1b end")
    assert len(trouble.last.said) < 210
    stand.taker.close()


def test_of_a_command_line_only_the_same_is_paused_and_resumed_with_all_of_the_shell(
    project: Project, clock: Clock
) -> None:
    stand = pause(project, command="mend it", program=None)
    add_all(project, "same", "same-2", command="mend it", program=None)
    add_all(project, "other", command="mend that", program=None)
    add_all(project, "mine")
    assert [stand.taken(), stand.taken(), stand.taken()] == ["other", "mine", None]
    PauseFile(project).change(Resumed("shell"))
    assert stand.taken() == "same"
    stand.taker.close()


@pytest.mark.parametrize(
    ("config", "ends"),
    [
        (MINE.replace("[mine]", "[mine, --again]"), True),
        (MINE.replace("[yours]", "[yours, --again]"), False),
        (MINE + "setup: {run: ['true']}\n", True),
        (MINE + "agents: 2\n", False),
        ("programs: {yours: {argv: [yours]}}\n", True),
    ],
)
def test_a_change_of_what_its_attempts_depend_on_ends_a_pause(
    project: Project, clock: Clock, config: str, ends: bool
) -> None:
    pause(project).taker.close()
    add_all(project, "a")
    (project.root / "parallel-loop.yaml").write_text(config)
    stand = Stand(with_clock(Project.open(project.root, project.environ), clock))
    assert (stand.taken() == "a") == ends
    stand.taker.close()


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b'[{"last": {}}]'])
def test_a_file_that_cannot_be_read_is_as_good_as_none(project: Project, content: bytes) -> None:
    stand = pause(project)
    add_all(project, "a", "b")
    project.state.pauses.write_bytes(content)
    claim = stand.take()
    assert claim is not None
    stand.end(claim)
    assert [one.attempts for one in PauseFile(project).look()] == [1]
    stand.taker.close()


def test_what_cannot_be_written_or_locked_stops_no_work(
    project: Project, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = pause(project)
    add_all(project, "a")
    add_all(project, "y", program="yours")
    monkeypatch.setattr(pause_file, "_PATIENCE_SECONDS", 0.0)
    descriptor = os.open(project.state.pauses_lock, os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    clock.advance(60)
    claim = stand.take()
    assert claim is not None
    assert claim.item.id == "y", "no trial that nobody else knows of"
    record = stand.end(claim)
    assert record is not None
    assert record.counted
    with pytest.raises(OSError, match="does not go on") as caught:
        PauseFile(project).change(Resumed("mine"))
    assert caught.value.errno == errno.ETIMEDOUT
    os.close(descriptor)
    assert stand.taken() == "a"
    stand.taker.close()


def test_of_many_processes_that_fail_at_once_no_failure_is_lost_and_one_begins_the_trial(project: Project) -> None:
    pause(project).taker.close()
    crowd = 12

    def fail_and_try(line: Line) -> None:
        own = Project(project.root, project.config, project.state)
        own.queue.now = lambda: "2026-01-01T00:00:30.000000Z"
        file = PauseFile(own)
        for order in line.orders():
            if order == "try":
                own.queue.now = lambda: "2026-01-01T01:00:00.000000Z"
                before, after = file.change(TrialBegun("mine"))
                line.say(str(before != after))
            else:
                file.change(failure(project, order))
                line.say("failed")

    with Crew() as crew:
        members = [crew.start(fail_and_try) for _ in range(crowd)]
        for number, member in enumerate(members):
            member.order(f"program-{number}")
        assert {member.heard() for member in members} == {"failed"}
        assert len(PauseFile(project).look()) == 1 + crowd
        for member in members:
            member.order("try")
        assert sorted(member.heard() for member in members) == ["False"] * (crowd - 1) + ["True"]


def failure(project: Project, key: str) -> object:
    from parallel_loop.harness.pausing.pauses import Failed

    (known, *_) = (one for one in PauseFile(project).look() if one.until is not None)
    return Failed(msgspec.structs.replace(known.last, key=key, program=key))


# --- with real attempts -----------------------------------------------------------------------------------


def test_a_missing_program_costs_three_items_an_attempt_and_once_installed_does_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become_subreaper()
    spare_others(monkeypatch)
    tools = tmp_path / "bin"
    tools.mkdir()
    config = f"program: agent\nprograms: {{agent: {{argv: [{tools}/agent]}}}}\nretry: {{first: 1h, max: 1h}}\n"
    shop = make_workshop(tmp_path / "r", config)
    shop.project.queue.now = clock = Clock()
    for name in "abcd":
        shop.add(name, prompt="do it")
    shop.add("other", "echo 1 > one.txt")
    with contextlib.closing(shop.worker()) as worker:
        assert [worker.work_once() for _ in range(5)] == [True, True, True, True, False]
        assert [shop.last(name).outcome for name in "abc"] == ["not-started"] * 3
        assert (shop.entry("d").records, shop.last("other").kind) == ((), "landing")
        clock.advance(60)
        assert [worker.work_once(), worker.work_once()] == [True, False]
        assert (shop.entry("d").attempts, shop.entry("d").counted_attempts) == (1, 0)
        (tools / "agent").write_text("#!/bin/sh\ncat > $PARALLEL_LOOP_ITEM.txt\n")
        (tools / "agent").chmod(0o755)
        assert not worker.work_once(), "nobody knows yet"
        clock.advance(3600)
        assert [worker.work_once() for _ in range(5)] == [True, True, True, True, False]
    assert {shop.last(name).kind for name in "abcd"} == {"landing"}
    told = [line.split('"event":"')[1].split('"')[0] for line in shop.project.state.events.read_text().splitlines()]
    assert [event for event in told if event.startswith("program")] == ["program-paused", "program-resumed"]


def test_an_idle_worker_plans_to_wake_for_the_next_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = f"health: {{heartbeat: 1h, silent: 2h}}\nprograms: {{mine: {{argv: [{tmp_path}/none]}}}}\n"
    shop = make_workshop(tmp_path / "r", config)
    planned: list[float] = []
    monkeypatch.setattr(Orders, "wait_for_ring", lambda _orders, _watch, seconds: planned.append(seconds))
    monkeypatch.setattr(pauses, "_FIRST_SECONDS", 7.0)
    pause(shop.project).taker.close()
    with (
        contextlib.closing(shop.worker()) as worker,
        contextlib.closing(BellWatch(shop.project.queue.bell)) as watch,
    ):
        assert not worker.work_once()
        worker.wait(watch)
        PauseFile(shop.project).change(Resumed("mine"))
        assert not worker.work_once()
        worker.wait(watch)
    assert 0 < planned[0] <= 7 < planned[1]


@pytest.mark.parametrize(
    ("setup", "argv", "is_paused"),
    [
        ("true", "sh, -c, 'echo no $$; exit 3'", True),
        ("echo broken; false", "'true'", True),
        ("true", "sh, -c, 'echo $PARALLEL_LOOP_ITEM > x'", False),
    ],
)
def test_what_fails_alike_whatever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setup: str, argv: str, is_paused: bool
) -> None:
    become_subreaper()
    spare_others(monkeypatch)
    config = f"program: agent\nprograms: {{agent: {{argv: [{argv}]}}}}\nsetup: {{run: ['{setup}']}}\n"
    shop = make_workshop(tmp_path / "r", config)
    for name in "abcd":
        shop.add(name, prompt="do it", max_attempts=1)
    with contextlib.closing(shop.worker()) as worker:
        assert [worker.work_once() for _ in range(4)] == [True, True, True, not is_paused]
    state: State = PauseFile(shop.project).look()
    assert [one.last.said.split()[0] for one in state] == ([{"true": "no"}.get(setup, "broken")] if is_paused else [])
    assert any(True for one in state if one.until) == is_paused
