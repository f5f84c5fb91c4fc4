"""Landing with real git: what reaches the landing branch, and what is sent back."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from parallel_loop.coordinator.target_report import LANDER
from parallel_loop.queue.hints import Hints
from parallel_loop.queue.records import Record
from parallel_loop.worktrees.landing import Candidate, LandingBranch
from parallel_loop.worktrees.repository import Repository
from support.landing import a_lander, hand_over, land, landed_items, make_branch, replay, scratch, tip, why
from support.repository import commit, git
from support.runs import happened, kinds, living, make_project

BRANCH = "parallel-loop/landed"


def test_each_item_is_one_merge_with_its_trailers_and_every_tip_passes_the_checks(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test -e README']")
    for name in ("one", "two", "three"):
        hand_over(project, name, {f"{name}.txt": name})
    report = land(project)
    assert landed_items(project) == ["one", "two", "three"]
    assert [kinds(project, name)[-1] for name in ("one", "two", "three")] == ["done"] * 3
    entry = project.queue.entry("three")
    assert entry is not None
    assert entry.last is not None
    said = git(project.root, "log", "-1", "--format=%s%n%(trailers:only,unfold)", str(entry.last.commit))
    assert said.splitlines() == [
        "three",
        "Item: three",
        "Attempt: 1",
        "Agent: agent-1",
        "Program: shell",
        "Branch: parallel-loop/item/three/1",
    ]
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


def test_the_third_failure_at_landing_is_the_last(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test ! -e one']\nretry: {attempts: 2, first: 0s}")
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


def test_a_check_that_moves_the_landing_branch_itself_does_not_move_it(tmp_path: Path) -> None:
    move = (
        "date +%N > moved; git add moved; git update-ref refs/heads/parallel-loop/landed "
        "$(git commit-tree -p parallel-loop/landed -m x $(git write-tree))"
    )
    project = make_project(tmp_path / "r", f"checks: ['{move}']")
    hand_over(project, "one", {"one": "1"})
    with a_lander(project) as lander:
        lander.land_all()
    assert landed_items(project) == ["one"]
    assert [event["agent"] for event in happened(project, "set-aside")] == ["landing"]
    assert "moved" not in git(project.root, "ls-tree", "--name-only", BRANCH)


def test_what_cannot_land_since_somebody_moves_the_landing_branch_each_time_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(tmp_path / "r", "checks: ['true']")
    hand_over(project, "one", {"one": "1"})
    advance = LandingBranch.advance

    def move_first(self: LandingBranch, candidate: Candidate, **options: object) -> bool:
        tree = git(project.root, "rev-parse", f"{BRANCH}^{{tree}}")
        git(
            project.root,
            "update-ref",
            f"refs/heads/{BRANCH}",
            git(project.root, "commit-tree", "-p", BRANCH, "-m", "x", tree),
        )
        return advance(self, candidate, **options)  # type: ignore[arg-type]

    with a_lander(project) as lander:
        monkeypatch.setattr(LandingBranch, "advance", move_first)
        lander.land_all()
    assert "moved 5 times" in why(project, "one")


def test_a_daemon_that_a_check_leaves_is_ended(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['setsid sleep 1000 >/dev/null 2>&1 & true']")
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert kinds(project, "one")[-1] == "done"
    assert not [pid for pid in living(project) if pid != os.getpid()]


def test_a_check_that_hangs_is_ended_at_its_time_limit_and_the_item_sent_back(tmp_path: Path) -> None:
    project = make_project(tmp_path / "r", "checks: ['test ! -e one || exec sleep 1000']\ncheck_timeout: 1s")
    hand_over(project, "one", {"one": "1"})
    land(project)
    assert "time limit" in why(project, "one")
    assert landed_items(project) == []
    said = "".join(path.read_text() for path in project.state.agent(LANDER).logs.glob("*.log"))
    assert re.search(r"\n== it was stopped after .*, its time limit\n\Z", said)


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


def test_only_checks_that_the_branch_was_made_of_matter(tmp_path: Path) -> None:
    """A branch made on an old tip is checked with what landed since."""
    project = make_project(tmp_path / "r", "checks: ['test ! -e a -o ! -e b']")
    make_branch(project, "old", {"x": "x"})
    hand_over(project, "one", {"a": "1"})
    hand_over(project, "two", {"b": "1"}, base="old")
    land(project)
    assert kinds(project, "two")[-1] == "released"
    assert landed_items(project) == ["one"]
