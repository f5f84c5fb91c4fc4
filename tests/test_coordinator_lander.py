"""Landing with real git: what reaches the landing branch, what is sent back, and how the target follows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from parallel_loop.coordinator.lander import Lander
from parallel_loop.coordinator.target_report import read_target
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.queue.hints import Hints
from parallel_loop.queue.records import Record
from parallel_loop.queue.requests import cancel
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.landing import LandingBranch
from parallel_loop.worktrees.repository import Repository
from support.landing import a_lander, hand_over, land, landed_items, make_branch, replay, scratch
from support.repository import attempt_git, commit, git, write
from support.runs import LANDER, PATIENCE_SECONDS, events, kinds, living, make_project
from support.waiting import eventually

BRANCH = "parallel-loop/landed"
SUM_FILES = {"a": "1\n", "b": "2\n"}


def tip(project: Project, name: str = "parallel-loop/landed") -> str:
    return git(project.root, "rev-parse", name)


def why(project: Project, item_id: str) -> str:
    entry = project.queue.entry(item_id)
    assert entry is not None
    assert entry.last is not None
    return entry.last.why or ""


def run_remedy(command: str | None) -> None:
    assert command is not None
    subprocess.run(["/bin/sh", "-c", command], check=True, capture_output=True)


def test_each_item_is_one_merge_with_its_trailers_and_every_tip_passes_the_checks(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test -e README']")
    for name in ("one", "two", "three"):
        hand_over(project, name, {f"{name}.txt": name})
    report = land(project)
    assert landed_items(project) == ["one", "two", "three"]
    assert [kinds(project, name)[-1] for name in ("one", "two", "three")] == ["done"] * 3
    trailers = git(project.root, "log", "-1", "--format=%(trailers:only,unfold)")
    assert trailers.splitlines() == [
        "Item: three",
        "Attempt: 1",
        "Agent: agent-1",
        "Branch: parallel-loop/item/three/1",
    ]
    assert git(project.root, "log", "-1", "--format=%s") == "three"
    replay(project, "test -e README")
    assert tip(project, "main") == tip(project) == report.landed
    assert report.blocked is None
    assert (project.root / "three.txt").read_text() == "three"
    assert git(project.root, "status", "--porcelain") == ""


def test_what_landed_is_on_the_disk_before_it_is_called_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    seen: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(Repository, "flush", lambda self: seen.append((self.branch_tip(BRANCH), kinds(project, "one"))))
    land(project)
    assert seen == [(tip(project), ["claimed", "landing"])]
    assert kinds(project, "one")[-1] == "done"


def test_without_checks_what_merges_lands(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert landed_items(project, "main") == ["one"]


def test_a_textual_conflict_is_sent_back_and_says_in_which_files(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['true']")
    hand_over(project, "first", {"README": "mine\n"})
    hand_over(project, "second", {"README": "no, mine\n", "other": "x"})
    land(project)
    assert kinds(project, "first")[-1] == "done"
    assert kinds(project, "second")[-1] == "released"
    assert why(project, "second") == "it conflicts with what landed meanwhile, in README"
    assert landed_items(project) == ["first"]


def test_unrelated_history_is_sent_back(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(scratch(project), "switch", "--quiet", "--orphan", "elsewhere")
    commit(scratch(project), {"x": "x"}, "no parent")
    git(scratch(project), "switch", "--quiet", "--detach")
    hand_over(project, "one", {"one": "1"}, base="elsewhere")
    land(project)
    assert "shares no commit" in why(project, "one")


def test_two_branches_green_alone_and_red_together_the_later_is_sent_back_with_the_output(tmp_path: Path) -> None:
    check = "cat a b; test $(( $(cat a) + $(cat b) )) -le 10"
    project = make_project(tmp_path / "r", f"checks: ['{check}']", SUM_FILES)
    hand_over(project, "more-a", {"a": "7\n"})
    hand_over(project, "more-b", {"b": "8\n"})
    with a_lander(project) as lander:
        assert lander.land_next()
        green = tip(project)
        assert lander.land_next()
        assert not lander.land_next()
    assert tip(project) == green
    entry = project.queue.entry("more-b")
    assert entry is not None
    assert entry.last is not None
    assert (entry.last.kind, entry.last.outcome) == ("released", "check-failed")
    assert "ended with exit code 1" in (entry.last.why or "")
    assert entry.last.text == "7\n8"
    replay(project, check)
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") == ""


def test_the_third_failure_at_landing_is_the_last(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['false']\nretry: {attempts: 2, first: 0s}")
    hand_over(project, "one", {"one": "1"})
    land(project)
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert kinds(project, "one") == ["claimed", "landing", "released", "claimed", "landing", "failed"]


@pytest.mark.parametrize(
    "check",
    [
        "echo rubbish > rubbish; rm README",
        "git config core.bare true; git checkout -q HEAD~1; rm -rf .git",
        "git commit -q --allow-empty -m sneaky",
        "git checkout -q -b elsewhere; git merge -q --no-edit main || true",
        "rm -rf ../landing",
    ],
)
def test_what_a_check_does_to_its_worktree_reaches_neither_the_branch_nor_the_next_check(
    tmp_path: Path, check: str
) -> None:
    config = f"checks: ['test -e README', 'test ! -e rubbish', '{check}']"
    project = make_project(tmp_path / "r", config)
    for name in ("one", "two"):
        hand_over(project, name, {name: name})
    land(project)
    git(project.root, "config", "core.bare", "false")
    assert landed_items(project, "main") == ["one", "two"]
    log = git(project.root, "log", "--format=%s", "main").split("\n")
    assert "sneaky" not in log
    assert set(git(project.root, "ls-tree", "--name-only", "main").split()) >= {"README", "one", "two"}
    assert "rubbish" not in git(project.root, "ls-tree", "--name-only", "main")


def test_a_check_that_moves_the_landing_branch_itself_is_given_up(tmp_path: Path) -> None:
    move = "git update-ref refs/heads/parallel-loop/landed $(git commit-tree -p parallel-loop/landed -m x HEAD^{tree})"
    project = make_project(tmp_path / "r", f"checks: ['{move}']")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        assert lander.land_next()
    assert "moved 5 times" in why(project, "one")


def test_a_daemon_that_a_check_leaves_is_ended(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['setsid sleep 1000 >/dev/null 2>&1 & true']")
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert kinds(project, "one")[-1] == "done"
    assert not [pid for pid in living(project) if pid != os.getpid()]


def test_a_check_that_hangs_is_ended_at_its_time_limit_and_the_item_sent_back(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['exec sleep 1000']\ncheck_timeout: 1s")
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert "time limit" in why(project, "one")
    assert landed_items(project) == []


def test_an_item_cancelled_during_its_check_does_not_land(tmp_path: Path) -> None:
    flag = tmp_path / "checking"
    project = make_project(tmp_path / "r", f"checks: ['touch {flag}; exec sleep 1000']")
    hand_over(project, "one", {"one": "1"})
    with lander_process(project) as process:
        eventually(flag.exists, PATIENCE_SECONDS)
        cancel(project.queue, "one")
        eventually(lambda: project.queue.hints.landing() == [], PATIENCE_SECONDS)
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert kinds(project, "one")[-1] == "cancelled"
    assert landed_items(project) == []
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") == ""


def test_what_lands_is_the_commit_that_was_handed_over_wherever_its_branch_is_now(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    for name in ("moved", "deleted"):
        hand_over(project, name, {name: "as handed over\n"})
    make_branch(project, "parallel-loop/item/moved/1", {"moved": "later\n"})
    git(project.root, "branch", "-qD", "parallel-loop/item/deleted/1")
    land(project)
    assert landed_items(project, "main") == ["moved", "deleted"]
    assert git(project.root, "show", "main:moved") == "as handed over"


@pytest.mark.parametrize("sent_back", [True, False])
def test_an_attempt_handed_over_while_the_one_before_is_tidied_away_is_not_overlooked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent_back: bool
) -> None:
    project = make_project(tmp_path / "r", "checks: ['test ! -e bad']\nretry: {first: 0s}")
    hand_over(project, "one", {"bad": "1"})
    if not sent_back:  # by a lander that was killed before it could tidy
        entry = project.queue.entry("one")
        assert entry is not None
        assert project.queue.append(entry, Record(kind="released", at=project.queue.now(), outcome="check-failed"))
    unmark, second = Hints.unmark_landing, []

    def hand_over_first(self: Hints, item_id: str) -> None:
        if not second:
            second.append(hand_over(project, "one", {"good": "2"}))
        unmark(self, item_id)

    monkeypatch.setattr(Hints, "unmark_landing", hand_over_first)
    with a_lander(project) as lander:
        for _ in range(2):
            lander.land_all()
    assert kinds(project, "one")[-2:] == ["landing", "done"]
    assert landed_items(project, "main") == ["one"]


class lander_process:  # noqa: N801 (used like a function)
    """A lander in a process of its own, ended with the block."""

    def __init__(self, project: Project) -> None:
        argv = [sys.executable, "-P", "-m", LANDER, str(project.root), "main"]
        self._log = (project.root.parent / "lander.log").open("ab")
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=self._log, stderr=self._log, env=dict(project.environ)
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._log.close()


def test_killed_between_moving_the_branch_and_the_record_the_next_lander_records_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "r", "checks: ['true']")
    handed = hand_over(project, "one", {"one": "1"})

    class Killed(BaseException):
        """Stands for SIGKILL: nothing handles it."""

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Lander, "_record_landed", die)
        with pytest.raises(Killed), a_lander(project) as lander:
            lander.land_next()
    assert kinds(project, "one")[-1] == "landing"
    moved = tip(project)
    land(project)
    assert tip(project) == moved
    assert landed_items(project) == ["one"]
    assert kinds(project, "one") == ["claimed", "landing", "done"]
    assert git(project.root, "merge-base", handed, "main") == handed


def test_a_lander_killed_during_a_check_leaves_no_candidate_behind(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = make_project(tmp_path / "r", f"checks: ['test -e {flag}-go || {{ touch {flag}; exec sleep 1000; }}']")
    hand_over(project, "one", {"one": "1"})
    with lander_process(project) as process:
        eventually(flag.exists, PATIENCE_SECONDS)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") != ""
    flag.with_name("flag-go").touch()
    land(project)
    assert landed_items(project, "main") == ["one"]
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") == ""
    assert living(project) == []


def test_a_branch_that_is_gone_is_sent_back_and_the_next_one_lands(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    add_landing_of_nothing(project, "gone")
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert kinds(project, "gone")[-1] == "released"
    assert kinds(project, "one")[-1] == "done"


def add_landing_of_nothing(project: Project, item_id: str) -> None:
    """An item handed over with a commit that the repository does not have."""
    made = hand_over(project, item_id, {"x": "x"})
    git(project.root, "branch", "-D", f"parallel-loop/item/{item_id}/1")
    path = project.root / ".git" / "objects" / made[:2] / made[2:]
    path.unlink()
    git(scratch(project), "switch", "--quiet", "--detach", "main")


def test_a_damaged_item_does_not_stop_the_landing_of_others(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    hand_over(project, "two", {"two": "2"})
    record = Path(project.queue.layout.record("one", 2))
    record.unlink()
    record.write_text("not json")
    land(project)
    assert kinds(project, "two")[-1] == "done"


def test_a_fault_of_git_that_passes_costs_the_item_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        monkeypatch.setattr("parallel_loop.coordinator.lander._FAULT_PAUSE_SECONDS", 0.0)
        lock = project.root / ".git" / "refs" / "heads" / "parallel-loop" / "landed.lock"
        lock.touch()
        assert lander.land_next()
        lock.unlink()
        assert lander.land_next()
    assert kinds(project, "one") == ["claimed", "landing", "done"]


def test_a_fault_of_git_that_stays_does_not_stop_the_others_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parallel_loop.coordinator.lander._FAULT_PAUSE_SECONDS", 0.0)
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})

    def merge(_branch: LandingBranch, commit: str, message: str) -> None:
        raise GitError(("merge-tree", commit), project.root, 128, f"fatal: cannot read {commit}")

    with a_lander(project) as lander:
        monkeypatch.setattr(LandingBranch, "merge", merge)
        for _ in range(3):
            assert lander.land_next()
        assert not lander.land_next()
    assert kinds(project, "one")[-1] == "released"


# --- the target -----------------------------------------------------------------------------------------------------


def test_a_commit_of_the_user_on_the_target_is_checked_and_merged_in(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test -e README']")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project):
        mine = commit(project.root, {"mine": "mine"}, "by the user")
    report = land(project)
    assert report.blocked is None
    assert tip(project, "main") == tip(project)
    assert git(project.root, "merge-base", mine, "main") == mine
    assert "target-merged" in [event["event"] for event in events(project)]
    replay(project, "test -e README")


@pytest.mark.parametrize("how", ["conflict", "check"])
def test_a_commit_of_the_user_that_does_not_fit_blocks_only_the_target_until_they_merge(
    tmp_path: Path, how: str
) -> None:
    check = "test $(( $(cat a) + $(cat b) )) -le 10"
    project = make_project(tmp_path / "r", f"checks: ['{check}']", SUM_FILES)
    hand_over(project, "one", {"a": "7\n"})
    with a_lander(project) as lander:
        lander.land_all()
        main = tip(project, "main")
        git(project.root, "reset", "--quiet", "--hard", "HEAD~1")
        commit(project.root, {"a": "8\n"} if how == "conflict" else {"b": "8\n"}, "by the user")
        lander.look_at_target()
        report = read_target(project.state.root)
        assert report is not None
        assert "does not go together" in (report.blocked or "")
        assert ("in a" if how == "conflict" else "check") in (report.blocked or "")
        hand_over(project, "two", {"two": "2"}, base="parallel-loop/landed")
        lander.land_all()
        assert landed_items(project) == ["one", "two"]
        attempt_git(project.root, "merge", "--quiet", "parallel-loop/landed")
        commit(project.root, {"a": "3\n", "b": "3\n"}, "merged by the user")
        lander.look_at_target()
        report = read_target(project.state.root)
    assert report is not None
    assert report.blocked is None
    assert tip(project, "main") == tip(project)
    assert git(project.root, "merge-base", main, "main") == main
    replay(project, check)


@pytest.mark.parametrize(
    ("in_the_way", "ignored"),
    [({"README": "changed by the user\n"}, False), ({"new.txt": "the user's\n"}, False), ({"new.txt": "kept\n"}, True)],
    ids=["changed", "untracked", "ignored"],
)
def test_files_of_the_user_in_the_way_block_the_target_and_the_remedy_frees_it(
    tmp_path: Path, in_the_way: dict[str, str], ignored: bool
) -> None:
    project = make_project(tmp_path / "r", files={".gitignore": "new.txt\n"} if ignored else None)
    git(scratch(project), "config", "advice.addIgnoredFile", "false")
    branch_files = {"README": "landed\n", ".gitignore": "", "new.txt": "landed\n"}
    hand_over(project, "one", branch_files)
    write(project.root, in_the_way)
    report = land(project)
    assert report.blocked is not None
    (name,) = in_the_way
    assert name in report.blocked
    assert (project.root / name).read_text() == in_the_way[name]
    assert landed_items(project) == ["one"]
    run_remedy(report.next)
    report = land(project)
    assert report.blocked is None
    assert (project.root / name).read_text() == "landed\n"
    assert in_the_way[name].strip() in git(project.root, "stash", "show", "--include-untracked", "-p", "stash@{0}")


def test_files_of_the_user_elsewhere_stay_and_the_target_follows(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", files={"other": "x\n"})
    hand_over(project, "one", {"README": "landed\n"})
    write(project.root, {"other": "in work\n", "untracked": "mine\n"})
    assert land(project).blocked is None
    assert (project.root / "README").read_text() == "landed\n"
    assert (project.root / "other").read_text() == "in work\n"
    assert git(project.root, "status", "--porcelain").split("\n") == ["M other", "?? untracked"]


def test_the_user_on_another_branch_sees_nothing_and_the_target_moves(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "-c", "feature")
    hand_over(project, "one", {"one": "1"})
    assert land(project).blocked is None
    assert landed_items(project, "main") == ["one"]
    assert git(project.root, "status", "--porcelain") == ""
    assert not (project.root / "one").exists()


def test_the_target_checked_out_in_another_worktree_follows_there(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "-c", "feature")
    git(project.root, "worktree", "add", "--quiet", str(tmp_path / "other place"), "main")
    hand_over(project, "one", {"one": "1"})
    assert land(project).blocked is None
    assert (tmp_path / "other place" / "one").read_text() == "1"
    assert git(tmp_path / "other place", "status", "--porcelain") == ""


def test_a_target_branch_that_was_deleted_is_reported_and_landing_goes_on(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    git(project.root, "switch", "--quiet", "-c", "feature")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        git(project.root, "branch", "-D", "main")
        lander.land_all()
    report = read_target(project.state.root)
    assert report is not None
    assert "there is no branch main" in (report.blocked or "")
    run_remedy(report.next)
    assert landed_items(project, "main") == ["one"]
    assert land(project).blocked is None


@pytest.mark.parametrize("begun_again", [False, True], ids=["deleted", "begun again at the target by a worker"])
def test_a_landing_branch_that_the_user_deletes_comes_back_with_all_that_landed(
    tmp_path: Path, begun_again: bool
) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"README": "landed\n"})
    write(project.root, {"README": "in the way\n"})
    with a_lander(project) as lander:
        lander.land_all()
        before = tip(project)
        git(project.root, "branch", "-D", "parallel-loop/landed")
        if begun_again:
            git(project.root, "branch", "parallel-loop/landed", "main")
        hand_over(project, "two", {"two": "2"})
        lander.land_all()
    assert landed_items(project) == ["one", "two"]
    assert git(project.root, "merge-base", before, "parallel-loop/landed") == before


@pytest.mark.parametrize("refs", ["files", "reftable"])
def test_git_is_not_asked_about_branches_that_nobody_touched(tmp_path: Path, refs: str) -> None:
    project = make_project(tmp_path / "r")
    root = project.root
    if refs == "reftable" and attempt_git(root, "refs", "migrate", "--ref-format=reftable").returncode != 0:
        pytest.skip("git before 2.46 cannot turn a repository into one with reftables")
    touches: list[Callable[[], object]] = [
        lambda: commit(root, {"mine": "mine"}, "by the user"),
        lambda: git(root, "switch", "--quiet", "-c", "feature"),
        lambda: git(root, "branch", "-qD", "parallel-loop/landed"),
        lambda: git(root, "worktree", "add", "--quiet", str(tmp_path / "elsewhere"), "main"),
    ]
    with a_lander(project) as lander:
        keeper = lander._keeper
        for touch in touches:
            for _ in range(2):  # the first may have moved a branch itself
                lander.look_at_target()
            keeper._next_look = 0.0
            assert not keeper.is_due()
            assert keeper.seconds_until_due > 2.0, "it is not asked again at once"
            touch()
            keeper._next_look = 0.0
            assert keeper.is_due()
        lander.look_at_target()
        lander.look_at_target()
        keeper._next_look = keeper._settled_until = 0.0
        assert keeper.is_due(), "not even what leaves no trace stays unseen for ever"


def test_a_target_that_cannot_follow_is_looked_at_whether_or_not_a_branch_moved(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"README": "landed\n"})
    write(project.root, {"README": "in the way\n"})
    with a_lander(project) as lander:
        lander.land_all()
        lander.look_at_target()
        lander._keeper._next_look = 0.0
        assert lander._keeper.is_due()
        git(project.root, "checkout", "--quiet", "README")
        lander.look_at_target()
    assert landed_items(project, "main") == ["one"]


def test_a_git_that_fails_at_the_target_is_reported_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    git(project.root, "switch", "--quiet", "--detach")
    lock = project.root / ".git" / "refs" / "heads" / "main.lock"
    with a_lander(project) as lander:
        lock.touch()
        lander.land_all()
        report = read_target(project.state.root)
        assert report is not None
        assert "git could not do it" in (report.blocked or "")
        assert kinds(project, "one")[-1] == "done"
        lock.unlink()
        lander.look_at_target()
    assert landed_items(project, "main") == ["one"]


def test_there_is_one_lander_at_a_time(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    with a_lander(project):
        answer = subprocess.run(
            [sys.executable, "-P", "-m", LANDER, str(project.root), "main"],
            env=dict(project.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    assert answer.returncode == 3
    assert "living process" in answer.stderr


def test_stopping_in_the_middle_of_a_check_leaves_the_item_for_the_next_lander(tmp_path: Path) -> None:
    flag = tmp_path / "checking"
    project = make_project(tmp_path / "r", f"checks: ['test -e {flag} || {{ touch {flag}; exec sleep 1000; }}']")
    hand_over(project, "one", {"one": "1"})
    with lander_process(project) as process:
        eventually(flag.exists, PATIENCE_SECONDS)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert kinds(project, "one")[-1] == "landing"
    with a_lander(project) as lander:
        lander.land_all()
    assert kinds(project, "one")[-1] == "done"


def test_a_lander_under_orders_to_finish_still_lets_the_target_follow(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r")
    hand_over(project, "one", {"one": "1"})
    orders = Orders()
    lander = Lander(project, "main", orders)
    assert lander.land_next()
    orders.finish()
    lander.run()
    lander.close()
    assert landed_items(project, "main") == ["one"]


def test_only_checks_that_the_branch_was_made_of_matter(tmp_path: Path) -> None:
    """A branch made on an old tip is checked with what landed since."""
    project = make_project(tmp_path / "r", "checks: ['test ! -e a -o ! -e b']")
    make_branch(project, "old", {"x": "x"})
    hand_over(project, "one", {"a": "1"})
    hand_over(project, "two", {"b": "1"}, base="old")
    land(project)
    assert kinds(project, "two")[-1] == "released"
    assert landed_items(project) == ["one"]
