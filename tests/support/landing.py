"""Branches handed over for landing as a worker hands them over, and a lander in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from parallel_loop.coordinator.lander import Lander
from parallel_loop.coordinator.target_report import TargetReport, read_target
from parallel_loop.harness.orders import Orders
from parallel_loop.harness.project import Project
from parallel_loop.queue.clock import utc_now
from parallel_loop.queue.markers import Owner
from parallel_loop.queue.records import Record
from parallel_loop.queue.taking import Taker
from support.repository import attempt_git, commit, git
from support.runs import add
from support.taking import claimed

SUM_FILES = {"a": "1\n", "b": "2\n"}


def scratch(project: Project) -> Path:
    """A worktree in which branches are made, so that the user's checkout stays as it is."""
    path = project.root.parent / f"{project.root.name}-scratch"
    if not path.exists():
        git(project.root, "worktree", "add", "--quiet", "--detach", str(path))
    return path


def make_branch(project: Project, branch: str, files: Mapping[str, str | bytes], base: str = "main") -> str:
    """A commit with `files` on top of `base`, on a new branch; return it."""
    path = scratch(project)
    git(path, "switch", "--quiet", "--force", "-C", branch, base)
    made = commit(path, files, f"work of {branch}")
    git(path, "switch", "--quiet", "--detach")
    return made


def hand_over(project: Project, item_id: str, files: Mapping[str, str | bytes], base: str = "main") -> str:
    """An item whose first attempt made a commit with `files`, and waits for landing; return that commit."""
    if project.queue.entry(item_id) is None:
        add(project, item_id)
    taker = Taker(project.queue, Owner("agent-1", os.getpid()))
    claim = claimed(taker)
    assert claim.item.id == item_id
    branch = f"parallel-loop/item/{item_id}/{claim.attempt}"
    made = make_branch(project, branch, files, base)
    record = Record(
        kind="landing", at=utc_now(), agent="agent-1", outcome="done", branch=branch, commit=made, seconds=1.0
    )
    assert taker.end(claim, record)
    taker.close()
    return made


@contextmanager
def a_lander(project: Project, target: str = "main") -> Iterator[Lander]:
    lander = Lander(project, target, Orders())
    try:
        yield lander
    finally:
        lander.close()


def land(project: Project, target: str = "main") -> TargetReport:
    """Land all that waits, as a lander that was just started; return how the target stands."""
    with a_lander(project, target) as lander:
        lander.land_all()
        lander.look_at_target()
    report = read_target(project.state.root)
    assert report is not None
    return report


def landed_items(project: Project, branch: str = "parallel-loop/landed") -> list[str]:
    """The items on a branch, in the order of landing, by the commit that each has of its own.

    It names the attempt's branch; what the attempt itself committed does not, which may be a merge, too.
    """
    options = ("--reverse", "--topo-order", "--format=%(trailers:key=Branch,valueonly)")
    return [name.split("/")[2] for name in git(project.root, "log", *options, branch).split()]


def tip(project: Project, name: str = "parallel-loop/landed") -> str:
    return git(project.root, "rev-parse", name)


def why(project: Project, item_id: str) -> str:
    """What the last record of the item gives as its reason."""
    entry = project.queue.entry(item_id)
    assert entry is not None
    assert entry.last is not None
    return entry.last.why or ""


def replay(project: Project, check: str, branch: str = "parallel-loop/landed") -> None:
    """Every commit that was ever the tip of the landing branch passes the check."""
    path = scratch(project)
    for tip in git(project.root, "rev-list", "--first-parent", branch).split():
        git(path, "switch", "--quiet", "--force", "--detach", tip)
        assert attempt_git(path, "-c", f"alias.check=!{check}", "check").returncode == 0, f"{tip} fails {check}"
