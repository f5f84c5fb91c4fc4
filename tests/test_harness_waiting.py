"""An idle worker: what wakes it, and for how long it sleeps."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from parallel_loop.harness import worker as worker_module
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.state import living_worker
from parallel_loop.queue.clock import later
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Claim
from parallel_loop.queue.watching import BellWatch
from support.harness import Workshop, end_worker, make_workshop
from support.queues import START, Clock
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("alone")


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return make_workshop(tmp_path / "repo", "health: {heartbeat: 50ms}\n")


class Patience(Orders):
    """Orders that only note for how long a worker would have waited, and on how many descriptors."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits: list[float] = []
        self._most = waits

    def wait(self, seconds: float, *descriptors: int) -> None:
        self.waits.append(seconds)
        if len(self.waits) == self._most:
            self.finish()


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A workshop in which nothing but an event wakes a worker within the time of a test."""
    monkeypatch.setattr(worker_module, "_LOOK_AGAIN_SECONDS", 7200.0)
    return make_workshop(tmp_path / "patient", "health: {heartbeat: 1h, silent: 2h}\n")


# What a worker does when nobody wakes it takes at least half an hour.
PATIENT_WORKER = """
import errno, sys
from parallel_loop.harness import worker
from parallel_loop.queue import watching
worker._LOOK_AGAIN_SECONDS = 1800.0
def refuse():
    raise OSError(errno.EMFILE, "Too many open files")
if sys.argv.pop(1) == "refused":
    watching.kernel_source = refuse
sys.exit(worker.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("kernel", ["willing", "refused"])
def test_an_idle_worker_takes_what_is_added_told_by_the_kernel_or_by_looking(patient: Workshop, kernel: str) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-c", PATIENT_WORKER, kernel, str(patient.root), "agent-1", "main"],
        env=dict(patient.project.environ),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    eventually(lambda: living_worker(patient.project.state.agent("agent-1")) and patient.beat().state == "idle")
    for number in range(3):
        patient.add(f"item-{number}", "true")
        assert eventually(patient.kind(f"item-{number}")) == "done"
    assert end_worker(worker) == (0, "")


def test_what_is_added_between_the_look_and_the_wait_is_not_slept_over(
    patient: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    orders = Orders()
    worker = patient.worker(orders=orders)
    take, looks = worker._taker.take, iter(range(1000))

    def take_and_then_something_happens() -> Claim | None:
        claim = take()
        if next(looks) == 0:
            patient.add("one", "true")
        elif claim is None:
            orders.finish()
        return claim

    monkeypatch.setattr(worker._taker, "take", take_and_then_something_happens)
    worker.run()  # for an hour, should the ring be lost
    worker.close()
    assert patient.last("one").kind == "done"


def test_a_worker_waits_exactly_until_the_next_delayed_item_is_due(patient: Workshop) -> None:
    clock = Clock()
    queue = patient.project.queue
    queue.now = clock
    for item_id, seconds in (("later", 300.0), ("sooner", 90.0)):
        patient.add(item_id, "true")
        entry = patient.entry(item_id)
        queue.append(entry, Record(kind="released", at=clock(), not_before=later(START, seconds)))
    orders = Patience(2)
    worker = patient.worker(orders=orders)
    worker.run()
    assert orders.waits[0] == pytest.approx(90.0, abs=0.1)
    clock.advance(91.0)
    orders.finishing = False
    assert worker.work_once()
    assert patient.last("sooner").kind == "done"
    with contextlib.closing(BellWatch(queue.bell)) as watch:
        assert not worker.work_once()
        worker.wait(watch)
        assert orders.waits[-1] == pytest.approx(209.0, abs=1.0)
        orders.paused = True
        worker.wait(watch)
        assert orders.waits[-1] == pytest.approx(3600.0, abs=60.0), "while paused nothing becomes takable"
        worker.wait(watch, 5.0)
        assert orders.waits[-1] == 5.0
    worker.close()


def test_an_idle_worker_beats_and_now_and_then_trusts_no_listing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "_LOOK_AGAIN_SECONDS", 0.0)
    looked: list[int] = []
    orders = Patience(1)
    worker = shop.worker(orders=orders)
    beat = shop.beat().at

    def look_again() -> None:
        looked.append(len(orders.waits))
        if len(looked) == 3:
            monkeypatch.setattr(worker_module, "_LOOK_AGAIN_SECONDS", 7200.0)

    monkeypatch.setattr(worker._taker, "look_again", look_again)
    eventually(lambda: worker._heart.seconds_until_beat == 0.0)
    worker.run()
    worker.close()
    assert looked == [0, 0, 0], "it looks at once, it does not wait first"
    assert orders.waits[0] <= 0.05
    assert shop.beat().at > beat
