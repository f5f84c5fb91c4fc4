"""After many items of every kind, nothing is left in git but history and what was saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from parallel_loop.coordinator.commands.check_queue import repair
from parallel_loop.harness.project import Project
from parallel_loop.queue.records import Item
from parallel_loop.queue.requests import cancel
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.salvage import SALVAGE
from support.repository import git
from support.runs import make_project, running, states

AGENTS = 3
WORK = "echo $PARALLEL_LOOP_ITEM > $PARALLEL_LOOP_ITEM.txt"
SECOND_TRY = 'echo $PARALLEL_LOOP_ATTEMPT > "$PARALLEL_LOOP_ITEM-try"; test $PARALLEL_LOOP_ATTEMPT -gt 1'
KINDS = {
    "plain": WORK,
    "commits": f"{WORK}; git add -A; git commit -qm one; echo 2 > $PARALLEL_LOOP_ITEM-2",
    "fails once": SECOND_TRY,
    "detached": f"git checkout -q --detach; {WORK}; git add -A; git commit -qm loose",
    "nothing": "true",
    "amends": f"{WORK}; git add -A; git commit -qm one; git commit -q --amend -m better",
    "conflicts": "echo $PARALLEL_LOOP_ITEM > contended",
    "stuck": "git merge -q --no-commit --no-ff HEAD^ 2>/dev/null; git bisect start; touch .git/x 2>/dev/null; " + WORK,
}


def do(project: Project, first: int, count: int) -> None:
    """Have so many items done, all of which end well, but for one that is cancelled."""
    kinds = list(KINDS.values())
    project.queue.add(
        [
            Item(
                id=f"item-{first + number}",
                title="work",
                added_at="",
                command=kinds[(first + number) % len(kinds)],
                max_attempts=50,
            )
            for number in range(count)
        ]
    )
    cancel(project.queue, f"item-{first}")
    with running(project, "--agents", str(AGENTS), "--drain") as run:
        assert run.wait(60 + count) == 0, run.output[-3000:]


def files_of_git(project: Project) -> set[str]:
    """All files in the git directory but objects, by name, without what is of the last run or was saved."""
    folder = project.root / ".git"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    # Of the last attempts, and made anew each time: whether an agent has them depends on what it was given.
    of_the_last = {name for name in found if name.endswith(("logs/ORIG_HEAD", "COMMIT_EDITMSG"))}
    return {name for name in found - of_the_last if not name.startswith("objects") and "/salvage" not in name}


def assert_clean(project: Project) -> None:
    assert set(states(project).values()) == {"done", "cancelled"}
    refs = git(project.root, "for-each-ref", "--format=%(refname)").split()
    left = [ref for ref in refs if not ref.startswith(f"{SALVAGE}/item-")]
    assert left == ["refs/heads/main", "refs/heads/parallel-loop/landed", "refs/parallel-loop/lander"]
    worktrees = git(project.root, "worktree", "list", "--porcelain").count("worktree ")
    assert worktrees == 1 + AGENTS + 1
    names = files_of_git(project)
    assert [name for name in names if name.endswith((".lock", ".making")) or "parallel-loop.index" in name] == []
    assert sorted(path.name for path in project.worktrees.iterdir()) == ["agent-1", "agent-2", "agent-3", "landing"]
    for worktree in project.worktrees.iterdir():
        assert git(worktree, "status", "--porcelain", "--ignored") == ""
    assert git(project.root, "status", "--porcelain") == ""
    git(project.root, "fsck", "--connectivity-only", "--no-dangling")
    assert repair(project) == []


def assert_saved(project: Project) -> None:
    """What attempts did that did not land is there all the same."""
    for item, state in states(project).items():
        entry = project.queue.entry(item)
        assert entry is not None
        if state == "done" and entry.item.command == SECOND_TRY:
            assert git(project.root, "show", f"{SALVAGE}/{item}/1:{item}-try") == "1"
        for record in entry.records:
            assert record.commit is None or Repository.open(project.root).resolve(record.commit) is not None


def test_32_items_leave_nothing_and_the_second_half_no_more_than_the_first(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repo")
    do(project, 1, 16)  # two of each kind
    assert_clean(project)
    before = files_of_git(project)
    do(project, 17, 16)
    assert_clean(project)
    assert files_of_git(project) - before == set()
    git(project.root, "gc", "--quiet", "--prune=now")
    assert_saved(project)


@pytest.mark.large
@pytest.mark.timeout(3600)
def test_1000_items(tmp_path: Path) -> None:
    project = make_project(tmp_path / "repo")
    do(project, 1, 100)
    before = files_of_git(project)
    do(project, 101, 900)
    assert_clean(project)
    assert files_of_git(project) - before == set()
    for worktree in (project.root / ".git/worktrees").iterdir():
        size = sum(path.stat().st_size for path in worktree.rglob("*") if path.name != "index" and path.is_file())
        assert size < 150_000, worktree
    git(project.root, "gc", "--quiet", "--prune=now")
    assert_saved(project)
