"""A lander that is killed, stopped or ordered about, and items and a git that fail it: what the next one finds."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from parallel_loop.coordinator.lander import Lander
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.queue.requests import cancel
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.landing import LandingBranch
from support.landing import a_lander, hand_over, land, landed_items, scratch
from support.repository import git
from support.runs import LANDER, PATIENCE_SECONDS, kinds, living, make_project
from support.waiting import eventually


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


@contextmanager
def lander_in_a_check(project: Project, flag: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A lander that has come to the check of the item `one`, which makes `flag`."""
    hand_over(project, "one", {"one": "1"})
    with lander_process(project) as process:
        eventually(flag.exists, PATIENCE_SECONDS)
        yield process


def test_an_item_cancelled_during_its_check_does_not_land(tmp_path: Path) -> None:
    flag = tmp_path / "checking"
    project = make_project(tmp_path / "r", f"checks: ['touch {flag}; exec sleep 1000']")
    with lander_in_a_check(project, flag) as process:
        cancel(project.queue, "one")
        eventually(lambda: project.queue.hints.landing() == [], PATIENCE_SECONDS)
        process.stdin.close()
        assert process.wait(PATIENCE_SECONDS) == 0
    assert kinds(project, "one")[-1] == "cancelled"
    assert landed_items(project) == []
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") == ""


def test_a_lander_killed_during_a_check_leaves_no_candidate_behind(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    project = make_project(tmp_path / "r", f"checks: ['test -e {flag}-go || {{ touch {flag}; exec sleep 1000; }}']")
    with lander_in_a_check(project, flag) as process:
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

    def join(_branch: LandingBranch, onto: str, commit: str, *_: object, **__: object) -> None:
        raise GitError(("merge-tree", onto, commit), project.root, 128, f"fatal: cannot read {commit}")

    with a_lander(project) as lander:
        monkeypatch.setattr(LandingBranch, "join", join)
        for _ in range(3):
            assert lander.land_next()
        assert not lander.land_next()
    assert kinds(project, "one")[-1] == "released"


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
    with lander_in_a_check(project, flag) as process:
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
