"""What a forecast of conflicts costs: every pair of 40 branches merged for trial, by the number of files.

"one process" is what the lander does (worktrees/forecast.py), "a process each" is `git merge-tree` for every pair,
timed over a share of the pairs. Then what choosing costs a worker that takes an item. `PYTHONPATH=tests python
benchmarks/forecast.py`; `make bench` runs it.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tables import table

from parallel_loop.harness.overlaps.choice import Choice, Touching
from parallel_loop.harness.overlaps.named import Names
from parallel_loop.harness.pausing.trials import Trials
from parallel_loop.harness.rereading import Watched
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.taking import Taker
from parallel_loop.worktrees.forecast import TrialMerges
from parallel_loop.worktrees.git import Git
from support.repository import git
from support.runs import add, make_project
from support.worktrees import open_pool


def seconds_of(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def make_branches(root: Path, files: int, branches: int) -> list[str]:
    """A repository of `files` files with branches that each change ten of them, of which neighbours share one."""
    out = [b"commit refs/heads/main\nmark :1\ncommitter a <a@b> 1 +0000\ndata 5\nfirst"]
    text = "\n".join(f"line {line}" for line in range(60))
    out += [b"M 644 inline " + name(number).encode() + data(f"{number}\n{text}\n") for number in range(files)]
    for branch in range(branches):
        out.append(f"commit refs/heads/b{branch}\ncommitter a <a@b> 1 +0000\ndata 4\nworkfrom :1".encode())
        for change in range(10):
            number = (branch * 9 + change) % files
            out.append(b"M 644 inline " + name(number).encode() + data(f"{number}\n{text}\nby {branch}\n"))
    root.mkdir()
    git(root, "init", "--quiet", "--initial-branch", "main")
    subprocess.run(["git", "-C", str(root), "fast-import", "--quiet"], input=b"\n".join(out), check=True)
    git(root, "reset", "--hard", "--quiet")
    return git(root, "for-each-ref", "--format=%(objectname)", "refs/heads/b*").split()


def name(number: int) -> str:
    return f"part{number % 40}/section{number % 7}/file{number}.txt"


def data(text: str) -> bytes:
    return f"\ndata {len(text)}\n{text}".encode()


def forecast(folder: Path, files: int, branches: int, rounds: int) -> tuple[str, ...]:
    tips = make_branches(folder / f"r{files}", files, branches)
    root = folder / f"r{files}"
    merges = TrialMerges(open_pool(root).ensure("landing"))
    tip, pairs = git(root, "rev-parse", "main"), list(itertools.combinations(tips, 2))
    merges.clashes(tip, pairs[:1])
    first = seconds_of(lambda: merges.changed(tip, tips))
    whole, each = [], []
    some, bare = pairs[:: max(1, len(pairs) // 40)], Git(root)
    for _ in range(rounds):
        whole.append(seconds_of(lambda: merges.clashes(tip, pairs)))
        each.append(
            seconds_of(lambda: [bare.run("merge-tree", "--write-tree", *pair, ok=(0, 1)) for pair in some]) / len(some)
        )
    found = len(merges.clashes(tip, pairs))
    seconds = statistics.median(whole)
    return (
        f"{files:,}",
        f"{len(pairs)}",
        f"{found}",
        f"{seconds * 1000:.0f} ms",
        f"{len(pairs) / seconds:,.0f}",
        f"{statistics.median(each) * len(pairs) / seconds:.1f}x",
        f"{first * 1000:.0f} ms",
    )


def choosing(folder: Path, *, known: bool, items: int) -> float:
    """Return the microseconds that a take costs more with a choice than without."""
    project = make_project(folder / f"choice-{known}")
    for number in range(2 * items):
        add(project, f"i{number}")
    if known:
        Watched(project.state.touching, Touching).write(Touching(in_work={"elsewhere": ("src/a.py", "docs/*.md")}))
    taker, trials = Taker(project.queue, Owner("agent-1", os.getpid())), Trials(project)
    choice = Choice(project, trials, Names(Git(project.root), "HEAD"))
    both = [list[float](), list[float]()]
    for _ in range(items):
        both[0].append(seconds_of(lambda: trials.take(taker)))
        both[1].append(seconds_of(lambda: choice.take(taker)))
    taker.close()
    return (statistics.median(both[1]) - statistics.median(both[0])) * 1e6


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--files", type=int, nargs="*", default=[200, 7_000, 55_000])
    options.add_argument("--branches", type=int, default=40)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--items", type=int, default=200, help="taken with and without a choice")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [forecast(Path(folder), files, given.branches, given.rounds) for files in given.files]
        costs = [choosing(Path(folder), known=known, items=given.items) for known in (False, True)]
    titles = ("files", "pairs", "conflicts", "one process", "pairs a second", "a process each", "changed paths")
    print(f"{given.branches} branches; load average {os.getloadavg()[0]:.0f}\n\n{table(titles, rows)}\n")
    print(f"a take costs {costs[0]:.0f} µs more while nothing is known, {costs[1]:.0f} µs when something is")


if __name__ == "__main__":
    main()
