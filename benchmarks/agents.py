"""Twelve runs of Claude Code by four agents, from added to landed, beside the same twelve by hand, four at a time.

`make test-real` installs it; it asks the fake model server of the tests, so what is measured is all but the model.
By hand: each run in a worktree that is there already, nothing merged. A third way has the coordinator's start and end
within its time. PYTHONPATH=tests python benchmarks/agents.py
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import machine
from tables import table

from parallel_loop.harness.project import Project
from parallel_loop.harness.state import living_worker
from parallel_loop.queue.records import Item
from support.models.cases import edit
from support.models.clients import CLIENTS, Place, Wish
from support.models.script import prompt
from support.models.server import ModelServer
from support.repository import git, make_repository
from support.waiting import eventually

RUNS, AT_ONCE = 12, 4


def prompts(number: int) -> str:
    return prompt(*edit(f"file-{number}.txt"))


def by_hand(folder: Path, server: ModelServer, name: str) -> float:
    """Return the seconds that the runs take when somebody starts four at a time."""
    client, root = CLIENTS[name], make_repository(folder / "by-hand", {"README": "start\n"})
    program = client.program()
    assert program is not None, "run `make test-real` first: it installs the programs"
    (folder / "home" / "tmp").mkdir(parents=True)
    places = []
    for number in range(RUNS):
        path = folder / f"tree-{number}"
        git(root, "worktree", "add", "--quiet", "-b", f"work-{number}", str(path))
        places.append(Place(folder / "home", path, server.url))

    def run(number: int) -> None:
        start = client.invoke(places[number], Wish(prompts(number)))
        argv = [str(program), *start.argv[1:]]
        subprocess.run(
            argv, input=start.stdin, text=True, cwd=places[number].repository, env=start.env, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    begin = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run, range(RUNS)))
    seconds = time.monotonic() - begin
    for number, place in enumerate(places):
        assert git(place.repository, "log", "-1", "--format=%s") == f"add file-{number}.txt"
    return seconds


class Agents:
    """A repository whose items are done by `name`, and the twelve items that are its runs."""

    def __init__(self, folder: Path, server: ModelServer, name: str) -> None:
        client = CLIENTS[name]
        model = {"claude": "claude-sonnet-4-5", "codex": "gpt-5.5"}[name]
        args = "" if name == "claude" else ", args: [--dangerously-bypass-approvals-and-sandbox]"
        text = f"agents: {AT_ONCE}\nprogram: {name}\nprograms: {{{name}: {{model: {model}{args}}}}}\n"
        root = make_repository(folder / "repo", {"README": "start\n", "parallel-loop.yaml": text})
        (folder / "home" / "tmp").mkdir(parents=True)
        program = client.program()
        assert program is not None
        start = client.invoke(Place(folder / "home", root, server.url), Wish(""))
        self.project = Project.open(root, {**start.env, "PATH": f"{program.parent}:{start.env['PATH']}"})
        self.project.state.create()

    def add(self) -> None:
        self.project.queue.add(
            [Item(id=f"i{n}", title=f"Item {n}", added_at="", prompt=prompts(n)) for n in range(RUNS)]
        )

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(self.project.root), "run"]
        return subprocess.Popen([*argv, *options], env=self.project.environ, stdout=subprocess.DEVNULL)

    def are_idle(self) -> bool:
        beats = [living_worker(self.project.state.agent(name)) for name in self.project.state.agent_names()]
        return sum(beat is not None and beat.state == "idle" for beat in beats) == AT_ONCE

    def have_landed(self) -> bool:
        landed = git(self.project.root, "ls-tree", "--name-only", "main").split()
        return {f"file-{number}.txt" for number in range(RUNS)} <= set(landed)


def by_agents(folder: Path, server: ModelServer, name: str) -> float:
    """Return the seconds from `add`, beside a coordinator that is up, to the last commit on the target."""
    agents = Agents(folder, server, name)
    run = agents.start()
    try:
        eventually(agents.are_idle)
        begin = time.monotonic()
        agents.add()
        eventually(agents.have_landed, 300)
        return time.monotonic() - begin
    finally:
        run.send_signal(signal.SIGINT)
        run.wait()


def by_a_run(folder: Path, server: ModelServer, name: str) -> float:
    """Return the seconds of `add` and a whole `run --drain`: the coordinator and its workers start and end in them."""
    agents = Agents(folder, server, name)
    begin = time.monotonic()
    agents.add()
    assert agents.start("--drain").wait() == 0
    seconds = time.monotonic() - begin
    assert agents.have_landed()
    return seconds


WAYS = {"by hand": by_hand, "added to landed": by_agents, "with a coordinator's start and end": by_a_run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", default="claude", choices=["claude", "codex"])
    options = parser.parse_args()
    load = os.getloadavg()[0]
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    with ModelServer() as server, tempfile.TemporaryDirectory(prefix="agents-") as name:
        for number in range(options.rounds):
            for way, measure in random.sample(list(WAYS.items()), len(WAYS)):  # none is always the first
                folder = Path(name) / f"{number} {way}"
                folder.mkdir()
                seconds[way].append(measure(folder, server, options.client))
    described = ", ".join(f"{what} {value}" for what, value in machine.describe(Path(tempfile.gettempdir())).items())
    print(f"Measured {datetime.now(UTC):%Y-%m-%d}: {described}. Load average before {load:.1f}.\n")
    rows = []
    for way, taken in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(taken, seconds["by hand"], strict=True))
        wanted, met = ("<= 1.3", "yes" if ratio <= 1.3 else "**no**") if way == "added to landed" else ("", "")
        rows.append([way, f"{statistics.median(taken):.1f}", f"{ratio:.2f}", wanted, met])
    print(table([f"{RUNS} x {options.client}, {AT_ONCE} at a time", "s", "of by hand", "wanted", "met"], rows))


if __name__ == "__main__":
    main()
