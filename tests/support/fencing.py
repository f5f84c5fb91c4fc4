"""A worker or a lander is stopped, another finishes what it had, and it goes on: it must change nothing any more.

A worker that lives cannot lose its item by our own doing, since its lock tells that it lives. Here that is misjudged by
force, and a second lander is let past the lock of the first: this is about the second line of defence.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import psutil

from parallel_loop.coordinator import lander as lander_module
from parallel_loop.coordinator.lander import Lander
from parallel_loop.harness.child import PLACE_TAKEN
from parallel_loop.harness.keeping import tree
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.harness.worker import Worker
from parallel_loop.queue import healing
from parallel_loop.queue.requests import cancel
from support.crash import marked_processes
from support.landing import a_lander, hand_over, landed_items
from support.repository import attempt_git, environment, git
from support.runs import PATIENCE_SECONDS, add, kinds, make_project
from support.waiting import eventually

_CONFIG = "checks: ['test -e README']\nhealth: {heartbeat: 50ms}\nretry: {first: 0s}\n"
_NUMBER = (
    'echo $PARALLEL_LOOP_ATTEMPT > $PARALLEL_LOOP_ITEM; echo $PARALLEL_LOOP_ATTEMPT >> "$PARALLEL_LOOP_STATE/wrote"'
)
_PROGRAMS = {
    "leaves": _NUMBER,
    "commits": f"{_NUMBER}; git add -A; git commit -qm work",
    "commits and leaves": f"git commit -q --allow-empty -m work; {_NUMBER}",
    "stays": f"{_NUMBER}; [ $PARALLEL_LOOP_ATTEMPT = 2 ] || {{ setsid sleep 1000 & sleep 1000; }}",
}
_SHARE = 0.7  # of the trials in which the worker stops itself at a step; in the others it is stopped from outside
_LONGEST_MOMENT_SECONDS = 0.25


class Late:
    """A process of `support/late.py`."""

    def __init__(self, project: Project, kind: str) -> None:
        script = Path(__file__).with_name("late.py")
        self._plan = project.state.root / "plan"
        self.plan(None)
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script), kind, str(project.root), str(self._plan)],
            env=environment() | {"PYTHONPATH": str(script.parent.parent)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # else a line could wait in a buffer where select does not see it
        )
        self._root = psutil.Process(self.process.pid)
        self._stopped: list[psutil.Process] = []
        assert self.said() == "ready"

    def plan(self, share: float | None) -> None:
        """Have it stop by itself when it has come so far with its next item."""
        draft = self._plan.with_name("plan.draft")
        draft.write_text("" if share is None else str(share))
        draft.replace(self._plan)

    def said(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], (), (), PATIENCE_SECONDS)
        assert ready, f"it says nothing, and is {self._root.status()}"
        line = self.process.stdout.readline().decode().strip()
        assert line, f"it ended with {self.process.wait()}"
        return line

    def stop(self, *, tree: bool) -> None:
        """Stop it now, and with `tree` all that it started."""
        self._root.suspend()
        self.wait_until_stopped()
        for child in self._root.children(recursive=True) if tree else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.suspend()
                self._stopped.append(child)

    def wait_until_stopped(self) -> None:
        eventually(lambda: self._root.status() == psutil.STATUS_STOPPED, PATIENCE_SECONDS)

    def go_on(self) -> None:
        for process in (self._root, *self._stopped):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
        self._stopped = []

    def end(self) -> int:
        """Have it finish, and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (*self._root.children(recursive=True), self._root):
                process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@contextlib.contextmanager
def late(project: Project, kind: str) -> Iterator[Late]:
    """A late process, ended with the block."""
    made = Late(project, kind)
    try:
        yield made
    finally:
        made.kill()


