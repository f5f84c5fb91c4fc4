"""The target branch of a user, checked out, and what lands for it."""

from __future__ import annotations

from pathlib import Path

from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Diverged, Followed, follow
from support.repository import commit, git, make_repository, write

AWKWARD = "sp ace 'q\" new\nline ü"
OLD: dict[str, str | bytes] = {
    "f": "old\n",
    "gone": "old\n",
    "keep": "old\n",
    "d/x": "old\n",
    ".gitignore": ".env\nignored/\n",
}


class Setting:
    """A repository whose main is checked out, and a commit `landed` ahead of it."""

    def __init__(self, root: Path) -> None:
        self.root = make_repository(root, OLD)
        git(self.root, "switch", "-q", "-c", "work")
        git(self.root, "rm", "-q", "gone")
        files = {
            "f": "new\n",
            "added": "new\n",
            "d/y": "new\n",
            AWKWARD: "new\n",
            ".env": "new\n",
            "ignored/z": "new\n",
        }
        write(self.root, files)
        git(self.root, "add", "-A", "--force")
        self.landed = commit(self.root, {})
        git(self.root, "branch", "parallel-loop/landed")
        git(self.root, "switch", "-q", "main")
        self.repository = Repository.open(self.root)
        self.old = self.tip()

    def tip(self) -> str:
        return git(self.root, "rev-parse", "main")

    def follow(self) -> Followed | Blocked | Diverged:
        return follow(self.repository, "main", self.landed)


def state(root: Path) -> dict[str, object]:
    """All files of a checkout, and what git makes of them."""
    files = {str(f): f.read_bytes() for f in sorted(root.rglob("*")) if f.is_file() and ".git" not in f.parts}
    return {"files": files, "status": git(root, "status", "--porcelain"), "stash": git(root, "stash", "list")}
