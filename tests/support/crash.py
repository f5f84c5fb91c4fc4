"""Real runs that are killed at random moments, and what must hold afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil

from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item
from parallel_loop.queue.survey import Survey
from support.landing import landed_items
from support.repository import environment, git, make_repository

VICTIMS = ("coordinator", "worker", "program", "lander", "coordinator+worker", "worker+program")
_PATIENCE_SECONDS = 60.0


def make_project(path: Path, items: int) -> Project:
    """A repository with `items` items that each write one file in a few small steps."""
    root = make_repository(
        path, {"README": "start\n", "parallel-loop.yaml": "checks: ['test -e README']\nretry: {first: 0s}\n"}
    )
    project = Project.open(root, environment())
    command = "for part in 1 2 3; do echo $part >> $PARALLEL_LOOP_ITEM.txt; sleep 0.03; done"
    project.queue.add(
        [Item(id=f"item-{n}", title=f"Item {n}", added_at="", command=command, max_attempts=50) for n in range(items)]
    )
    return project


def start_run(project: Project, *options: str) -> subprocess.Popen[bytes]:
    """Start `parallel-loop run` in a process of its own, its output in `run.log` beside the repository."""
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(project.root), "run", *options]
    with (project.root.parent / "run.log").open("ab") as log:
        return subprocess.Popen(argv, env=environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def victims(run: subprocess.Popen[bytes], kind: str, chance: random.Random) -> list[psutil.Process]:
    """The processes that `kind` names in this run, as many as there are at this moment."""
    try:
        coordinator = psutil.Process(run.pid)
        children = coordinator.children()
        workers = [child for child in children if "parallel_loop.harness.worker" in child.cmdline()]
        landers = [child for child in children if "parallel_loop.coordinator.lander" in child.cmdline()]
        chance.shuffle(workers)
        programs = [program for worker in workers[:1] for program in worker.children()]
    except psutil.Error:
        return []
    named = {"coordinator": [coordinator], "worker": workers[:1], "program": programs, "lander": landers}
    return [process for name in kind.split("+") for process in named[name]]


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def marked_processes(project: Project) -> list[int]:
    """Processes that attempts of this project started and that still run."""
    mark = f"PARALLEL_LOOP_STATE={project.state.root}"
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().decode(errors="replace").split("\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def drain(project: Project) -> None:
    """Run until nothing is left to do."""
    run = start_run(project, "--agents", "3", "--drain")
    try:
        code = run.wait(_PATIENCE_SECONDS)
    finally:
        run.kill()
        run.wait()
    assert code == 0, (project.root.parent / "run.log").read_text()[-3000:]


def check_nothing_lost_or_doubled(project: Project) -> None:
    """Every item is done once, landed once, with exactly its own work, and nothing is left running."""
    survey = Survey(project.queue)
    survey.refresh()
    assert not survey.damage
    states = {entry.item.id: survey.state(entry) for entry in survey.all_entries()}
    assert set(states.values()) == {"done"}, states
    for entry in survey.all_entries():
        kinds = [record.kind for record in entry.records]
        assert kinds.count("done") == 1, (entry.item.id, kinds)
    landed = Counter(landed_items(project, "main"))
    assert landed == Counter(dict.fromkeys(states, 1)), landed
    for item in states:
        assert git(project.root, "show", f"main:{item}.txt").split() == ["1", "2", "3"]
    assert git(project.root, "status", "--porcelain") == ""
    assert marked_processes(project) == []


def events(project: Project) -> list[dict[str, object]]:
    return [json.loads(line) for line in project.state.events.read_text().splitlines()]


def kill_and_finish(path: Path, seed: int, *, kills: int, items: int) -> list[str]:
    """One schedule: runs that are hit `kills` times at moments and victims chosen by `seed`, then a run to the end."""
    chance = random.Random(seed)
    project = make_project(path, items)
    done: list[str] = []
    run = start_run(project, "--agents", "3", "--drain")
    try:
        for _ in range(kills):
            with contextlib.suppress(subprocess.TimeoutExpired):  # the moment is part of the schedule
                run.wait(chance.uniform(0.05, 1.2))
            kind = chance.choice(VICTIMS)
            hit = victims(run, kind, chance)
            kill(hit)
            done.append(f"{kind}:{len(hit)}")
            if "coordinator" in kind or run.poll() is not None:
                run.wait()
                run = start_run(project, "--agents", "3", "--drain")
    finally:
        kill(victims(run, "coordinator", chance))
        run.wait()
    drain(project)
    check_nothing_lost_or_doubled(project)
    return done


if __name__ == "__main__":
    import tempfile

    for number in range(int(sys.argv[1]), int(sys.argv[2])):
        with tempfile.TemporaryDirectory() as folder:
            killed = kill_and_finish(Path(folder) / "repo", number, kills=4, items=8)
        sys.stdout.write(f"{number} {killed}\n")
        sys.stdout.flush()
    os._exit(0)
