"""Real runs of the coordinator for tests: started, spoken to, hit, and always ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from parallel_loop.coordinator.aggregate import current_snapshot
from parallel_loop.coordinator.lock import read_holder
from parallel_loop.coordinator.snapshot import AgentStatus, Snapshot
from parallel_loop.harness.keeping.processes import end_marked
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item, Record
from parallel_loop.queue.survey import Survey
from support.repository import environment, make_repository
from support.waiting import eventually

PATIENCE_SECONDS = 30.0
WORKER = "parallel_loop.harness.worker"
LANDER = "parallel_loop.coordinator.lander"
WRITE_A_FILE = "echo $PARALLEL_LOOP_ITEM > $PARALLEL_LOOP_ITEM"


def make_project(path: Path, config: str = "", files: Mapping[str, str | bytes] | None = None) -> Project:
    """A repository with this configuration; attempts that fail are repeated at once unless it says otherwise."""
    config = config if "retry:" in config else config + "\nretry: {first: 0s}\n"
    root = make_repository(path, {"README": "start\n", "parallel-loop.yaml": config, **(files or {})})
    project = Project.open(root, environment())
    project.state.create()
    return project


def add(
    project: Project, item_id: str, command: str = "echo $PARALLEL_LOOP_ITEM > $PARALLEL_LOOP_ITEM", **fields: object
) -> None:
    project.queue.add([Item(**{"id": item_id, "title": item_id, "added_at": "", "command": command, **fields})])


def states(project: Project) -> dict[str, str]:
    survey = Survey(project.queue)
    survey.refresh()
    return {entry.item.id: survey.state(entry) for entry in survey.all_entries()}


def last(project: Project, item_id: str) -> Record:
    entry = project.queue.entry(item_id)
    assert entry is not None
    assert entry.last is not None
    return entry.last


def kinds(project: Project, item_id: str) -> list[str]:
    entry = project.queue.entry(item_id)
    assert entry is not None
    return [record.kind for record in entry.records]


def events(project: Project) -> list[dict[str, object]]:
    """What happened so far; nothing when nothing did."""
    try:
        lines = project.state.events.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.strip()]  # what a full disk cut off is blank


def happened(project: Project, name: str) -> list[dict[str, object]]:
    """The events of that name so far."""
    return [event for event in events(project) if event["event"] == name]


def waits_for(go: Path) -> str:
    """A command that waits for the file `go` and then writes a file of its own."""
    return f"until test -e {go}; do sleep 0.02; done; {WRITE_A_FILE}"


class Run:
    """A `parallel-loop run` in a process of its own."""

    def __init__(self, project: Project, process: subprocess.Popen[bytes], log: Path) -> None:
        self.project = project
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end and return the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still runs: {states(self.project)}\n{self.output[-4000:]}") from None

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the coordinator; all others are left as they are."""
        self.process.kill()
        self.process.wait()

    def children(self, module: str) -> list[psutil.Process]:
        """Its child processes that run `module`."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            try:
                if module in child.cmdline():
                    found.append(child)
            except psutil.Error:
                continue
        return found

    def snapshot(self) -> Snapshot:
        return current_snapshot(self.project)

    def agent(self, name: str) -> AgentStatus | None:
        return next((agent for agent in self.snapshot().agents if agent.name == name), None)

    def until_working(self, item_id: str) -> psutil.Process:
        """Wait until the program of the item runs; return its worker."""
        folder = self.project.state.root / "worktrees"

        def worker() -> psutil.Process | None:
            for child in self.children(WORKER):
                for program in child.children(recursive=True):
                    try:
                        if program.environ().get("PARALLEL_LOOP_ITEM") == item_id:
                            return child
                    except psutil.Error:
                        continue
            return None

        assert folder.parent.is_dir()
        return eventually(worker, PATIENCE_SECONDS)


@contextmanager
def running(project: Project, *options: str, main: str = "", prefix: tuple[str, ...] = ()) -> Iterator[Run]:
    """A run with these options; nothing of it is left when the block ends.

    `main` is another script to run (the single-agent loop), `prefix` a command to start it with.
    """
    entry = [main] if main else ["-P", "-m", "parallel_loop.coordinator", "--repo", str(project.root), "run"]
    path = project.root.parent / f"{project.root.name}.log"
    with path.open("ab") as log:
        process = subprocess.Popen(
            [*prefix, sys.executable, *entry, *options],
            cwd=project.root,
            env=dict(project.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Run(project, process, path)
    finally:
        _end(process, project)


def drain(project: Project, *options: str) -> int:
    """Run until nothing is left to do; return the exit code."""
    with running(project, "--agents", "2", "--drain", *options) as run:
        return run.wait()


def living(project: Project) -> list[int]:
    """Processes of ours that work on this project: workers, landers and what attempts started."""
    state, root = f"PARALLEL_LOOP_STATE={project.state.root}", os.fsencode(project.root)
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
            environ = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        ours = root in argv and any(module.encode() in argv for module in (WORKER, LANDER))
        if ours or state in environ:
            found.append(int(folder.name))
    return found


def _end(process: subprocess.Popen[bytes], project: Project) -> None:
    process.kill()
    process.wait()
    end_all(project)


def end_all(project: Project) -> None:
    """Leave nothing running, a coordinator in the background included."""
    holder = read_holder(project.state.coordinator_lock)
    if holder is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGKILL)
        eventually(lambda: read_holder(project.state.coordinator_lock) is None, PATIENCE_SECONDS)
    for pid in living(project):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    end_marked(project.state.root, {*project.state.agent_names(), "landing"})
    eventually(lambda: not living(project), PATIENCE_SECONDS)
