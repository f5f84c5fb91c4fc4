"""One attempt, made by a real worker in a real repository: what becomes of what the program did."""

from __future__ import annotations

import errno
import re
from pathlib import Path

import pytest

from parallel_loop.harness import attempt
from parallel_loop.harness.orders import Orders
from parallel_loop.queue.records import Record
from parallel_loop.worktrees.commit import Rest
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.repository import Repository
from support.attempts import BRANCH, COMMIT, assert_landing, files
from support.harness import Workshop, make_workshop
from support.repository import git

pytestmark = pytest.mark.usefixtures("alone")


def salvaged(shop: Workshop) -> dict[str, str]:
    """Salvage refs and their commits."""
    lines = git(shop.root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/parallel-loop/salvage")
    return {
        name.removeprefix("refs/parallel-loop/salvage/"): commit for name, commit in map(str.split, lines.splitlines())
    }


# --- what the program may do in its worktree ----------------------------------------------------------


def test_what_is_left_uncommitted_is_committed_by_the_agent(shop: Workshop) -> None:
    record = shop.work("one", "echo 1 > 'a file'; mkdir d; echo 2 > d/e; echo more >> README.md", title="Say more")
    assert (record.kind, record.branch) == ("landing", BRANCH)
    names = git(shop.root, "show", "--format=%an <%ae>|%cn|%s|%b", "--name-only", BRANCH)
    assert names == (
        "agent-1 (parallel-loop) <agent-1@parallel-loop.invalid>|agent-1 (parallel-loop)|Say more|"
        "Item: one\nAttempt: 1\nAgent: agent-1\nProgram: shell\n\n\nREADME.md\na file\nd/e"
    )
    assert git(shop.root, "config", "user.name") == "Tess Ter", "the user's identity is not touched"
    assert git(shop.root, "status", "--porcelain") == ""
    assert git(shop.root, "rev-parse", "HEAD") == git(shop.root, "rev-parse", "parallel-loop/landed")


def test_what_is_handed_over_is_on_the_disk_before_that_is_recorded(shop: Workshop, monkeypatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Repository, "flush", lambda self: seen.append(self.branch_tip(BRANCH)))
    record = shop.work("one", f"echo 1 > a; {COMMIT}; echo 2 > b")
    assert seen == [record.commit]
    shop.work("two", "true")
    assert len(seen) == 1, "there is nothing to hand over"


def test_a_full_disk_at_flushing_is_waited_for(shop: Workshop, monkeypatch) -> None:
    answers = iter([OSError(errno.ENOSPC, "No space left on device"), None])

    def flush(_: Repository) -> None:
        answer = next(answers)
        if answer is not None:
            raise answer

    monkeypatch.setattr(Repository, "flush", flush)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.01)
    assert_landing(shop, shop.work("one", "echo 1 > a"), "a")


def test_commits_of_the_program_are_the_agents_and_the_rest_comes_on_top(shop: Workshop) -> None:
    record = shop.work("one", f"echo 1 > a; {COMMIT}; echo 2 > b")
    assert_landing(shop, record, "a", "b")
    log = git(shop.root, "log", "--format=%an|%s", f"main..{BRANCH}")
    assert log == "agent-1 (parallel-loop)|Do one\nagent-1 (parallel-loop)|by the program"


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (f"git checkout -qb mine; echo 1 > a; {COMMIT}; echo 2 > b", {"a", "b"}),
        (f"git checkout -q --detach; echo 1 > a; {COMMIT}", {"a"}),
        (f"echo 1 > a; {COMMIT}; git branch -qm renamed; echo 2 > b", {"a", "b"}),
        (
            (
                f"git checkout -qb side; echo 1 > a; {COMMIT}; git checkout -q -; echo 2 > b; {COMMIT};"
                " git merge -q --no-edit side"
            ),
            {"a", "b"},
        ),
        (
            (
                f"git checkout -qb side; echo 1 > a; {COMMIT}; git checkout -q -; echo 2 > a; {COMMIT};"
                " git merge side; echo both > a; git add a"
            ),  # begun, and not concluded
            {"a"},
        ),
        (f"echo 1 > a; {COMMIT}; git gc -q --prune=now; git reflog expire --expire=now --all; echo 2 > b", {"a", "b"}),
        ("echo 1 > a; touch $(git rev-parse --git-dir)/index.lock", {"a"}),
        ("echo 1 > a; rm .git", {"a"}),
        ("echo 1 > a; rm .git; git init -q; git add a; git commit -qm 'in a repository of its own'", {"a"}),
        ("echo 1 > a; git add a; git config --worktree core.bare true; git config core.hooksPath /none", {"a"}),
        ("echo 1 > a; chmod 0 a; mkdir ro; echo 2 > ro/b; chmod 555 ro", {"a", "ro/b"}),
    ],
)
def test_whatever_it_does_to_git_its_work_is_on_the_attempts_branch(
    shop: Workshop, command: str, names: set[str]
) -> None:
    before = git(shop.root, "rev-parse", "main")
    assert_landing(shop, shop.work("one", f"exec 2>/dev/null; {command}; true"), *names)
    assert git(shop.root, "rev-parse", "main") == before
    assert shop.work("two", "echo 2 > two").kind == "landing", "the next item finds a clean worktree"
    assert files(shop, shop.last("two").commit) == {"two"}


