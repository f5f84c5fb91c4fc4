"""Git's own races, all at once: agents at work, somebody's maintenance, and a second clone that pushes to the target.

`PYTHONPATH=tests python tests/support/races.py AGENTS ITEMS` does it with as many as that, and tells what it came to.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item
from support.crash import events, start_run
from support.repository import attempt_git, commit, environment, git, make_repository

_MAINTENANCE = (("gc", "--auto"), ("gc", "--prune=now", "--quiet"), ("pack-refs", "--all"))
_COMMAND = """set -e
echo $PARALLEL_LOOP_ITEM > $PARALLEL_LOOP_ITEM.txt
git add -A
git commit -q -m one
git tag tag-$PARALLEL_LOOP_ITEM
git status -s
echo 2 >> $PARALLEL_LOOP_ITEM.txt
git commit -q -a -m two
echo 3 >> $PARALLEL_LOOP_ITEM.txt
"""


@dataclass
class Toll:
    """What it came to."""

    seconds: float = 0.0
    done: int = 0
    attempts: Counter[str] = field(default_factory=Counter)  # attempts that did not land, by why
    maintenance: Counter[str] = field(default_factory=Counter)
    pushed: int = 0
    refused: int = 0
    troubles: list[str] = field(default_factory=list)  # what was told as `unguarded` and the like


def race(folder: Path, agents: int, items: int) -> Toll:
    """Drain a queue of `items` with `agents` beside all of that; what fails is in the toll."""
    root = make_repository(folder / "repo", {"README": "x\n", "parallel-loop.yaml": "retry: {first: 0s}\n"})
    git(root, "config", "receive.denyCurrentBranch", "ignore")
    git(root, "switch", "--quiet", "--detach")  # the target is checked out nowhere, so that a push to it is taken
    (root / "parallel-loop.yaml").write_text("target: main\nretry: {first: 0s}\nfloors: {memory: 0, disk: 0}\n")
    project = Project.open(root, environment())
    project.queue.add([Item(id=f"i{n}", title=f"Item {n}", added_at="", command=_COMMAND) for n in range(items)])
    toll, over = Toll(), threading.Event()
    works = (_maintain(root), _push(folder, root))
    others = [threading.Thread(target=_repeat, args=(over, work, toll)) for work in works]
    start = time.monotonic()
    run = start_run(project, "--agents", str(agents), "--drain")
    for other in others:
        other.start()
    code = run.wait()
    over.set()
    for other in others:
        other.join()
    toll.seconds = time.monotonic() - start
    _count(project, toll)
    fsck = attempt_git(root, "fsck", "--no-dangling")
    assert (code, fsck.returncode) == (0, 0), (code, fsck.stderr, toll)
    return toll


def _repeat(over: threading.Event, work: Callable[[Toll], None], toll: Toll) -> None:
    while not over.is_set():
        work(toll)


def _maintain(root: Path) -> Callable[[Toll], None]:
    def work(toll: Toll) -> None:
        # Without a run nothing protects the objects of a push from it, which is git's own affair.
        for argv in _MAINTENANCE:
            if attempt_git(root, "config", "extensions.preciousObjects").returncode == 0:
                toll.maintenance[" ".join(argv)] += 1
                attempt_git(root, *argv)

    return work


def _push(folder: Path, root: Path) -> Callable[[Toll], None]:
    clone = folder / "clone"
    git(folder, "clone", "--quiet", "--branch", "main", str(root), str(clone))
    for name, value in (("user.name", "Second"), ("user.email", "second@example.invalid")):
        git(clone, "config", name, value)

    def work(toll: Toll) -> None:
        attempt_git(clone, "fetch", "--quiet")
        attempt_git(clone, "reset", "--quiet", "--hard", "origin/main")
        commit(clone, {f"pushed/{toll.pushed}": "x\n"}, "pushed")
        done = attempt_git(clone, "push", "--quiet", "origin", "HEAD:main").returncode == 0
        toll.pushed += done
        toll.refused += not done
        time.sleep(0.2)  # as people push: without a pause the target would move faster than anything can land on it

    return work


def _count(project: Project, toll: Toll) -> None:
    for event in events(project):
        if event["event"] in {"released", "failed"}:
            toll.attempts[str(event.get("why"))[-600:]] += 1
        elif event["event"] in {"unguarded", "died", "abandoned", "security", "shared-changed"}:
            toll.troubles.append(f"{event['event']}: {event.get('why')}")
    merged = git(project.root, "log", "--format=%(trailers:key=Item,valueonly)", "parallel-loop/landed").split()
    toll.done = len(set(merged))


def main(arguments: Sequence[str]) -> int:
    agents, items = map(int, arguments)
    with tempfile.TemporaryDirectory() as folder:
        toll = race(Path(folder), agents, items)
    sys.stdout.write(f"{toll}\n")
    return int(bool(toll.attempts or toll.troubles) or toll.done != items)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
