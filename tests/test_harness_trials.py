"""Workers and paused programs: what they pass over, who tries, and what it costs."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import pytest

from parallel_loop.harness import commands
from parallel_loop.harness.keeping.tree import become_subreaper
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.pausing import pauses
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.pausing.pauses import Event, Resumed, State, TrialBegun
from parallel_loop.harness.project import Project
from parallel_loop.queue.taking import Claim, PassesOver
from parallel_loop.queue.watching import BellWatch
from support.harness import make_workshop, spare_others
from support.pausing import MINE, Stand, add_all, end_three, pause, with_clock
from support.queues import Clock
from support.runs import make_project
from support.taking import asked_of, claimed, items_read


@pytest.fixture
def project(tmp_path: Path, clock: Clock) -> Project:
    return with_clock(make_project(tmp_path / "r", MINE), clock)


def test_items_of_a_paused_program_are_passed_over_each_read_once(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand = pause(project)
    add_all(project, *(f"m{number}" for number in range(50)))
    add_all(project, "y1", "y2", "y3", program="yours")
    read = items_read(monkeypatch)
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
    asked = asked_of(stand.taker, monkeypatch)
    claim = claimed(stand)
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
    assert trial.item.id == "b"
    assert one.taken() is None
    other.end(trial, "done")
    assert (one.taken(), other.taken()) == ("a", "c")
    assert one.trials.seconds_until_due == math.inf
    for stand in (one, other):
        stand.taker.close()


def test_items_that_are_themselves_what_is_wrong_keep_the_others_waiting_for_a_few_trials(
    project: Project, clock: Clock
) -> None:
    stand = pause(project)
    add_all(project, "wrong-1", "wrong-2", priority=0)
    add_all(project, "right")
    for name in ("wrong-1", "wrong-2", "right"):
        assert stand.taken() is None
        clock.advance(stand.trials.seconds_until_due)
        trial = claimed(stand)
        assert trial.item.id == name
        stand.end(trial, "done" if name == "right" else "failed")
    assert PauseFile(project).in_force() == {}
    stand.taker.close()


def test_when_all_have_failed_the_first_is_tried_again(project: Project, clock: Clock) -> None:
    stand = pause(project)
    add_all(project, "a", "b", priority=0)
    for name in ("a", "b", "a"):
        assert stand.taken() is None
        clock.advance(stand.trials.seconds_until_due)
        trial = claimed(stand)
        assert trial.item.id == name
        stand.end(trial)
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
    end_three(stand, outcome, seconds=99.0)
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
    end_three(stand, outcome, **fields)
    assert PauseFile(project).look() == ()
    stand.taker.close()
    stand = pause(project)
    add_all(project, "d")
    clock.advance(60)
    claim = claimed(stand)
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
    claim = claimed(stand)
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


# --- with real attempts -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("alone")
def test_a_missing_program_costs_three_items_an_attempt_and_once_installed_does_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


def test_a_trial_that_lasts_ends_the_pause_before_it_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    become_subreaper()
    spare_others(monkeypatch)
    monkeypatch.setattr(commands, "QUICK_SECONDS", 0.0)
    is_over = f"until ! grep -q until {tmp_path}/r/.parallel-loop/pauses.json; do sleep 0.02; done; echo x > x"
    shop = make_workshop(tmp_path / "r", f"programs: {{mine: {{argv: [sh, -c, '{is_over}']}}}}\n")
    pause(shop.project).taker.close()
    shop.add("long", program="mine", prompt="do it", timeout_seconds=30.0)
    PauseFile(shop.project).change(Resumed("mine"))
    with contextlib.closing(shop.worker()) as worker:
        assert worker.work_once()
    assert shop.last("long").kind == "landing"


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


def test_what_a_program_told_counts_and_not_the_form_in_which_it_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become_subreaper()
    spare_others(monkeypatch)
    line = '{"type": "result", "is_error": true, "subtype": "error_during_execution", "errors": ["no $M here"]}'
    script = tmp_path / "agent"
    script.write_text(f"#!/bin/sh\nM=model\ncat <<END\n{line}\nEND\nexit 1\n")
    script.chmod(0o755)
    config = f"program: agent\nprograms: {{agent: {{argv: [{script}], dialect: claude}}}}\n"
    shop = make_workshop(tmp_path / "r", config)
    for name in "abcd":
        shop.add(name, prompt="do it", max_attempts=1)
    with contextlib.closing(shop.worker()) as worker:
        assert [worker.work_once() for _ in range(4)] == [True, True, True, False]
    (trouble,) = PauseFile(shop.project).look()
    assert trouble.last.said == shop.last("c").why
    assert trouble.last.said == "it failed: no model here"
