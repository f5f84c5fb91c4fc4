"""Orders by line, by the end of the stream and by signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from parallel_loop.harness.orders import Orders

# Tells what it was ordered after each signal or line; a real process, since signal handlers belong to one.
LISTENER = """
import sys
from parallel_loop.harness.orders import Orders
orders = Orders()
getattr(orders, sys.argv[1])()
orders.obey_stream(0)
print("ready", flush=True)
while True:
    orders.wait(60.0)
    stopping = orders.stopping
    print(orders.finishing, stopping, orders.paused, flush=True)
    if stopping:
        break
"""


@pytest.fixture
def stream() -> Iterator[tuple[Orders, int]]:
    orders = Orders()
    reading, writing = os.pipe()
    orders.obey_stream(reading)
    yield orders, writing
    os.close(reading)


def test_lines_pause_and_resume(stream: tuple[Orders, int]) -> None:
    orders, writing = stream
    given = {b"pause\n": True, b"nonsense \xff\n": True, b"resume\n": False, b"pause\nresume\n": False}
    for line, paused in given.items():
        os.write(writing, line)
        orders.wait(60.0)
        assert (orders.paused, orders.finishing, orders.stopping) == (paused, False, False)
    os.close(writing)


def test_the_end_of_the_stream_says_finish_and_is_heard_once(stream: tuple[Orders, int]) -> None:
    orders, writing = stream
    os.write(writing, b"pause\n")
    os.close(writing)
    orders.wait(60.0)
    orders.wait(60.0)
    assert (orders.finishing, orders.stopping) == (True, False)
    orders.wait(0.0)  # does not find the closed stream readable for ever
    orders.wait(-1.0)


def test_waiting_ends_when_a_descriptor_is_readable(stream: tuple[Orders, int]) -> None:
    orders, writing = stream
    reading, telling = os.pipe()
    os.write(telling, b".")
    orders.wait(60.0, reading)
    for descriptor in (reading, telling, writing):
        os.close(descriptor)


def test_orders_can_be_given_in_the_same_process() -> None:
    orders = Orders()
    orders.finish()
    assert (orders.finishing, orders.stopping) == (True, False)
    orders.stop()
    assert orders.stopping


def listen(way: str) -> subprocess.Popen[str]:
    listener = subprocess.Popen(
        [sys.executable, "-P", "-c", LISTENER, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert said(listener) == "ready"
    return listener


def said(listener: subprocess.Popen[str]) -> str:
    assert listener.stdout is not None
    return listener.stdout.readline().strip()


def test_a_worker_stops_at_sigterm_and_takes_sigint_as_the_coordinators() -> None:
    with listen("obey_terminate") as listener:
        listener.send_signal(signal.SIGINT)
        assert said(listener) == "False False False", "it woke up, and nothing was ordered"
        listener.send_signal(signal.SIGTERM)
        assert said(listener) == "True True False"
    assert listener.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_loop_finishes_at_the_first_signal_and_stops_at_the_second(number: signal.Signals) -> None:
    with listen("obey_staged_signals") as listener:
        listener.send_signal(number)
        assert said(listener) == "True False False"
        listener.send_signal(number)
        assert said(listener) == "True True False"
    assert listener.returncode == 0


def test_the_end_of_the_stream_wakes_a_waiting_worker() -> None:
    with listen("obey_terminate") as listener:
        assert listener.stdin is not None
        listener.stdin.close()
        assert said(listener) == "True False False"
        listener.terminate()
        assert said(listener) == "True True False"