def test_a_worktree_that_was_deleted_keeps_what_was_committed(shop: Workshop) -> None:
    record = shop.work("one", f'echo 1 > a; {COMMIT}; echo lost > b; rm -rf "$PWD"')
    assert_landing(shop, record, "a")
    assert shop.work("two", "echo 2 > two").kind == "landing"


@pytest.mark.parametrize(
    "how", ['rm -rf "$PWD"', "cd ..; rm -rf agent-1; ln -s / agent-1", 'git worktree remove -ff "$PWD"']
)
def test_a_worktree_that_was_deleted_before_any_commit_is_no_success(shop: Workshop, how: str) -> None:
    record = shop.work("one", f"echo 1 > a; git add a; {how}; true")
    assert (record.kind, record.outcome) == ("released", "error")
    assert record.why == "the program deleted its worktree before anything was committed"
    assert (shop.root / "README.md").read_text() == "hello\n", "the user's own files are untouched"
    assert shop.work("two", "echo 2 > two", priority=0).kind == "landing"


def test_no_hook_of_the_repository_runs_in_our_commits(shop: Workshop) -> None:
    for name in ("pre-commit", "commit-msg", "post-checkout", "reference-transaction", "post-commit"):
        hook = shop.root / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {shop.root}/ran-{name}\nexit 1\n")
        hook.chmod(0o755)
    assert_landing(shop, shop.work("one", "echo 1 > a"), "a")
    assert list(shop.root.glob("ran-*")) == []


def test_nothing_changed_is_done_with_nothing_to_land(shop: Workshop) -> None:
    record = shop.work("one", "true")
    assert (record.kind, record.outcome, record.branch, record.commit) == ("done", "done", None, None)
    assert record.why == "nothing to land: the program changed nothing"


@pytest.mark.parametrize(
    ("land", "kind", "outcome"), [("review", "waiting", "review"), ("never", "waiting", "unlanded")]
)
def test_what_does_not_land_by_itself_stays_on_its_branch(tmp_path: Path, land: str, kind: str, outcome: str) -> None:
    shop = make_workshop(tmp_path / "repo", f"land: {land}\n")
    record = shop.work("one", "echo 1 > a")
    assert (record.kind, record.outcome, record.branch) == ("waiting", outcome, BRANCH)
    assert files(shop, BRANCH) == {"a"}


def test_the_branch_is_free_for_a_person_when_the_attempt_is_over(shop: Workshop) -> None:
    shop.work("one", "echo 1 > a")
    git(shop.root, "checkout", "-q", BRANCH)


def test_a_branch_name_that_is_taken_is_left_alone(shop: Workshop) -> None:
    git(shop.root, "checkout", "-q", "-b", BRANCH)
    mine = git(shop.root, "commit", "-q", "--allow-empty", "-m", "mine") or git(shop.root, "rev-parse", "HEAD")
    git(shop.root, "checkout", "-q", "main")
    record = shop.work("one", "echo $PARALLEL_LOOP_BRANCH > a")
    assert_landing(shop, record, "a", branch=f"{BRANCH}-2")
    assert git(shop.root, "show", f"{record.commit}:a") == f"{BRANCH}-2"
    assert git(shop.root, "rev-parse", BRANCH) == mine


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
    worker = shop.worker()
    assert worker.work_once()
    worker.close()
    assert shop.last("one").outcome == "failed", "an old question is not asked again"
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
    config = "checks: ['test -e a', 'echo line 1; echo line 2; test -e b', 'touch not-reached']\n"
    shop = make_workshop(tmp_path / "repo", config)
    record = shop.work("one", "if [ $PARALLEL_LOOP_ATTEMPT = 2 ]; then echo 2 > b; fi; echo 1 > a; echo noise")
    assert (record.kind, record.outcome) == ("released", "check-failed")
    assert record.commit == git(shop.root, "rev-parse", BRANCH)
    assert record.why == "the check `echo line 1; echo line 2; test -e b` ended with exit code 1"
    assert record.text == "line 1\nline 2"
    worker = shop.worker()
    assert worker.work_once()
    worker.close()
    assert_landing(shop, shop.last("one"), "a", "b", branch="parallel-loop/item/one/2")


