"""What can go wrong with git itself, one class per situation."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


class GitError(Exception):
    """A git command failed; says which, where, with which exit code, and what git said."""

    def __init__(self, argv: Sequence[str], path: Path, returncode: int, stderr: str) -> None:
        self.argv = tuple(argv)
        self.path = path
        self.returncode = returncode
        self.stderr = stderr
        said = "\n".join(f"    {line}" for line in stderr.splitlines()) or "    (git said nothing)"
        command = shlex.join(argument[:200] for argument in argv[:12])  # a message, not a dump
        super().__init__(f"git {command} failed in {path} (exit code {returncode}):\n{said}")


class GitMissing(Exception):
    """There is no git on PATH."""

    def __init__(self) -> None:
        super().__init__("git is not on PATH; install git 2.38 or newer, then run this again")


class GitTooOld(Exception):
    """The git on PATH lacks a command that landing needs."""

    def __init__(self, found: str, needed: str) -> None:
        super().__init__(
            f"{found} is too old: landing needs `git merge-tree --write-tree`, which came with git {needed}; "
            "install a newer git, or put one first on PATH"
        )


class WorktreeGone(Exception):
    """An agent's checkout is not where it belongs any more, so nothing was done there."""

    def __init__(self, path: Path, why: str = "its directory is gone") -> None:
        super().__init__(f"the worktree {path} cannot be used: {why}; `Pool.ensure` makes it again")
        self.path = path
