"""One agent's worktree: a checkout and its admin directory in the user's repository.

Guarantees: git runs here with the admin directory named, so that a checkout whose `.git` a program removed or replaced
is not mistaken for the user's own repository around it, and never through a symbolic link put in the checkout's place.

Assumes: only the holder of the agent's place calls into its worktree, and the program it ran there is dead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from .environment import Identity, program_environment
from .errors import WorktreeGone
from .git import Git
from .links import tie
from .locks import hold
from .repository import resolve

_LOCKS = ("index.lock", "HEAD.lock", "ORIG_HEAD.lock", "config.worktree.lock", "logs/HEAD.lock")
_LOCK_PATTERNS = ("index.stash.*.lock", "parallel-loop.index*", "refs/**/*.lock")


class Worktree:
    """A work tree at `path` whose admin directory is `git_dir`; made by `Pool.ensure`."""

    def __init__(self, path: Path, git_dir: Path) -> None:
        self.path = path
        self.git_dir = git_dir
        self.lease = git_dir / "parallel-loop.lease"
        self._excludes = git_dir / "parallel-loop.exclude"

    @property
    def common_dir(self) -> Path:
        """The git directory that all worktrees of the repository share."""
        return self.git_dir.parent.parent

    def git(self, identity: Identity | None = None, configuration: Iterable[str] = ()) -> Git:
        """Git bound to this worktree, with further `configuration` (`key=value`)."""
        configuration = ["core.sparseCheckout=false", *configuration]  # a sparse checkout left behind hides files
        if self._excludes.exists():
            configuration.append(f"core.excludesFile={self._excludes}")
        return Git(self.path, git_dir=self.git_dir, identity=identity, configuration=configuration, lease=self.lease)

    def head(self) -> str | None:
        """The commit that is checked out, or None when there is none (an orphan branch)."""
        return resolve(self.git(), "HEAD")

    def make_usable(self, timeout_seconds: float = 60) -> None:
        """Take the worktree over from whoever used it: wait for git to end there, drop the locks it left behind.

        A worker that was killed leaves git running for a moment; a lock file is known to be dead only after that.
        Raises WorktreeGone, LockTimeout.
        """
        if not self.git_dir.is_dir():
            raise WorktreeGone(self.path, f"its admin directory {self.git_dir} is gone")
        if self.path.is_symlink():
            raise WorktreeGone(self.path, f"a symbolic link to {self.path.readlink()} is in its place")
        if not self.path.is_dir():
            raise WorktreeGone(self.path)
        with hold(self.lease, timeout_seconds=timeout_seconds):
            for file in self.locks():
                file.unlink(missing_ok=True)
        tie(self.path, self.git_dir)

    def locks(self) -> list[Path]:
        """The lock files and half-written indexes here; who takes the worktree over removes them."""
        patterns = (*_LOCKS, *_LOCK_PATTERNS)
        return [file for pattern in patterns for file in self.git_dir.glob(pattern)]

    def drop_ref_locks(self, *patterns: str, timeout_seconds: float = 60) -> None:
        """Remove the locks that killed gits left on refs that are written from this worktree alone.

        `patterns` are names of such refs, as for glob. Raises LockTimeout when a git goes on here for so long.
        """
        locks = [lock for pattern in patterns for lock in self.common_dir.glob(f"{pattern}.lock")]
        if locks:
            with hold(self.lease, timeout_seconds=timeout_seconds):
                for lock in locks:
                    lock.unlink(missing_ok=True)

    def leave_out(self, names: Iterable[str], kept: Iterable[str] = ()) -> None:
        """Have git ignore `names` (relative to the worktree) here and nowhere else: what `set_up` put there.

        The same for what is `kept` from item to item, patterns for names: it is no work, and must not be committed.

        A pattern such as `node_modules/` in the user's .gitignore does not match a symbolic link, which would be
        committed. `info/exclude` is shared by all worktrees; so the user's own global file is copied and added to.
        """
        patterns = "".join("/" + re.sub(r"([\\*?\[\]! #])", r"\\\1", name.strip("/")) + "\n" for name in names)
        patterns += "".join(f"{pattern}\n" for pattern in kept)
        if not patterns:
            self._excludes.unlink(missing_ok=True)
            return
        configured = Git(self.path, git_dir=self.git_dir).run(
            "config", "--type=path", "--get", "core.excludesFile", ok=(0, 1)
        )
        home = Path(os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser())
        theirs = Path(configured.text) if configured.text else home / "git" / "ignore"
        inherited = theirs.read_bytes() + b"\n" if theirs.is_file() else b""
        self._excludes.write_bytes(inherited + os.fsencode(patterns))

    def program_environment(self, identity: Identity) -> dict[str, str]:
        """What a program that runs here gets on top of `scrub(os.environ)`; see `environment.program_environment`.

        The ceiling keeps its git from finding the user's repository, in which the worktree lies, after the program
        removed the worktree's `.git`.
        """
        settings = {"core.excludesFile": str(self._excludes)} if self._excludes.exists() else {}
        return program_environment(identity, settings) | {"GIT_CEILING_DIRECTORIES": str(self.path.parent)}
