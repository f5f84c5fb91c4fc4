"""What attempts, items and runs may cost."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.lock import CoordinatorLock
from parallel_loop.coordinator.paused_work import PausedWork
from parallel_loop.harness.budgets import RunBudget, apart, cap_of, tells_dollars, used_usd
from parallel_loop.harness.dialects.events import Used
from parallel_loop.harness.identity import own_identity
from parallel_loop.harness.pausing.pause_file import PauseFile
from parallel_loop.harness.pausing.pauses import RunBegun
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record, Usage
from parallel_loop.queue.requests import answer, cancel, retry
from parallel_loop.queue.survey import Survey
from parallel_loop.queue.taking import Taker
from support.cli import CommandLine
from support.harness import Workshop, make_workshop, spare_others
from support.taking import claimed
from support.waiting import eventually

# A program that says what its prompt says, and then ends or does not.
PROGRAMS = """
program: spends
prompt: ../prompt.txt
retry: {attempts: 9, first: 0s}
programs:
  spends: {argv: [sh, -c, "cat; echo more >> notes; kill $$"], dialect: opencode}
  lands: {argv: [sh, -c, "cat; echo more >> notes"], dialect: opencode}
  hangs: {argv: [sh, -c, "echo more >> notes; cat; sleep 60"], dialect: opencode, stop: 0s}
  mute: {argv: [sh], dialect: codex}
  words: {argv: [sh], dialect: text}
  told: {argv: [sh, -c, 'echo "$@"; exit 1', "{options}"], dialect: claude, options: {budget: [--most, "{budget}"]}}
