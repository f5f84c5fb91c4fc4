"""A repository with a pool of worktrees, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from parallel_loop.worktrees.environment import Identity
from parallel_loop.worktrees.pool import Pool, Worktree
from parallel_loop.worktrees.repository import Repository
from support.repository import git, make_repository

IDENTITY = Identity("agent-1", "agent-1@example.invalid")
FILES: dict[str, str | bytes] = {
    "f.txt": "one\n",
    "g.txt": "two\n",
    "src/a.py": "a = 1\n",
    "src/deep/b.py": "b = 1\n",
    ".gitignore": "*.o\nbuild/\n",
    "UNION.md": "first\n",
    ".gitattributes": "UNION.md merge=union\n",
}


@dataclass
class Place:
    """A user's repository, a pool in it, and the first agent's worktree."""

    root: Path
    repository: Repository
    pool: Pool
    worktree: Worktree
    start: str

    def show(self, commit: str, name: str) -> str:
        """The content of a file in a commit, without surrounding white space."""
        return git(self.root, "show", f"{commit}:{name}")

    def names(self, commit: str) -> set[str]:
        """The files of a commit."""
        return set(git(self.root, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")) - {""}


def open_pool(root: Path) -> Pool:
    """The pool of the repository at `root`, as a new process would open it."""
    state = root / ".parallel-loop"
    state.mkdir(exist_ok=True)
    (state / ".gitignore").write_text("*\n")
    return Pool(Repository.open(root), state / "worktrees", state / "worktrees.lock")


def make_place(root: Path, files: dict[str, str | bytes] | None = None) -> Place:
    """A repository at `root` with `files` and the worktree of agent-1."""
    make_repository(root, files or FILES)
    pool = open_pool(root)
    worktree = pool.ensure("agent-1")
    return Place(root, Repository.open(root), pool, worktree, git(root, "rev-parse", "HEAD"))
