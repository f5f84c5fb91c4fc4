"""What single processes use, read from the kernel."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil

from parallel_loop.coordinator.usage import Meter
from support.waiting import eventually


def test_it_tells_what_psutil_tells_and_a_share_from_the_second_reading_on() -> None:
    meter = Meter()
    meter.read([os.getpid()], 100.0)
    first = meter.of(os.getpid())
    assert first is not None
    assert first.cpu_percent is None
    assert abs(first.rss_bytes - psutil.Process().memory_info().rss) < 8_000_000

    def has_worked() -> bool:
        return sum(range(100_000)) > 0 and sum(psutil.Process().cpu_times()[:2]) > first.cpu_seconds + 0.05

    eventually(has_worked)
    meter.read([os.getpid()], 110.0)
    second = meter.of(os.getpid())
    assert second is not None
    assert second.cpu_seconds > first.cpu_seconds
    assert second.cpu_percent == round(10 * (second.cpu_seconds - first.cpu_seconds), 1)


def test_of_who_has_ended_or_is_not_asked_for_nothing_is_kept() -> None:
    meter = Meter()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    meter.read([os.getpid(), child.pid], 1.0)
    assert meter.of(child.pid) is not None
    child.communicate()
    meter.read([os.getpid(), child.pid], 2.0)
    assert meter.of(child.pid) is None
    meter.read([], 3.0)
    assert meter.of(os.getpid()) is None
    assert meter.of(None) is None


def test_the_next_process_of_the_same_id_begins_anew() -> None:
    meter = Meter()
    meter.read([os.getpid()], 1.0)
    reading = meter.of(os.getpid())
    assert reading is not None
    meter._readings[os.getpid()] = reading._replace(started=reading.started - 1)
    meter.read([os.getpid()], 2.0)
    again = meter.of(os.getpid())
    assert again is not None
    assert again.cpu_percent is None