def refs(project: Project) -> dict[str, str]:
    """All branches, as name and commit."""
    listed = git(project.root, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
    return dict(line.split() for line in listed.split("\n"))


# --- workers ----------------------------------------------------------------------------------------------------------


class WorkerTrials:
    """One repository, one worker in the place of agent-1 that is stopped again and again, and another beside it."""

    def __init__(self, path: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self._project = make_project(path, _CONFIG)
        self._wrote = self._project.state.root / "wrote"
        self.stops: list[str] = []  # where the worker was when it lost its item

    def run(self, stale: int) -> None:
        """Make trials until the worker lost its item in so many of them."""
        project = self._project
        with late(project, "worker") as worker:
            add(project, "first", _PROGRAMS["leaves"])
            self._wait_until_through(worker)
            second = Worker(project, "agent-2", "main", Orders())
            try:
                with a_lander(project) as lander:
                    lander.land_all()
                    while len(self.stops) < stale:
                        self._trial(f"item-{len(landed_items(project))}", worker, second, lander)
            finally:
                second.close()
            assert worker.end() == 0, "it works on, and ends when it is told to"

    def _trial(self, item_id: str, worker: Late, second: Worker, lander: Lander) -> None:
        kind = self._chance.choice(tuple(_PROGRAMS))
        self._wrote.write_text("")
        where = self._stop(worker, item_id, kind)
        stale = where != "" and self._are_shared_locks_free() and self._take_back(item_id)
        entry = self._project.queue.entry(item_id)
        assert entry is not None
        if entry.takable:
            assert second.work_once()
        lander.land_all()
        before = refs(self._project)
        if where:
            worker.go_on()
            self._wait_until_through(worker)
        lander.land_all()
        if stale:
            self.stops.append(where)
        try:
            self._check(item_id, before, stale=stale)
        except AssertionError as error:
            raise AssertionError(f"{item_id}, whose program {kind}, stopped {where}: {error}") from error

    def _stop(self, worker: Late, item_id: str, kind: str) -> str:
        """Add the item, and wait until the worker stopped with it, or stop it; nothing if it was too quick for that."""
        by_itself = self._chance.random() < _SHARE
        worker.plan(self._chance.random() if by_itself else None)
        add(self._project, item_id, _PROGRAMS[kind])
        line = worker.said()
        if not by_itself:
            with contextlib.suppress(subprocess.TimeoutExpired):  # the moment is part of the trial
                worker.process.wait(self._chance.uniform(0.0, _LONGEST_MOMENT_SECONDS))
            tree = self._chance.random() < 0.5
            worker.stop(tree=tree)
            return f"at some moment, {'with all it started' if tree else 'alone'}"
        while line == "took":
            line = worker.said()
        if line == "through":
            return ""
        worker.wait_until_stopped()
        return line.removeprefix("stopped ")

    def _wait_until_through(self, worker: Late) -> None:
        while (line := worker.said()) != "through":
            if line != "took":  # it took the item in a turn that was begun under the plan before
                worker.wait_until_stopped()
                worker.go_on()

    def _are_shared_locks_free(self) -> bool:
        """Nobody goes round a lock that a living process has; in a run, that one is killed for its silence."""
        state = self._project.state
        return all(_is_free(lock) for lock in (state.worktrees_lock, state.shared_lock))

    def _take_back(self, item_id: str) -> bool:
        entry = self._project.queue.entry(item_id)
        assert entry is not None
        with patch.object(healing, "is_owner_alive", lambda *_: False):
            return healing.take_back(self._project.queue, entry, self._project.retry)

    def _check(self, item_id: str, before: dict[str, str], *, stale: bool) -> None:
        project, attempts = self._project, 1 + stale
        lost = ["claimed", "released"] if stale else []
        assert kinds(project, item_id) == [*lost, "claimed", "landing", "done"]
        assert landed_items(project, "main").count(item_id) == 1
        assert git(project.root, "show", f"main:{item_id}") == str(attempts)
        assert marked_processes(project) == []
        if not stale:
            return
        entry = project.queue.entry(item_id)
        assert entry is not None
        assert [record.agent for record in entry.records] == ["agent-1"] * 2 + ["agent-2"] * 3
        self._check_branches(item_id, before)
        told = [json.loads(line) for line in project.state.events.read_text().splitlines()]
        late = {line["event"] for line in told if line.get("item") == item_id and line.get("agent") == "agent-1"}
        assert late <= {"claimed", "abandoned", "salvaged"}, late
        if "1" in self._wrote.read_text().split():
            self._check_nothing_is_lost(item_id)

    def _check_branches(self, item_id: str, before: dict[str, str]) -> None:
        """No branch changed, but for what the program itself may have committed when it went on with its worker.

        The lander may have deleted those of items that had ended, if what they held is held elsewhere.
        """
        after = refs(self._project)
        for name in before.keys() - after.keys():
            assert name.startswith("refs/heads/parallel-loop/item/"), name
            holders = ("refs/heads/main", f"refs/parallel-loop/salvage/{name.split('/')[4]}")
            assert git(self._project.root, "for-each-ref", f"--contains={before[name]}", *holders), name
        changed = {name for name in after if after[name] != before.get(name)}
        own = f"refs/heads/parallel-loop/item/{item_id}/1"
        assert changed <= {own}, changed
        if changed:
            by = git(self._project.root, "reflog", "show", "-1", "--format=%gs", own)
            begun = (
                by == "parallel-loop: begin"
                and attempt_git(self._project.root, "merge-base", "--is-ancestor", own, "main").returncode == 0
            )  # when its item had ended, and nothing follows
            assert begun or by.startswith("commit: work"), by

    def _check_nothing_is_lost(self, item_id: str) -> None:
        """What the program of the first attempt wrote is on that attempt's branch, or was salvaged."""
        places = (f"refs/heads/parallel-loop/item/{item_id}/1*", f"refs/parallel-loop/salvage/{item_id}/*")
        names = git(self._project.root, "for-each-ref", "--format=%(refname)", *places).split()
        held = [attempt_git(self._project.root, "show", f"{name}:{item_id}").stdout.strip() for name in names]
        assert "1" in held, (names, held)


def _is_free(path: Path) -> bool:
    if not path.exists():
        return True
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# --- landers ----------------------------------------------------------------------------------------------------------


def trial_of_a_lander(path: Path, seed: int) -> str:
    """A lander is stopped somewhere, another lands everything (or finds it cancelled), the first goes on."""
    chance = random.Random(seed)
    project = make_project(path, _CONFIG)
    with late(project, "lander") as lander:
        lander.plan(chance.random())
        hand_over(project, "one", {"one": "1"})
        line = lander.said()
        if line == "through":
            return "(it was through)"
        lander.wait_until_stopped()
        hand_over(project, "two", {"two": "2"})
        entry = project.queue.entry("one")
        assert entry is not None
        if chance.random() < 0.3 and not entry.last_is("done"):
            cancel(project.queue, "one")
        _land_beside(project)
        expected = [kinds(project, "one"), kinds(project, "two"), landed_items(project, "main"), refs(project)]
        assert expected[2] in (["one", "two"], ["two"])
        lander.go_on()
        assert lander.end() in {0, PLACE_TAKEN}
        found = [kinds(project, "one"), kinds(project, "two"), landed_items(project, "main"), refs(project)]
        assert found == expected, f"stopped {line}"
        assert git(project.root, "status", "--porcelain") == ""
    _land_beside(project)
    assert git(project.root, "for-each-ref", "refs/parallel-loop/candidate") == ""
    return line.removeprefix("stopped ")


def _land_beside(project: Project) -> None:
    """Land all that waits with a lander that does not ask whether there is another."""
    past_the_lock = patch.object(lander_module, "hold_for_life", lambda *_: os.open(os.devnull, os.O_RDONLY))
    with past_the_lock, a_lander(project) as second:
        second.land_all()
        second.look_at_target()


def _main(first: int, last: int) -> None:
    """Twenty trials with a worker and five with a lander for each seed."""
    tree.become_subreaper()
    where: Counter[str] = Counter()
    begun = time.monotonic()
    for seed in range(first, last):
        with tempfile.TemporaryDirectory() as folder:
            trials = WorkerTrials(Path(folder) / "workers", seed)
            trials.run(20)
            where.update(trials.stops)
            where.update(trial_of_a_lander(Path(folder) / f"lander-{n}", 100 * seed + n) for n in range(5))
        seconds = (time.monotonic() - begun) / (25 * (seed + 1 - first))
        sys.stdout.write(f"seed {seed}: nothing stale, {seconds:.2f} s a trial\n")
        sys.stdout.flush()
    sys.stdout.write("".join(f"{count:5} {name}\n" for name, count in where.most_common()))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
