"""The monitor's verdict on one worker, as one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from parallel_loop.harness.diagnose import Attendance, Observation, Patience, Verdict, Work, diagnose, judge_work
from parallel_loop.harness.footprint import footprint
from parallel_loop.harness.keeping.bounds import Bounds
from parallel_loop.harness.keeping.kept import Usage
from parallel_loop.harness.watch import Watch

PATIENCE = Patience(silent_seconds=10.0, no_progress_seconds=1200.0)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(Observation(False, 5.0, 1.0), "dead", id="it does not run"),
        pytest.param(Observation(False, 5.0, None, 100.0), "dead", id="dead is dead, amnesty or not"),
        pytest.param(Observation(True, 5.0, None), "starting", id="no heartbeat yet"),
        pytest.param(Observation(True, 10.0, None), "starting", id="no heartbeat, just in time"),
        pytest.param(Observation(True, 10.1, None), "silent", id="it never said anything"),
        pytest.param(Observation(True, 500.0, 0.0), "well", id="it has just spoken"),
        pytest.param(Observation(True, 500.0, 10.0), "well", id="exactly at the limit"),
        pytest.param(Observation(True, 500.0, 10.1), "silent", id="one moment over the limit"),
        pytest.param(Observation(True, 500.0, 300.0, 295.0), "well", id="the machine slept"),
        pytest.param(Observation(True, 500.0, 300.0, 280.0), "silent", id="silent, and the machine slept besides"),
        pytest.param(Observation(True, 300.0, None, 295.0), "starting", id="the machine slept while it started"),
        pytest.param(Observation(True, 500.0, -3600.0), "well", id="a heartbeat of the future: another boot's clock"),
        pytest.param(Observation(True, -5.0, None), "starting", id="started in the future"),
        pytest.param(Observation(False, 5.0, None, given_up=True), "failing", id="nobody is there, nor will be"),
    ],
)
def test_verdict(seen: Observation, verdict: Verdict) -> None:
    assert diagnose(seen, PATIENCE) == verdict


def work(output: float = 0.0, news: float = 0.0, cpu: float = 0.0, change: float = 0.0, **more: float | bool) -> Work:
    """Work with these ages."""
    return Work(output, max(output, news), cpu, change, **more)


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(work(), "well", id="it talks"),
        pytest.param(work(output=59.0, cpu=59.0), "well", id="quiet for less than a minute"),
        pytest.param(work(output=1300.0, change=1300.0), "busy-silent", id="a silent test suite that burns CPU"),
        pytest.param(work(output=90000.0, change=90000.0), "busy-silent", id="for a day"),
        pytest.param(work(output=1300.0, cpu=1300.0), "busy-silent", id="it only writes files"),
        pytest.param(work(cpu=1300.0, change=1300.0), "well", id="it only talks: it waits for a model"),
        pytest.param(work(output=1200.0, cpu=1200.0, change=1200.0), "busy-silent", id="frozen, exactly at the limit"),
        pytest.param(work(output=1201.0, cpu=1201.0, change=1201.0), "silent", id="frozen in a dead read"),
        pytest.param(work(1201.0, 0, 1201.0, 1201.0, wait_seconds=1.0), "well", id="it said that it would wait"),
        pytest.param(work(news=1201.0, change=1201.0, repeated_lines=500), "looping", id="the same over and over"),
        pytest.param(work(news=1201.0, change=1201.0, repeated_lines=499), "well", id="the same, but seldom"),
        pytest.param(work(news=1201.0, change=1100.0, repeated_lines=500), "well", id="the same, but files change"),
        pytest.param(work(news=1100.0, change=1201.0, repeated_lines=9999), "well", id="the same, but not for long"),
        pytest.param(work(over=True, wait_seconds=1.0), "over-limit", id="over a limit, whatever it says"),
    ],
)
def test_verdict_on_the_work(seen: Work, verdict: Verdict) -> None:
    assert diagnose(Observation(True, 5000.0, 1.0, work=seen), PATIENCE) == verdict
    assert diagnose(Observation(True, 5000.0, 11.0, work=seen), PATIENCE) == "silent", "its worker hangs"
    assert diagnose(Observation(False, 5000.0, 1.0, work=seen), PATIENCE) == "dead"


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        pytest.param(work(421.0, 0, 421.0, 421.0), "silent", id="quiet for longer than its program ever is"),
        pytest.param(work(420.0, 0, 420.0, 420.0), "busy-silent", id="exactly as long"),
        pytest.param(work(421.0, 0, 0, 421.0), "busy-silent", id="quiet, and it computes"),
        pytest.param(work(1200.0, 0, 1200.0, 1200.0, tool_open=True), "busy-silent", id="it waits for a tool"),
        pytest.param(work(1201.0, 0, 1201.0, 1201.0, tool_open=True), "silent", id="for a tool that hangs"),
        pytest.param(work(421.0, 0, 421.0, 421.0, wait_seconds=1.0), "well", id="it announced that it waits"),
        pytest.param(work(circles=True, wait_seconds=1.0), "looping", id="it goes round in circles"),
        pytest.param(work(idle_calls=80), "looping", id="it only looks"),
        pytest.param(work(idle_calls=79), "well", id="it looks"),
        pytest.param(work(circles=True, over=True), "over-limit", id="in circles, and over a limit"),
    ],
)
def test_verdict_on_the_work_of_a_program_that_tells_what_it_does(seen: Work, verdict: Verdict) -> None:
    assert judge_work(seen, replace(PATIENCE, quiet_seconds=420.0)) == verdict


def test_only_what_was_missed_since_the_last_heartbeat_counts() -> None:
    attendance = Attendance()
    attendance.note_turn(100.0, 0.0)
    attendance.note_turn(200.0, 95.0)
    attendance.note_turn(300.0, 2.0)
    assert attendance.missed_since(90.0) == 97.0
    assert attendance.missed_since(150.0) == 97.0, "in the middle of it: nobody can say, so nobody is blamed"
    assert attendance.missed_since(200.0) == 2.0
    assert attendance.missed_since(300.0) == 0.0


def test_a_monitor_that_is_always_late_needs_no_more_memory_for_it() -> None:
    attendance = Attendance()
    for now in range(5000):
        attendance.note_turn(float(now), 1.0)
    assert attendance.missed_since(0.0) == 1000.0


@pytest.mark.parametrize("text", [b"\xff", b"gitdir: \0"])
def test_whatever_a_program_wrote_into_dot_git_is_no_matter(tmp_path: Path, text: bytes) -> None:
    (tmp_path / ".git").write_bytes(text)
    assert footprint(tmp_path).entries == 1


@pytest.mark.parametrize(
    ("burst", "every", "verdict"),
    [
        pytest.param(0.08, 5.0, "silent", id="a runtime that waits: opencode, 1.6 %"),
        pytest.param(0.04, 2.5, "silent", id="in smaller steps"),
        pytest.param(0.2, 5.0, "busy-silent", id="little work, 4 %"),
        pytest.param(1.0, 60.0, "busy-silent", id="a second of work in each minute"),
    ],
)
def test_waking_up_now_and_then_is_no_work(tmp_path: Path, burst: float, every: float, verdict: Verdict) -> None:
    now = [0.0]
    watch = Watch(
        tmp_path / "log", tmp_path, Bounds(), Patience(10.0, 1200.0, quiet_seconds=180.0), monotonic=lambda: now[0]
    )
    while now[0] < 600.0:
        now[0] += 0.5
        watch.look(Usage(0, burst * (now[0] // every), 1), None)
    assert watch.verdict == verdict
