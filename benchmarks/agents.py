"""Twelve runs of Claude Code by four agents, from added to landed, beside the same twelve by hand, four at a time.

`make test-real` installs it; it asks the fake model server of the tests, so what is measured is all but the model.
By hand: each run in a worktree that is there already, nothing merged. PYTHONPATH=tests python benchmarks/agents.py
"""

from __future__ import annotations

import argparse
import os
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
from parallel_loop.queue.records import Item
from support.models.cases import edit
from support.models.clients import CLIENTS, Place, Wish
from support.models.script import prompt
from support.models.server import ModelServer
from support.repository import git, make_repository

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


def by_agents(folder: Path, server: ModelServer, name: str) -> float:
    """Return the seconds from the first `add` to the last landed commit, with the start and end of the coordinator."""
    client = CLIENTS[name]
    model = {"claude": "claude-sonnet-4-5", "codex": "gpt-5.5"}[name]
    args = "" if name == "claude" else ", args: [--dangerously-bypass-approvals-and-sandbox]"
    text = f"agents: {AT_ONCE}\nprogram: {name}\nprograms: {{{name}: {{model: {model}{args}}}}}\n"
    root = make_repository(folder / "repo", {"README": "start\n", "parallel-loop.yaml": text})
    program = client.program()
    assert program is not None
    start = client.invoke(Place(folder / "home", root, server.url), Wish(""))
    environ = {**start.env, "PATH": f"{program.parent}:{start.env['PATH']}"}
    project = Project.open(root, environ)
    project.state.create()
    begin = time.monotonic()
    items = [Item(id=f"i{n}", title=f"Item {n}", added_at="", prompt=prompts(n)) for n in range(RUNS)]
    project.queue.add(items)
    argv = [sys.executable, "-P", "-m", "parallel_loop.coordinator", "--repo", str(root), "run", "--drain"]
    subprocess.run(argv, env=environ, check=True, stdout=subprocess.DEVNULL)
    seconds = time.monotonic() - begin
    landed = git(root, "ls-tree", "--name-only", "main").split()
    assert {f"file-{number}.txt" for number in range(RUNS)} <= set(landed)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--client", default="claude", choices=["claude", "codex"])
    options = parser.parse_args()
    load = os.getloadavg()[0]
    hand, agents = [], []
    with ModelServer() as server:
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory(prefix="agents-") as name:
                hand.append(by_hand(Path(name), server, options.client))
                agents.append(by_agents(Path(name), server, options.client))
    described = ", ".join(f"{what} {value}" for what, value in machine.describe(Path(tempfile.gettempdir())).items())
    print(f"Measured {datetime.now(UTC):%Y-%m-%d}: {described}. Load average before {load:.1f}.\n")
    ours, theirs = statistics.median(agents), statistics.median(hand)
    ratio = statistics.median(a / h for a, h in zip(agents, hand, strict=True))
    met = "yes" if ratio <= 1.3 else "**no**"
    row = [f"{RUNS} x {options.client}", f"{theirs:.1f}", f"{ours:.1f}", f"{ratio:.2f}", "<= 1.3", met]
    print(table(["runs", "by hand, s", "added to landed, s", "ratio", "wanted", "met"], [row]))


if __name__ == "__main__":
    main()
