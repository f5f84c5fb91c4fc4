"""Worktrees reused and branches landed, beside git's own `worktree add` and `merge`, in repositories of three sizes.

`make bench` runs it; five minutes on a quiet machine. Everything is measured in turn, so that a change in the machine's
speed meets all of it. The repositories are made here: files of a kilobyte, a hundred in each folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import machine
from results import Goal
from tables import table

from parallel_loop.worktrees.branches import attempt_branch
from parallel_loop.worktrees.environment import Identity
from parallel_loop.worktrees.landing import Joined, LandingBranch, landed_ref
from parallel_loop.worktrees.pool import Pool, Worktree
from parallel_loop.worktrees.recycle import recycle
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import salvage

SIZES = (200, 7_000, 55_000)
MIDDLE = 7_000
TRAIN = 16
IDENTITY = Identity("bench", "bench@parallel-loop.invalid")
_LINE = "a line of a file that is one kilobyte long, as many files of many repositories\n"


class Bench:
    """A repository of `files` files without a checkout, `branches` branches that each change three and add one."""

    def __init__(self, folder: Path, files: int, branches: int) -> None:
        self.root = folder / f"repo-{files}"
        self.files = files
        self.git("init", "--quiet", "--initial-branch", "main", str(self.root), at=folder)
        self.git("config", "gc.auto", "0")
        stream = b"".join(_stream(files, branches))
        subprocess.run(["git", "-C", self.root, "fast-import", "--quiet"], input=stream, check=True)
        self.branches = [self.git("rev-parse", f"work/{number}") for number in range(branches)]
        self.start = self.git("rev-parse", "main")
        self.git("symbolic-ref", "HEAD", "refs/heads/nobody")  # main is checked out nowhere
        self.git("update-ref", "refs/heads/nobody", self.start)
        self.repository = Repository.open(self.root)
        state = self.root / ".git" / "bench"
        self.pool = Pool(self.repository, state / "worktrees", state / "lock")

    def git(self, *argv: str, at: Path | None = None) -> str:
        argv = ("git", "-C", str(at or self.root), "-c", "user.name=b", "-c", "user.email=b@example.invalid", *argv)
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def _stream(files: int, branches: int) -> Iterator[bytes]:
    """A `git fast-import` of it all."""
    yield b"blob\nmark :1\n" + _data(_LINE * 13)
    yield b"commit refs/heads/main\nmark :2\ncommitter b <b@example.invalid> 0 +0000\n" + _data("start")
    for number in range(files):
        content = _data(f"{number}\n{_LINE * 12}")
        yield f"M 100644 inline d{number // 100:03}/f{number % 100:02}.txt\n".encode() + content
    for branch in range(branches):
        yield f"commit refs/heads/work/{branch}\ncommitter b <b@example.invalid> 1 +0000\n".encode() + _data(
            f"b{branch}"
        )
        yield b"from :2\n"
        for edit in range(3):
            number = (3 * branch + edit) * max(1, files // (3 * branches)) % files
            content = _data(f"{number}\n{_LINE * 12}changed by {branch}\n")
            yield f"M 100644 inline d{number // 100:03}/f{number % 100:02}.txt\n".encode() + content
        yield f"M 100644 inline new/{branch}.txt\n".encode() + _data(f"{branch}\n")


def _data(text: str) -> bytes:
    return f"data {len(text)}\n{text}\n".encode()


def timed(act: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - begin)


# --- worktrees ------------------------------------------------------------------------------------------------------


def work_in(path: Path) -> None:
    """What an attempt leaves: twenty edits, three hundred new files, some of them ignored."""
    for folder in sorted(path.glob("d*"))[:20]:
        with next(folder.iterdir()).open("a") as file:
            file.write("edited\n")
    (path / "out").mkdir()
    for number in range(300):
        (path / "out" / f"{number}.o").write_text("x")


def measure_worktrees(bench: Bench, rounds: int) -> tuple[float, float]:
    """Return ms for the next item, of a worktree reused (salvaged, reset) and of one that is made and removed."""
    reused, fresh = [], []
    worktree, path = bench.pool.ensure("agent-1"), bench.root.parent / "fresh"
    time.sleep(1)  # git reads each file again whose time is not before the second in which the index was written
    recycle(worktree, bench.start, attempt_branch("begin", 0))
    for number in range(rounds + 1):  # the first of each is not counted: nothing of the repository is in memory yet
        work_in(worktree.path)
        reused.append(timed(lambda number=number: _next_item(worktree, bench, number)))
        path = bench.root.parent / "fresh"
        fresh.append(
            timed(lambda path=path: bench.git("worktree", "add", "--quiet", "--detach", str(path), bench.start))
        )
        work_in(path)
        fresh[-1] += timed(lambda path=path: bench.git("worktree", "remove", "--force", str(path)))
    return statistics.median(reused[1:]), statistics.median(fresh[1:])


def _next_item(worktree: Worktree, bench: Bench, number: int) -> None:
    salvage(worktree, f"refs/parallel-loop/salvage/item/{number}", "left", IDENTITY)
    recycle(worktree, bench.branches[number % len(bench.branches)], attempt_branch("item", number))


# --- landing --------------------------------------------------------------------------------------------------------


class Landing:
    """The same branches landed in three ways, each on a branch of its own."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._branch = LandingBranch(bench.repository, bench.pool.ensure("landing"), IDENTITY)
        self._branch.ensure(bench.start)
        self._branch.take_over()
        self._count, self._recorded = 0, list[str]()
        self._checkout = bench.root.parent / f"merge-{bench.files}"
        bench.git("worktree", "add", "--quiet", "--detach", str(self._checkout), bench.start)

    def _land(self, tips: list[str]) -> None:
        """As coordinator/train.py does it where no checks are configured, without the records of the queue."""
        branch, stack = self._branch, list[Joined]()
        tip = branch.look()
        onto = tip.commit
        for source in tips:
            joined = branch.join(onto, source, "Title\n\nItem: item\n")
            assert isinstance(joined, Joined)
            stack.append(joined)
            onto = joined.commit
        self._count += 1
        landed = {landed_ref("item", self._count * TRAIN + number): one.commit for number, one in enumerate(stack)}
        with branch.held(tip.commit, stack, "Land", hold=False) as candidate:
            assert branch.advance(candidate, landed=landed, recorded=self._recorded)
        self._recorded = list(landed)

    def _again(self) -> None:
        self._bench.git("update-ref", "refs/heads/parallel-loop/landed", self._bench.start)
        self._bench.git("checkout", "--quiet", "--force", "--detach", self._bench.start, at=self._checkout)

    def measure(self, rounds: int) -> tuple[float, float, float]:
        """Return ms for each branch: landed one by one, in trains, and by `git merge` in a worktree."""
        singly, together, merged = [], [], []
        for _ in range(rounds):
            self._again()
            for tip in self._bench.branches:
                singly.append(timed(lambda tip=tip: self._land([tip])))
                merged.append(
                    timed(lambda tip=tip: self._bench.git("merge", "--no-ff", "-q", "-m", "t", tip, at=self._checkout))
                )
            self._again()
            together.append(timed(lambda: self._land(self._bench.branches)) / len(self._bench.branches))
        return statistics.median(singly), statistics.median(together), statistics.median(merged)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows, singly = [], {}
    goals: list[Goal] = []
    with tempfile.TemporaryDirectory(prefix="landing-") as name:
        folder = Path(name)
        described = ", ".join(f"{what} {value}" for what, value in machine.describe(folder).items())
        print(f"Measured {datetime.now(UTC):%Y-%m-%d}: {described}. Load average before {load:.1f}.\n")
        for size in options.sizes:
            bench = Bench(folder, size, TRAIN)
            reused, fresh = measure_worktrees(bench, options.rounds)
            one, train, merge = Landing(bench).measure(options.rounds)
            singly[size] = one
            cells = [reused, fresh, fresh / reused, one, train, merge, merge / one, merge / train]
            rows.append([f"{size:,}", *(f"{cell:.1f}" for cell in cells)])
            if size == MIDDLE:
                goals.append(_at_least(f"worktree add + remove ÷ reused, {size:,} files", fresh / reused, 6))
                goals.append(_at_least(f"`git merge` ÷ landing, {size:,} files", merge / one, 5))
            shutil.rmtree(bench.root)
            shutil.rmtree(folder / f"merge-{size}")
    head = ["files", "reused, ms", "add + remove", "ratio", "landed singly, ms", f"in trains of {TRAIN}"]
    print(table([*head, "`git merge`", "÷ singly", "÷ trains"], rows))
    flat = singly[max(singly)] / singly[min(singly)]
    goals.append(Goal(f"landing, {max(singly):,} files ÷ {min(singly):,}", "<= 1.3", f"{flat:.2f}", flat <= 1.3))
    print()
    print(
        table(
            ["", "wanted", "measured", "met"],
            ([g.what, g.wanted, g.measured, "yes" if g.met else "**no**"] for g in goals),
        )
    )


def _at_least(what: str, ratio: float, wanted: float) -> Goal:
    return Goal(what, f">= {wanted:g}", f"{ratio:.1f}", ratio >= wanted)


if __name__ == "__main__":
    main()
