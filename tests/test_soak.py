"""A short soak, a longer one under `make large`; and that its judge sees what must not be.

`make soak MINUTES=60` goes on for as long as one likes, and judges orphans after one second.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.harness.identity import own_identity
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Taker
from support.repository import commit, git
from support.soak import Plan, Soak
from support.soak_ground import Ground
from support.soak_judge import Judge
from support.waiting import eventually
from support.written import Written

_PATIENT_SECONDS = 20.0  # tests share the machine with others; `make soak` judges after one


def test_under_a_dozen_kills_nothing_is_lost_done_twice_or_left_running(tmp_path: Path) -> None:
    soak = Soak(tmp_path, Plan(1, agents=3, kills=12, pause_seconds=0.15, short=True, orphan_seconds=_PATIENT_SECONDS))
    assert soak.run() == [], soak.report()
    assert soak.ends["done"] > 0


def test_what_programs_wrote_and_closed_before_a_kill_is_found_again(tmp_path: Path) -> None:
    plan = Plan(4, agents=3, kills=8, pause_seconds=0.4, short=True, scribble=True, orphan_seconds=_PATIENT_SECONDS)
    soak = Soak(tmp_path, plan)
    assert soak.run() == [], soak.report()
    assert soak.written.count > 20


@pytest.mark.large
@pytest.mark.timeout(3600)
def test_what_programs_wrote_and_closed_before_500_kills_is_found_again(tmp_path: Path) -> None:
    plan = Plan(5, agents=4, kills=500, pause_seconds=0.6, scribble=True, orphan_seconds=_PATIENT_SECONDS)
    soak = Soak(tmp_path, plan)
    assert soak.run() == [], soak.report()


@pytest.mark.large
@pytest.mark.timeout(1200)
def test_200_kills_at_random_moments_of_everybody_and_pairs_of_them(tmp_path: Path) -> None:
    soak = Soak(tmp_path, Plan(seed=2, agents=4, kills=200, orphan_seconds=_PATIENT_SECONDS))
    assert soak.run() == [], soak.report()


@pytest.mark.large
@pytest.mark.timeout(1200)
def test_a_coordinator_that_replaces_workers_all_the_time_does_not_grow(tmp_path: Path) -> None:
    soak = Soak(tmp_path, Plan(seed=3, agents=8, kills=1000, fast=True, orphan_seconds=_PATIENT_SECONDS))
    assert soak.run() == [], soak.report()


# --- the judge ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ground(tmp_path: Path):
    made = Ground(tmp_path, {"daemon": 1.0}, random.Random(0))
    made.add(1)
    made.journal.touch()
    yield made
    made.leave()


def leave_a_daemon(ground: Ground, attempt: int) -> None:
    """Run the program as a worker would; its daemon has neither a parent nor an environment."""
    script = Path(__file__).parent / "support" / "programs" / "misbehave.py"
    mark = f"{ground.token}:item-1:{attempt}"
    argv = [sys.executable, "-I", "-S", str(script), mark, "daemon", str(ground.folder)]
    subprocess.run(argv, cwd=ground.folder, check=True)
    eventually(ground.of_programs)


def claim(ground: Ground) -> Taker:
    taker = Taker(ground.project.queue, Owner("agent-1", *own_identity()))
    assert taker.take() is not None
    return taker


def test_a_daemon_that_outlives_its_attempt_is_an_orphan_and_one_that_does_not_is_none(ground) -> None:
    taker, judge = claim(ground), Judge(ground, 0.0, strict=True)
    leave_a_daemon(ground, 1)
    judge.look()
    assert judge.violations == []
    entry = ground.project.queue.entry("item-1")
    assert ground.project.queue.append(entry, Record(kind="done", at=entry.item.added_at, agent="agent-1"))
    judge.look()
    eventually(lambda: judge.look() or judge.violations)
    assert "orphan of item-1 (daemon), attempt 1" in judge.violations[0]
    taker.close()


def test_the_next_attempt_meets_what_the_one_before_left(ground) -> None:
    taker, judge = claim(ground), Judge(ground, 0.0, strict=True)
    leave_a_daemon(ground, 1)
    leave_a_daemon(ground, 2)
    judge._judge_journal()
    assert any(violation.startswith("survivor: item-1") for violation in judge.violations)
    taker.close()


def test_what_is_not_done_or_landed_or_is_landed_twice_is_named(ground) -> None:
    judge = Judge(ground, 0.0, strict=True)
    judge._judge_queue()
    assert any("is ready at the end" in violation for violation in judge.violations)
    assert any("landed 0 times" in violation for violation in judge.violations)
    for content in ("one", "two"):
        commit(ground.project.root, {"item-1.txt": content}, "work\n\nBranch: parallel-loop/item/item-1/1")
    judge.violations.clear()
    judge._judge_queue()
    assert any("landed 2 times" in violation for violation in judge.violations)


def test_a_coordinator_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    soak = Soak(tmp_path, Plan(agents=1, kills=1))
    try:
        soak.ground.start(1)
        eventually(soak.ground.identities, 30.0)
        soak.ground._run.send_signal(signal.SIGTERM)
        soak.ground.wait(30.0)
        soak._keep_coordinator(0.0)
        assert "ended by itself with 0" in soak.judge.violations[0]
    finally:
        soak.ground.leave()


def test_what_was_written_and_is_nowhere_is_lost(ground) -> None:
    """Not if it is in a commit of its own attempt's, nor if the program itself wrote over it."""
    root = ground.project.root
    made = commit(root, {"new": "kept\n"})
    git(root, "update-ref", "refs/parallel-loop/salvage/item-1/1", made)
    git(root, "reset", "-q", "--hard", "HEAD^")
    blobs = [git(root, "rev-parse", f"{made}:new"), "1" * 40, "2" * 40]
    lines = [f"have item-1 1 a b {blob}\n" for blob in blobs] + [f"gone item-1 1 a b {blobs[2]}\n"]
    (ground.folder / "written").write_text("".join(lines) + f"have item-2 1 other {blobs[0]}\n")
    lost = Written(ground).judge()
    whose = [line.partition(" (")[0] for line in lost]
    assert whose == ["lost: a b of item-1, attempt 1", "lost: other of item-2, attempt 1"]
