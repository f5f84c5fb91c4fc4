"""How an attempt ends: by its program, a limit, a stop, a question or a check, and what the next one is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from parallel_loop.harness.orders import Orders
from parallel_loop.queue.records import Record
from support.attempts import BRANCH, assert_landing, files
from support.harness import Workshop, make_workshop
from support.repository import git

pytestmark = pytest.mark.usefixtures("alone")


# --- how the program ends -----------------------------------------------------------------------------


def test_a_failure_keeps_its_work_and_the_next_attempt_is_told(tmp_path: Path) -> None:
    shop = make_workshop(
        tmp_path / "repo", "programs: {mine: {argv: [/bin/sh, -c, 'cat; echo 1 >> a; echo so; exit 3']}}\n"
    )
    record = shop.work("one", prompt="Do it.", program="mine", attempts=2)
    assert (record.kind, record.outcome, record.why) == ("released", "failed", "the program ended with exit code 3")
    assert record.branch == "parallel-loop/item/one/2"
    assert files(shop, BRANCH) == {"a"}, "the first attempt's work is there to look at"
    assert git(shop.root, "show", f"{record.branch}:a") == "1", "every attempt starts from what landed"
    assert shop.log("one") == "Do it.so\n"
    assert shop.log("one", 2) == (
        "Do it.\n\nAn earlier attempt did not land (failed): the program ended with exit code 3\n"
        f"Its work is on the branch {BRANCH}.\nThe end of its output:\nDo it.so"
        "so\n"
    )


def test_the_last_attempt_fails_for_good(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "retry: {attempts: 2, first: 0s}\n")
    assert shop.work("one", "exit 1", attempts=2).kind == "failed"
    assert shop.entry("one").attempts == 2


def test_the_nearest_time_limit_applies(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "limits: {time: 1h}\nroles: {quick: {timeout: 100ms}}\n")
    for item_id, fields in (("one", {"role": "quick"}), ("two", {"timeout_seconds": 0.1, "priority": 1})):
        record = shop.work(item_id, "echo 1 > a; sleep 600", **fields)
        assert (record.kind, record.outcome) == ("released", "timed-out")
        assert re.fullmatch(r"the program was stopped after [0-9.]+ m?s, its time limit", record.why or "")
    assert shop.mark.living() == []


def test_a_program_that_cannot_be_started_fails_with_the_reason(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "program: mine\nprograms: {mine: {argv: [no-such-agent]}}\n")
    record = shop.work("one", prompt="x")
    assert (record.outcome, record.branch) == ("not-started", None)
    assert "no-such-agent is not on PATH" in (record.why or "")
    record = shop.work("two", prompt="x", program="zzz", priority=0)
    assert record.outcome == "error"
    assert "parallel-loop.yaml: unknown program 'zzz'; known here: shell, mine, claude" in (record.why or "")


def test_a_stop_gives_the_item_back_with_its_work(shop: Workshop) -> None:
    shop.add("one", "echo 1 > a; touch up; sleep 600")
    orders = Orders()
    orders.wait = lambda seconds, *descriptors: orders.stop()  # type: ignore[method-assign]
    worker = shop.worker(orders=orders)
    assert worker.work_once()
    worker.close()
    record = shop.last("one")
    assert (record.kind, record.outcome, record.counted) == ("released", "interrupted", False)
    assert shop.mark.living() == []
    assert not worker.work_once(), "it takes no more"


@pytest.mark.parametrize("config", ["checks: ['sleep 600']", "setup: {run: ['sleep 600']}"])
def test_a_stop_ends_checks_and_set_up_too(tmp_path: Path, config: str) -> None:
    shop = make_workshop(tmp_path / "repo", f"{config}\n")
    orders = Orders()
    wait = orders.wait

    def stop_at_the_command(seconds: float, *descriptors: int) -> None:
        if "== sleep 600" in shop.log("one"):
            orders.stop()
        wait(seconds, *descriptors)

    orders.wait = stop_at_the_command  # type: ignore[method-assign]
    shop.add("one", "echo 1 > a")
    worker = shop.worker(orders=orders)
    assert worker.work_once()
    worker.close()
    record = shop.last("one")
    assert (record.outcome, record.counted) == ("interrupted", False)
    assert (record.commit is not None) == ("checks" in config), "what was committed before the checks is kept"


# --- asking, checking ---------------------------------------------------------------------------------


def test_who_asks_waits_for_an_answer_and_gets_it(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "program: mine\nprograms: {mine: {argv: [/bin/sh, agent]}}\n", {"agent": (
        "cat > said\n"
        "grep -q answered said || printf 'Which \\033[1mport?\\n' > $PARALLEL_LOOP_ASK_FILE\n"
        "exit 3\n"
    )})  # fmt: skip
    record = shop.work("one", prompt="Serve.")
    assert (record.kind, record.outcome, record.why) == ("waiting", "asked", "Which port?")
    log = shop.project.state.agent("agent-1").attempt_log("one", 2)
    log.with_suffix(".ask").write_text("of an item of that name in an earlier queue")
    assert record.branch == BRANCH
    shop.project.queue.append(shop.entry("one"), Record(kind="answered", at=shop.project.queue.now(), text="8080"))
    assert shop.work_at_once("one").outcome == "failed", "an old question is not asked again"
    assert git(shop.root, "show", "parallel-loop/item/one/2:said") == (
        f"Serve.\n\nYou asked: Which port?\nA person answered: 8080\n\nWhat was done before is on the branch {BRANCH}."
    )


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("touch $PARALLEL_LOOP_ASK_FILE", "it gave no reason"),
        ("mkdir $PARALLEL_LOOP_ASK_FILE", "is not a regular file"),
        ("mkfifo $PARALLEL_LOOP_ASK_FILE", "is not a regular file"),
        ("head -c 1000000 /dev/zero > $PARALLEL_LOOP_ASK_FILE", "has 1000000 bytes"),
    ],
)
def test_a_question_that_is_none_is_a_question_nevertheless(shop: Workshop, command: str, why: str) -> None:
    record = shop.work("one", command)
    assert record.kind == "waiting"
    assert why in (record.why or "")


def test_a_failed_check_is_told_to_the_next_attempt(tmp_path: Path) -> None:
    config = "checks: ['test -e a', 'echo line 1; echo line 2; test -e b', 'touch ../reached']\n"
    shop = make_workshop(tmp_path / "repo", config)
    record = shop.work("one", "if [ $PARALLEL_LOOP_ATTEMPT = 2 ]; then echo 2 > b; fi; echo 1 > a; echo noise")
    assert (record.kind, record.outcome) == ("released", "check-failed")
    assert record.commit == git(shop.root, "rev-parse", BRANCH)
    assert record.why == "the check `echo line 1; echo line 2; test -e b` ended with exit code 1"
    assert record.text == "line 1\nline 2"
    assert not (shop.project.worktrees / "reached").exists()
    assert_landing(shop, shop.work_at_once("one"), "a", "b", branch="parallel-loop/item/one/2")
    assert (shop.project.worktrees / "reached").exists()


def test_how_a_silent_check_ended_is_in_the_log(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "checks: ['true', 'kill -9 $$']\n")
    record = shop.work("one", "echo 1 > a")
    assert record.log is not None
    said = (shop.root / record.log).read_text()
    assert said.endswith("\n== true\n\n== kill -9 $$\n\n== it was ended by signal 9\n")
    assert record.text is None, "it is no output of the check"


def test_no_check_runs_when_there_is_nothing_to_check(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "checks: ['touch ../checked; false']\n")
    assert shop.work("one", "true").kind == "done"
    assert shop.work("two", "echo 1 > a; exit 3").outcome == "failed"
    assert not (shop.project.worktrees / "checked").exists()
