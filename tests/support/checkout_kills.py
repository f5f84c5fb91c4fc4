"""Kills while the target follows in the user's checkout: `make checkout KILLS=200 SEED=1`.

Each trial lands some hundred files in a checkout with edits of each kind and kills, at a random moment of the step,
git, the process that started it, both, or what repairs it as well; sometimes the user then edits a file on which
something lands. A next run, or `doctor --repair`, finishes the step or undoes it. Exit code 1 when an edit is not as it
was, byte for byte and as it was staged, a file is of neither commit, or a lock is left. A seed chooses trees, victims
and moments; how far git is at that moment is up to the machine.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from parallel_loop.coordinator.git_repair import repair_git
from parallel_loop.harness.project import Project
from parallel_loop.worktrees.errors import GitError
from parallel_loop.worktrees.following import finish_interrupted
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Followed, follow
from support.checkout_ground import VARIANTS, Checkout
from support.proc import see
from support.repository import environment, git, write
from support.soak import tell

_VICTIMS = {"git": 3, "both": 6, "follower": 2, "ended": 2, "both, and the repair": 3}
_PATIENCE_SECONDS = 60.0


class Kills:
    """Trials in one checkout of each of `variants`."""

    def __init__(self, folder: Path, seed: int, files: int = 360, variants: tuple[str, ...] = VARIANTS) -> None:
        self._chance = random.Random(seed)
        self._folder = folder
        self._grounds = [_Ground(folder / f"{number}", name, files, seed) for number, name in enumerate(variants)]
        self.counts: Counter[str] = Counter()
        self.losses: list[str] = []

    def run(self, kills: int, tell: Callable[[str], None] = lambda _line: None) -> list[str]:
        """Kill so many, or until something is wrong; return what was."""
        for number in range(kills):
            ground = self._grounds[number % len(self._grounds)]
            victim = self._chance.choices([*_VICTIMS], [*_VICTIMS.values()])[0]
            for problem in ground.try_once(victim, self._chance, self.counts):
                self.losses.append(f"kill {number + 1}, {ground.checkout.variant}, {victim}: {problem}")
                tell(self.losses[-1])
            if self.losses:  # what follows would only be more of the same
                break
            if (number + 1) % 50 == 0:
                tell(self.report())
        return self.losses

    def report(self) -> str:
        """What happened so far, on one line."""
        names = ("kills", "in mid-step", "of the repair", "finished", "undone", "edited since")
        return ", ".join([*(f"{name}: {self.counts[name]}" for name in names), f"losses: {len(self.losses)}"])


class _Ground:
    def __init__(self, folder: Path, variant: str, files: int, seed: int) -> None:
        self.checkout = Checkout(folder, variant, files, seed)
        self._journal = self.checkout.shared / "parallel-loop.follow"
        (folder / "repo" / "parallel-loop.yaml").write_text("target: main\n")
        self._lock = self.checkout.git_dir / "index.lock"
        self._project = Project.open(folder / "repo", environment())
        self._project.state.create()
        self._trees: list[dict[str, object]] = []
        self._seconds = 0.0
        self._edits = 0
        for _ in range(2):  # there and back, unharmed: this is how it should be
            self._seconds = self._measure(self.checkout.next_commit())
            self.checkout.note_landed()
            self._trees.append(dict(self.checkout.landed(self.checkout.files())))
        self._trees.reverse()  # at the first one now
        self._mine, self._index = self.checkout.mine(self.checkout.files()), self.checkout.index()

    def try_once(self, victim: str, chance: random.Random, counts: Counter[str]) -> list[str]:
        new, old = self.checkout.next_commit(), self._tip()
        self._kill(victim, new, chance, counts)
        counts["kills"] += 1
        edited = self._edit_since(chance) if victim != "git" and chance.random() < 0.25 else None
        counts["edited since"] += edited is not None
        if victim == "both, and the repair" and self._journal.exists():
            repairer = _fork(lambda: finish_interrupted(self._repository()))
            _spin(chance.uniform(0, 0.15))
            _end([repairer], signal.SIGKILL)
            os.waitpid(repairer, 0)
            counts["of the repair"] += 1
        was_open = self._journal.exists()
        if chance.random() < 0.3:
            repair_git(self._project, self._repository())
        else:
            finish_interrupted(self._repository())
        tip = self._tip()
        if was_open:
            counts["finished" if tip == new else "undone"] += 1
        problems = [] if tip in {old, new} else [f"main is at {tip}"]
        problems += self._judge(1 if tip == new else 0, edited)
        if edited is not None:
            found = follow(self._repository(), "main", new)
            problems += self._judge(1 if isinstance(found, Followed) else 0, edited)
            self.checkout.discard(edited)
        if not self._follow(new):
            problems.append("it does not follow afterwards")
        self.checkout.note_landed()
        self._trees.reverse()
        return problems + self._judge(0, None)

    def _measure(self, new: str) -> float:
        """How long git has its lock of the index when nobody is killed."""
        follower = _fork(lambda: follow(self._repository(), "main", new))
        _wait_while(lambda: not self._lock.exists() and _runs(follower))
        begun = time.monotonic()
        _wait_while(self._lock.exists)
        seconds = time.monotonic() - begun
        os.waitpid(follower, 0)
        assert self._tip() == new
        return seconds

    # --- who is killed --------------------------------------------------------------------------------

    def _kill(self, victim: str, new: str, chance: random.Random, counts: Counter[str]) -> None:
        follower = _fork(lambda: follow(self._repository(), "main", new))
        begins = self._journal if chance.random() < 0.2 else self._lock
        _wait_while(lambda: not begins.exists() and _runs(follower))
        _spin(chance.uniform(0, self._seconds))
        gits = _children(follower)
        if victim == "follower":
            _end([follower], signal.SIGKILL)
        elif victim == "git":
            _end(gits, signal.SIGKILL)
        else:
            _end([follower], signal.SIGKILL)
            _end(gits, signal.SIGTERM if victim == "ended" else signal.SIGKILL)
        os.waitpid(follower, 0)
        _wait_while(lambda: any(_runs(pid) for pid in gits))
        files = self.checkout.landed(self.checkout.files())
        begun = self._lock.exists() or files != self._trees[0]
        counts["in mid-step"] += begun and self._journal.exists() and self._tip() != new

    def _edit_since(self, chance: random.Random) -> str | None:
        """The user edits a file, in whatever state it is, and perhaps removes the lock that git complains about."""
        both = sorted(name for name in self._trees[0].keys() & self._trees[1].keys() if name.startswith("d"))
        name, self._edits = chance.choice(both), self._edits + 1
        path = self.checkout.root / name
        if not path.parent.is_dir():
            return None
        write(self.checkout.root, {name: f"edit {self._edits} of the user\n"})
        if chance.random() < 0.5:
            self._lock.unlink(missing_ok=True)
        return name

    # --- how it should be -----------------------------------------------------------------------------

    def _judge(self, which: int, edited: str | None) -> list[str]:
        """What is not as it should be, when the checkout is wholly at one of the two trees, but for one file."""
        files = self.checkout.files()
        problems = [f"{lock.name} is left" for lock in self.checkout.locks()]
        mine, landed, wanted = self.checkout.mine(files), self.checkout.landed(files), dict(self._trees[which])
        if edited is not None:
            if landed.get(edited, ("", b"", False))[1] != f"edit {self._edits} of the user\n".encode():
                problems.append(f"the edit of {edited} is gone")
            landed.pop(edited, None)
            wanted.pop(edited, None)
        for kind, found, before in (("the user's", mine, self._mine), ("landed", landed, wanted)):
            names = {*found, *before}
            problems += [f"{kind} {name} is not as it was" for name in names if found.get(name) != before.get(name)]
        status, entries = self.checkout.index()
        if edited is not None:
            status = "\n".join(line for line in status.split("\n") if line.strip() != f"M {edited}")
        if (status.strip(), entries) != (self._index[0].strip(), self._index[1]):
            problems.append(f"git sees other changes than the user's:\n{status}")
        return problems

    def _follow(self, new: str) -> bool:
        found = follow(self._repository(), "main", new)
        if isinstance(found, Blocked):
            tell(str(found))
        return found == Followed(new) and self._tip() == new

    def _repository(self) -> Repository:
        return Repository.open(self._project.root)

    def _tip(self) -> str:
        return git(self.checkout.root, "rev-parse", "main")


def _fork(act: Callable[[], object]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: pytest may have some, idle
        pid = os.fork()
    if pid == 0:
        with suppress(GitError):
            act()
        os._exit(0)
    return pid


def _runs(pid: int) -> bool:
    seen = see(pid)
    return seen is not None and seen.runs


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _end(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _wait_while(is_so: Callable[[], bool]) -> None:
    """Wait without a pause: what is waited for lasts some milliseconds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while is_so():
        assert time.monotonic() < deadline


def _spin(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    tell(f"seed {given.seed}")
    with tempfile.TemporaryDirectory(prefix="checkout-") as folder:
        kills = Kills(Path(folder), given.seed)
        wrong = kills.run(given.kills, tell)
        tell(kills.report())
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
