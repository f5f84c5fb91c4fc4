"""Running programs and workers in tests, and finding what they leave running without the help of our own code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from parallel_loop.harness import runner
from parallel_loop.harness.job import Job, Run
from parallel_loop.harness.keeping import tree
from parallel_loop.harness.keeping.processes import is_keeper
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.harness.state import Heartbeat, read_heartbeat
from parallel_loop.harness.worker import Worker
from parallel_loop.queue.records import Entry, Item, Record
from support.repository import environment, make_repository
from support.waiting import eventually

_PROGRAMS = Path(__file__).parent / "programs"
_MARK = "TEST_OF_PARALLEL_LOOP"


def program(name: str, *arguments: object) -> tuple[str, ...]:
    """The argument list that starts one of `support/programs`, quickly."""
    return (sys.executable, "-I", "-S", str(_PROGRAMS / f"{name}.py"), *map(str, arguments))


@dataclass(frozen=True)
class Mark:
    """A mark in the environment of all that one test starts."""

    text: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def environ(self) -> dict[str, str]:
        return {_MARK: self.text}

    def living(self) -> list[int]:
        """The processes that carry the mark and have not ended."""
        wanted = f"{_MARK}={self.text}".encode()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
            except OSError:
                continue  # it has ended meanwhile
        return found


def spare_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `runner.run`, which ends all descendants of who lost a keeper, leave alone what other tests started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    others = [int(pid) for pid in children.read_text().split()] if children.exists() else []

    monkeypatch.setattr(runner, "end_below", lambda grace_seconds: tree.end_below(grace_seconds, others))
    monkeypatch.setattr(runner, "POLITE_SECONDS", 0.2)


def keeper_of(worker: int) -> int:
    """The keeper of the command that the worker runs."""
    return eventually(lambda: next(filter(is_keeper, tree.children(worker)), 0))


def start_worker(root: Path, name: str, environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker: its orders come on standard input, its own log is standard error."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "parallel_loop.harness.worker", str(root), name, "main"],
        env=dict(environ),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )


def end_worker(worker: subprocess.Popen[bytes]) -> tuple[int, str]:
    """Close its standard input, wait, and return exit code and what it said."""
    _, said = worker.communicate(timeout=60)
    return worker.returncode, said.decode()


class Bench:
    """Runs one command after the other in a folder of its own, as an attempt does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mark = Mark()
        self.log = folder / "log"
        self.orders = Orders()

    @property
    def environ(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"]} | self.mark.environ

    def job(self, *argv: str, timeout_seconds: float = 60.0, **options: object) -> Job:
        return Job(argv, self.folder, self.environ, self.log, timeout_seconds, **options)

    def run(self, *argv: str, pulse: Callable[[], bool] = lambda: True, **options: object) -> Run:
        ended = runner.run(self.job(*argv, **options), self.orders, lambda _watch: pulse())
        assert self.mark.living() == [], ended
        return ended

    def shell(self, command: str, **options: object) -> Run:
        return self.run("/bin/sh", "-c", command, **options)


@contextmanager
def bench_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench, of which nothing is left running."""
    tree.become_subreaper()
    spare_others(monkeypatch)
    bench = Bench(folder)
    yield bench
    for pid in bench.mark.living():
        os.kill(pid, signal.SIGKILL)


@dataclass
class Workshop:
    """A repository with a queue, and workers in this process."""

    project: Project
    mark: Mark

    @property
    def root(self) -> Path:
        return self.project.root

    def add(self, item_id: str, command: str | None = None, **fields: object) -> None:
        named = {"id": item_id, "title": f"Do {item_id}", "added_at": "", "command": command}
        self.project.queue.add([Item(**(named | fields))])

    def worker(self, name: str = "agent-1", orders: Orders | None = None) -> Worker:
        return Worker(self.project, name, "main", orders or Orders())

    def entry(self, item_id: str) -> Entry:
        entry = self.project.queue.entry(item_id)
        assert entry is not None
        return entry

    def last(self, item_id: str) -> Record:
        last = self.entry(item_id).last
        assert last is not None
        return last

    def kind(self, item_id: str) -> Callable[[], str | None]:
        """Return how to look up what the item came to: None while it is ready or worked on."""

        def look() -> str | None:
            last = self.entry(item_id).last
            return None if last is None or last.kind == "claimed" else last.kind

        return look

    def beat(self) -> Heartbeat:
        """What the worker of agent-1 last said of itself."""
        beat = read_heartbeat(self.project.state.agent("agent-1"))
        assert beat is not None
        return beat

    def log(self, item_id: str, attempt: int = 1, agent: str = "agent-1") -> str:
        return self.project.state.agent(agent).attempt_log(item_id, attempt).read_text(errors="replace")

    def work(self, item_id: str, command: str | None = None, *, attempts: int = 1, **fields: object) -> Record:
        """Add an item, have a worker of its own make `attempts` at it, and return the last record."""
        self.add(item_id, command, **fields)
        return self.work_at_once(item_id, attempts)

    def work_at_once(self, item_id: str, attempts: int = 1) -> Record:
        """Have a worker of its own take something so often, without waiting; return the last record of the item."""
        worker = self.worker()
        try:
            for _ in range(attempts):
                assert worker.work_once()
        finally:
            worker.close()
        return self.last(item_id)

    def work_when_due(self, item_id: str, agent: str = "agent-1") -> Record:
        """Have a worker of its own make one more attempt when there is something to take; return the last record."""
        worker = self.worker(agent)
        try:
            eventually(worker.work_once)
        finally:
            worker.close()
        return self.last(item_id)

    def start(self, name: str = "agent-1") -> subprocess.Popen[bytes]:
        """Start a worker as the coordinator does."""
        return start_worker(self.root, name, self.project.environ)


def make_workshop(
    path: Path,
    config: str = "",
    files: Mapping[str, str | bytes] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Workshop:
    """A repository at `path` with `config` as its parallel-loop.yaml; a failed attempt may be repeated at once."""
    text = config if "retry:" in config else f"retry: {{first: 0s}}\n{config}"
    mark = Mark()
    make_repository(path, {"README.md": "hello\n", "parallel-loop.yaml": text, **(files or {})})
    project = Project.open(path, environment() | mark.environ | dict(environ or {}))
    project.state.create()
    return Workshop(project, mark)