"""

Make = Callable[[str], Workshop]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    spare_others(monkeypatch)
    (tmp_path / "prompt.txt").write_text("$prompt\n")
    return lambda config: make_workshop(tmp_path / "repo", PROGRAMS + config)


def costs(*dollars: float, ends: bool = True) -> str:
    """A prompt by which the program says that steps cost so much."""
    steps = [
        {"type": "step_finish", "part": {"cost": one, "tokens": {"input": 1}, "reason": "tool-calls"}}
        for one in dollars
    ]
    if ends:
        steps[-1]["part"]["reason"] = "stop"  # type: ignore[index]
    return "\n".join(map(json.dumps, steps))


def attempt(shop: Workshop, item_id: str = "one") -> Record:
    return shop.work_when_due(item_id)


def test_an_attempt_that_costs_too_much_is_ended_and_what_it_did_is_kept(make: Make) -> None:
    shop = make("budget: {attempt: 0.5}\n")
    assert shop.work("zero", prompt=costs(0.3, 0.3), program="lands").kind == "landing", "it has ended by itself"
    record = shop.work("one", prompt=costs(0.3, 0.3, ends=False), program="hangs")
    assert (record.kind, record.outcome, record.counted) == ("released", "over-budget", True)
    assert "it has cost $0.60, and may cost $0.50 (budget.attempt)" in (record.why or "")
    assert record.usage == Usage(2, 0, 0, 0.6)
    assert record.commit is not None


def test_an_item_gets_what_earlier_attempts_left_and_waits_when_that_is_nothing(make: Make) -> None:
    shop = make("budget: {item: 1}\n")
    shop.add("one", prompt=costs(0.375))
    for left in (1.0, 0.625):
        cap = cap_of(shop.entry("one"), shop.project)
        assert cap is not None
        assert (cap.usd, cap.key) == (left, "budget.item")
        assert attempt(shop).kind == "released"
    record = attempt(shop)
    assert (record.kind, record.outcome, record.counted) == ("waiting", "over-budget", True)
    assert "it has cost $1.12, and an item may cost $1.00 (budget.item)" in (record.why or "")
    asked = [one.next for one in current_snapshot(shop.project).attention if one.item == "one"]
    assert asked == ["parallel-loop answer one TEXT"]
    answer(shop.project.queue, "one", "Go on.")
    assert used_usd(shop.entry("one"), shop.project) == 0.0
    assert [attempt(shop).kind for _ in range(3)] == ["released", "released", "waiting"]
    retry(shop.project.queue, "one")
    assert used_usd(shop.entry("one"), shop.project) == 0.0


def test_an_answer_to_another_question_is_no_new_money(make: Make) -> None:
    shop = make("budget: {item: 1}\n")
    shop.add("one", prompt=costs(0.4))
    attempt(shop)
    entry = shop.entry("one")
    waiting = Record(kind="waiting", at=shop.project.queue.now(), outcome="asked", why="?")
    assert shop.project.queue.append(entry, waiting)
    answer(shop.project.queue, "one", "Yes.")
    assert used_usd(shop.entry("one"), shop.project) == 0.4


def test_nothing_is_begun_where_nothing_is_left(make: Make) -> None:
    shop = make("budget: {item: 0.4}\n")
    shop.add("one", prompt=costs(0.39), program="spends")
    attempt(shop)
    record = attempt(shop)
    assert (record.kind, record.outcome) == ("waiting", "over-budget")
    shop.add("two", prompt=costs(0.398), program="spends")
    record = attempt(shop, "two")
    assert (record.kind, record.outcome) == ("waiting", "over-budget"), "less than half a cent is nothing"
    shop.add("three", prompt=costs(0.1), program="spends")
    with contextlib.closing(Taker(shop.project.queue, Owner("agent-1", *own_identity()))) as taker:
        limited = Record(kind="released", at=shop.project.queue.now(), agent="agent-1", program="spends", counted=False)
        assert taker.end(claimed(taker), msgspec.structs.replace(limited, outcome="limited", usage=Usage(usd=0.398)))
    record = attempt(shop, "three")
    assert (record.kind, record.outcome) == ("waiting", "over-budget")
    assert "nothing is left of what it may cost (budget.item)" in (record.why or "")
    assert record.usage is None
    assert not shop.project.state.agent("agent-1").attempt_log("three", 2).exists()


def test_who_can_is_told_the_smallest_limit(make: Make) -> None:
    shop = make("budget: {attempt: 2, item: 1.5}\n")
    shop.add("one", prompt="Do it.", program="told")
    attempt(shop)
    assert shop.log("one") == "1.5\n"
    assert cap_of(shop.entry("one"), shop.project) is not None
    shop.add("two", "true")
    assert cap_of(shop.entry("two"), shop.project) is None, "a command costs nothing"


def test_a_run_that_has_cost_what_it_may_begins_no_more(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make("budget: {run: 0.5}\n")
    shop.work("one", prompt=costs(0.3), program="lands")
    assert not RunBudget(shop.project).is_spent
    shop.work("two", prompt=costs(0.3), program="lands")
    shop.add("three", prompt=costs(0.3), program="lands")
    worker = shop.worker()
    try:
        assert not worker.work_once()
        shop.add("four", "true")
        assert worker.work_once(), "what costs nothing goes on"
    finally:
        worker.close()
    survey = Survey(shop.project.queue)
    survey.refresh()
    needed = [one.key for one in PausedWork(shop.project, survey).needed()]
    assert needed == ["lands"]
    (said,) = [one.why for one in current_snapshot(shop.project).attention if "budget.run" in one.why]
    spent = "this run has cost $0.60, and a run may cost $0.50 (budget.run)"
    assert said == (f"{spent}: what costs money waits. Allow more with a higher `budget: run:`, or begin another run")
    cli = CommandLine(capsys, monkeypatch, shop.root)
    assert "budget.run" in cli("status").out
    assert f"waits for another run, as {spent}" in cli("list", "--state", "ready").out
    assert "parallel-loop restart" in [one.next for one in current_snapshot(shop.project).attention]
    found = [one for one in json.loads(cli("doctor", "--json").out)["findings"] if "budget.run" in one["detail"]]
    assert [(one["name"], one["detail"]) for one in found] == [("budget", f"{spent}: what costs money waits")]
    assert found[0]["remedy"].startswith("`parallel-loop restart`, or a higher `budget: run:` in ")
    refused = cli("resume", "lands")
    assert refused.code == 1
    assert spent in refused.err
    assert "`parallel-loop restart`" in refused.err

    (shop.project.state.status).write_text('{"coordinator": {"state": "running"}}')
    PauseFile(shop.project).change(RunBegun())
    assert RunBudget(shop.project).is_spent, "its coordinator was killed"
    (shop.project.state.status).write_text('{"coordinator": {"state": "stopped"}}')
    PauseFile(shop.project).change(RunBegun())
    assert attempt(shop, "three").kind == "landing"


def test_the_status_tells_what_the_run_has_cost_once_it_has_cost_something(make: Make) -> None:
    shop = make("budget: {run: 50}\n")
    with contextlib.closing(CoordinatorLock(shop.project.state.coordinator_lock, *own_identity())):
        coordinator = current_snapshot(shop.project).coordinator
        assert (coordinator.run_usd, coordinator.run_budget_usd) == (None, 50)
        RunBudget(shop.project).add("lands", Usage(usd=0.1))
        RunBudget(shop.project).add("lands", Usage(usd=0.2))
        assert current_snapshot(shop.project).coordinator.run_usd == 0.3


def test_what_a_killed_worker_has_cost_counts_once(make: Make) -> None:
    shop = make("budget: {run: 9}\n")
    shop.add("one", prompt=costs(0.5))
    taker = Taker(shop.project.queue, Owner("agent-1", *own_identity()))
    claim = claimed(taker)
    agent = shop.project.state.agent("agent-1")
    agent.create()
    agent.events_file("one", 1).write_bytes(msgspec.json.encode(Used(usd=0.25)) + b"\n")
    assert taker.end(claim, Record(kind="released", at=shop.project.queue.now(), agent="agent-1", outcome="died"))
    taker.close()
    assert used_usd(shop.entry("one"), shop.project) == 0.25
    for spent in (0.75, 1.25):
        attempt(shop)
        assert RunBudget(shop.project).spent_usd == spent


def test_what_a_cancelled_attempt_has_cost_counts_once(make: Make) -> None:
    shop = make("budget: {run: 9}\n")
    shop.add("one", prompt=costs(0.5, ends=False), program="hangs")
    events = shop.project.state.agent("agent-1").events_file("one", 1)

    def cancel_what_costs() -> None:
        eventually(lambda: events.exists() and b'"used"' in events.read_bytes())
        cancel(shop.project.queue, "one")

    person = threading.Thread(target=cancel_what_costs)
    person.start()
    attempt(shop)
    person.join()
    assert RunBudget(shop.project).spent_usd == 0.5
    retry(shop.project.queue, "one")
    RunBudget(shop.project).add_what_was_lost(shop.entry("one"))
    assert RunBudget(shop.project).spent_usd == 0.5


def test_a_drain_ends_when_the_run_has_cost_what_it_may(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make("budget: {run: 0.5}\nagents: 1\nparallel_mode: false\n")
    for name in ("one", "two"):
        shop.add(name, prompt=costs(0.6), program="lands")
    answer = CommandLine(capsys, monkeypatch, shop.root)("run", "--drain")
    assert answer.code == 1
    spent = "this run has cost $0.60, and a run may cost $0.50 (budget.run)"
    assert f"what is paused: what costs money, as {spent}; see `parallel-loop status`" in answer.out + answer.err
    assert sorted(filter(None, (shop.kind(name)() for name in ("one", "two")))) == ["done"]
    assert "run-over-budget" in shop.project.state.events.read_text()


def test_doctor_says_where_a_budget_has_no_effect(
    make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make("budget: {run: 5}\nroles: {a: {program: mute}, b: {program: words}}\n")
    found = [
        one["detail"]
        for one in json.loads(CommandLine(capsys, monkeypatch, shop.root)("doctor", "--json").out)["findings"]
        if one["name"] == "budget"
    ]
    vain = "does not say what it costs, so no budget has an effect on it; `usage` shows its tokens"
    assert found == [f"mute {vain}", f"words {vain}"]
    assert tells_dollars("aider", shop.project.config)


def test_what_no_program_costs_spoils_no_sum(make: Make) -> None:
    shop = make("budget: {run: 5}\n")
    shop.work("less", prompt=costs(-1000.0, 0.5), program="lands")
    assert RunBudget(shop.project).spent_usd == 0.5
    record = shop.work("more", prompt=costs(1e308, 1e308), program="lands")
    assert record.usage is not None
    assert record.usage.usd == 2e6
    assert RunBudget(shop.project).is_spent


@pytest.mark.parametrize("put", ["mkdir {0} && touch {0}/x", "mkfifo {0}", "ln -s /dev/zero {0}"])
def test_what_a_program_puts_in_place_of_the_sum_hides_no_cost(make: Make, put: str) -> None:
    shop = make("budget: {run: 5}\n")
    state = shop.project.state
    budget = RunBudget(shop.project)
    for path in (state.costs, state.costs_lock):
        subprocess.run(["/bin/sh", "-c", put.format(path)], check=True)
    budget.add("lands", Usage(usd=6.0))
    assert budget.is_spent
    state.costs.unlink()
    subprocess.run(["/bin/sh", "-c", put.format(state.costs)], check=True)
    PauseFile(shop.project).change(RunBegun())
    assert not budget.is_spent


def test_less_than_nothing_in_the_file_of_the_sum_is_nothing(make: Make) -> None:
    shop = make("budget: {run: 5}\n")
    shop.project.state.costs.write_text('{"usd": {"lands": -1000, "other": -1}}')
    budget = RunBudget(shop.project)
    budget.add("lands", Usage(usd=6.0))
    assert budget.spent_usd == 6.0


@pytest.mark.parametrize(
    ("cost", "most", "said"),
    [
        (0.6, 0.5, ("$0.60", "$0.50")),
        (0.0512, 0.05, ("$0.051", "$0.050")),
        (0.398, 0.4, ("$0.398", "$0.400")),
        (0.05, 0.05, ("$0.05", "$0.05")),
    ],
)
def test_two_amounts_are_told_in_digits_that_make_them_differ(cost: float, most: float, said: tuple[str, str]) -> None:
    assert apart(cost, most) == said
