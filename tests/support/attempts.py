"""What the attempt at an item left in the repository."""

from __future__ import annotations

from parallel_loop.queue.records import Record
from support.harness import Workshop
from support.repository import git

BRANCH = "parallel-loop/item/one/1"
COMMIT = "git add -A && git commit -qm 'by the program'"


def files(shop: Workshop, commit: str | None) -> set[str]:
    """The files of a commit, without those that the repository began with."""
    assert commit is not None
    return set(git(shop.root, "ls-tree", "-r", "--name-only", commit).split()) - {"README.md", "parallel-loop.yaml"}


def assert_landing(shop: Workshop, record: Record, *names: str, branch: str = BRANCH) -> None:
    """The record hands over a branch with exactly these files on top of the start."""
    assert (record.kind, record.outcome, record.branch) == ("landing", "done", branch), record
    assert git(shop.root, "rev-parse", branch) == record.commit
    assert files(shop, record.commit) == set(names)
    assert shop.mark.living() == []
