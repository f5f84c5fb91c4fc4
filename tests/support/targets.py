"""The target branch of a user, checked out, and what lands for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from parallel_loop.worktrees.following import begin, finish_interrupted
from parallel_loop.worktrees.repository import Repository
from parallel_loop.worktrees.target import Blocked, Diverged, Followed, follow
from support.repository import commit, environment, git, make_repository, write

Files = dict[str, str | bytes]

AWKWARD = "sp ace 'q\" new\nline ü"
OLD: Files = {
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


def land(root: Path, files: Files, *gone: str) -> str:
    """A commit with `files` and without `gone` on top of main, made in a worktree of its own."""
    place = root.parent / "elsewhere"
    if not place.exists():
        git(root, "worktree", "add", "--quiet", "--detach", str(place), "main")
    git(place, "-c", "submodule.recurse=false", "checkout", "--quiet", "--force", "--detach", "main")
    for name in gone:
        git(place, "rm", "-rqf", name)
    made = commit(place, files)
    git(root, "branch", "--force", "parallel-loop/landed", made)
    return made


def follows(root: Path, landed: str) -> Followed | Blocked | Diverged:
    return follow(Repository.open(root), "main", landed)


def status(root: Path) -> list[str]:
    return [line for line in git(root, "status", "--porcelain").split("\n") if line]


def why(found: object) -> str:
    assert isinstance(found, Blocked), found
    return found.why


def do(remedy: str) -> None:
    subprocess.run(["/bin/sh", "-c", remedy], env=environment(), check=True, capture_output=True)


def cut_short(root: Path, landed: str, files: Files) -> None:
    """A step of which git had written `files` when it was killed, is undone."""
    repository = Repository.open(root)
    begin(repository.checkouts_of("main")[0], "main", git(root, "rev-parse", "main"), landed)
    (root / ".git" / "index.lock").touch()
    write(root, files)
    finish_interrupted(repository)
    assert not (root / ".git" / "index.lock").exists()