def test_how_a_silent_check_ended_is_in_the_log(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "checks: ['true', 'kill -9 $$']\n")
    record = shop.work("one", "echo 1 > a")
    assert record.log is not None
    said = (shop.root / record.log).read_text()
    assert said.endswith("\n== true\n\n== kill -9 $$\n\n== it was ended by signal 9\n")
    assert record.text is None, "it is no output of the check"


def test_no_check_runs_when_there_is_nothing_to_check(tmp_path: Path) -> None:
    shop = make_workshop(tmp_path / "repo", "checks: ['false']\n")
    assert shop.work("one", "true").kind == "done"
    assert shop.work("two", "echo 1 > a; exit 3").outcome == "failed"


# --- want of room, and what git refuses ---------------------------------------------------------------

FULL = GitError(("add",), Path("/x"), 128, "error: unable to write file: No space left on device")


def test_finished_work_is_committed_when_there_is_room_again(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_rest, calls = attempt.commit_rest, []

    def without_room(*arguments: object, **options: object) -> Rest:
        calls.append(arguments)
        if len(calls) < 3:
            raise FULL
        return commit_rest(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(attempt, "commit_rest", without_room)
    monkeypatch.setattr("parallel_loop.harness.room.ROOM_SECONDS", 0.0)
    assert_landing(shop, shop.work("one", "echo 1 > a; echo once >> ../ran"), "a")
    assert (shop.project.worktrees / "ran").read_text() == "once\n"


def test_an_item_that_found_no_room_loses_no_attempt(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parallel_loop.harness.room._FIRST_BREATH_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(attempt, "recycle", lambda *_, **__: (_ for _ in ()).throw(FULL))
        record = shop.work("one", "echo 1 > a", max_attempts=1)
    assert (record.kind, record.outcome, record.counted) == ("released", "no-room", False)
    worker = shop.worker()
    assert worker.work_once()
    worker.close()
    assert shop.last("one").kind == "landing"


def test_what_git_refuses_is_an_attempt_that_says_so(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = GitError(("switch",), Path("/x"), 128, "fatal: something odd")
    monkeypatch.setattr(attempt, "recycle", lambda *_, **__: (_ for _ in ()).throw(refusal))
    record = shop.work("one", "true")
    assert (record.kind, record.outcome, record.counted) == ("released", "error", True)
    assert "fatal: something odd" in (record.why or "")


def test_logs_that_cannot_be_written_are_named(shop: Workshop) -> None:
    log = shop.project.state.agent("agent-1").attempt_log("one", 1)
    log.mkdir(parents=True)
    record = shop.work("one", "true")
    assert record.outcome == "not-started"
    assert str(log) in (record.why or "")


def test_work_of_nobody_is_salvaged_before_the_first_attempt(shop: Workshop) -> None:
    worker = shop.worker()
    (shop.project.worktrees / "agent-1/found").write_text("somebody's")
    shop.add("one", "test ! -e found && echo 1 > a")
    assert worker.work_once()
    worker.close()
    assert_landing(shop, shop.last("one"), "a")
    assert files(shop, salvaged(shop)["unknown/agent-1"]) == {"found"}


def test_directories_in_place_of_our_files_cost_the_next_item_nothing(shop: Workshop) -> None:
    agent = shop.project.state.agent("agent-1")
    places = (agent.session, agent.prompt_file("two", 1), agent.using, agent.interrupt)
    shop.work("one", "; ".join(f"rm -f {place}; mkdir -p {place}/x" for place in places))
    record = shop.work("two", "echo two > two.txt", prompt="Do it.")
    assert (record.kind, record.outcome) == ("landing", "done"), record


@pytest.mark.parametrize(
    "session",
    [
        '{"item": "../../../heads/x", "attempt": 1, "branch": "x"}',
        '{"item": "a b\\\\n", "attempt": -1, "branch": "--help"}',
        '{"item": "one.lock", "attempt": 99999999999999999999, "branch": ""}',
        '{"item": "", "attempt": 1, "branch": "\\\\u0000"}',
        '{"item": "one/1/x", "attempt": 1, "branch": "x"}',
    ],
)
def test_a_session_that_a_program_wrote_costs_the_next_item_nothing_and_loses_nothing(
    shop: Workshop, session: str
) -> None:
    shop.work("one", "echo one > one.txt")
    worktree = shop.project.worktrees / "agent-1"
    (worktree / "left.txt").write_text("left\n")
    shop.project.state.agent("agent-1").session.write_text(session)
    record = shop.work("two", "echo two > two.txt")
    assert (record.kind, record.outcome) == ("landing", "done"), record
    saved = [
        ref
        for ref in git(shop.root, "for-each-ref", "--format=%(refname)").split()
        if "salvage" in ref and "left.txt" in git(shop.root, "ls-tree", "--name-only", ref)
    ]
    assert len(saved) == 1
