"""Our own side of benchmarks/supervision.py: a real run, whose workers and programs are killed at random moments."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from overhead import make_repository
from starts import Start, Starts

from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Heartbeat, living_worker, read_heartbeat
from parallel_loop.queue.clock import to_datetime
from parallel_loop.queue.records import Item

_CONFIG = "retry: {first: 0s}\nhealth: {heartbeat: 1s, restarts: 1000}\n"
_PATIENCE_SECONDS = 60.0
_MOMENT_SECONDS = 0.3


class Death(NamedTuple):
    """What followed from one kill, in seconds after it; None where it did not within our patience."""

    noticed: float | None  # the parent knows
    tree_gone: float | None  # the last process that the program had started has ended
    takable: float | None  # the tree is gone and the item was taken back
    beating: float | None  # the replacement's first heartbeat
    again: float | None  # the same program runs again, with all of its helpers


class OurRun:
    """A run in a repository of its own, whose items are all of one kind."""

    def __init__(self, project: Project, process: subprocess.Popen[bytes]) -> None:
        self.project = project
        self.coordinator = process.pid
        self.is_busy = False  # with an item that nobody has told to end
        self._items = 0

    def beats(self) -> list[Heartbeat]:
        state = self.project.state
        beats = [living_worker(state.agent(name)) for name in state.agent_names() if name.startswith("agent-")]
        return [beat for beat in beats if beat is not None]

    def wait_until_idle(self, agents: int) -> None:
        """Wait until so many workers have nothing to do."""
        while sum(beat.state == "idle" for beat in self.beats()) < agents:
            time.sleep(0.2)

    def add(self, starts: Starts, kind: str) -> None:
        self.is_busy = True
        self._items += 1
        name, command = f"restless-{self._items}", shlex.join(starts.command(kind))
        item = Item(id=name, title=name, added_at="", command=f"exec {command}", max_attempts=10**6)
        self.project.queue.add([item])

    def worker_of(self, start: Start) -> Heartbeat | None:
        """Return the last heartbeat of the worker that runs this program."""
        for beat in self.beats():
            if beat.state == "working" and _agent_of(start.pid) == beat.agent:
                return beat
        return None

    def events_since(self, offset: int) -> list[dict[str, object]]:
        with self.project.state.events.open("rb") as file:
            file.seek(offset)
            return [json.loads(line) for line in file if line.endswith(b"\n")]


def _agent_of(pid: int) -> str | None:
    with contextlib.suppress(OSError):
        for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if pair.startswith(b"PARALLEL_LOOP_AGENT="):
                return pair.partition(b"=")[2].decode()
    return None


@contextlib.contextmanager
def our_run(folder: Path, agents: int, config: str = "") -> Iterator[OurRun]:
    """A run in a new repository, once all of its workers are idle."""
    make_repository(folder)
    (folder / "parallel-loop.yaml").write_text(_CONFIG + config)
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "run", "--agents", str(agents)]
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        run = OurRun(Project.open(folder), process)
        run.wait_until_idle(agents)
        yield run
    finally:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.wait()


def next_start(starts: Starts, run: OurRun, kind: str, *, proven: bool) -> tuple[Start, Heartbeat]:
    """Return a program that runs, and its worker; one that is `proven` ended an item: no pause follows its death."""
    while True:
        if not starts.until(starts.living, 15.0 if run.is_busy else 0.0):
            run.add(starts, kind)
            assert starts.until(starts.living, _PATIENCE_SECONDS), "no program came up"
        start = starts.living()[0]
        starts.until(lambda start=start: run.worker_of(start), 5.0)
        beat = run.worker_of(start)
        if beat is not None and (beat.done > 0 or not proven):
            return start, beat
        start.finish()
        run.is_busy = False
        starts.until(lambda start=start: start not in starts.living(), _PATIENCE_SECONDS)


def kill_worker(starts: Starts, run: OurRun, kind: str) -> Death:
    """Kill a worker at a random moment of its program's run."""
    start, beat = next_start(starts, run, kind, proven=True)
    starts.pass_time(random.uniform(0.0, _MOMENT_SECONDS))
    agent = run.project.state.agent(beat.agent)
    offset, before = run.project.state.events.stat().st_size, len(starts.all)
    descriptor = starts.watch_end_of(beat.pid)
    clock, killed_at = time.time() - time.monotonic(), time.monotonic()
    os.kill(beat.pid, signal.SIGKILL)
    new: list[float] = []

    def is_over() -> bool:
        now = read_heartbeat(agent) if not new else None
        if now is not None and now.pid != beat.pid:
            new.append(now.beat)
        return bool(new and start.gone_at and len(starts.all) > before and starts.all[-1].pid)

    starts.until(is_over, 10.0)
    taken_back = [
        to_datetime(str(event["at"])).timestamp() - clock
        for event in run.events_since(offset)
        if event["event"] == "taken-back" and event["item"] == beat.item
    ]
    noticed = starts.reaped(descriptor)
    starts.forget(descriptor)
    takable = max(taken_back[0], start.gone_at) if taken_back and start.gone_at else None
    times = (noticed, start.gone_at, takable, new[0] if new else None, _again(starts, before))
    return Death(*(None if at is None else at - killed_at for at in times))


def kill_program(starts: Starts, run: OurRun | None, kind: str, *, wait_seconds: float) -> Death:
    """Kill the program itself after it ran for a while; without `run`, somebody else's."""
    if run is not None:
        start, _ = next_start(starts, run, kind, proven=False)
    else:
        assert starts.until(starts.living, 10.0), "no program came up"
        start = starts.living()[-1]
    starts.pass_time(wait_seconds + random.uniform(0.0, _MOMENT_SECONDS))
    before, descriptor = len(starts.all), starts.watch_end_of(start.pid)
    killed_at = time.monotonic()
    os.kill(start.pid, signal.SIGKILL)
    starts.until(lambda: len(starts.all) > before and starts.all[-1].pid, 10.0)
    starts.until(lambda: start.gone_at, 2.0)
    noticed = starts.reaped(descriptor)
    starts.forget(descriptor)
    times = (noticed, start.gone_at, None, None, _again(starts, before))
    return Death(*(None if at is None else at - killed_at for at in times))


def end_program(starts: Starts, run: OurRun, kind: str) -> float | None:
    """Have the program end by itself, with its helpers left: seconds until they are gone, too."""
    start, _ = next_start(starts, run, kind, proven=False)
    began, run.is_busy = time.monotonic(), False
    start.finish()
    starts.until(lambda: start.gone_at, 20.0)
    return None if start.gone_at is None else start.gone_at - began


def _again(starts: Starts, before: int) -> float | None:
    return starts.all[before].at if len(starts.all) > before else None


@contextlib.contextmanager
def hogs(count: int) -> Iterator[None]:
    """So many processes that want all of a processor, each in a session of its own, as programs of agents are."""
    loop = [sys.executable, "-I", "-S", "-c", "while True: pass"]
    found = [subprocess.Popen(loop, start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for hog in found:
            hog.kill()
            hog.wait()
