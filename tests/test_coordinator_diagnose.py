"""The monitor's verdict on one worker, as one table."""

from __future__ import annotations

import pytest

from parallel_loop.coordinator.diagnose import Attendance, Observation, Verdict, diagnose

SILENT_SECONDS = 10.0


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
    ],
)
def test_verdict(seen: Observation, verdict: Verdict) -> None:
    assert diagnose(seen, SILENT_SECONDS) == verdict


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
