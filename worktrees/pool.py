"""One worktree for each agent, made once and reused: eight times cheaper than making one for each item.

Guarantees:
- making, repairing and removing worktrees is done under one lock: concurrent `git worktree add` fails now and then.
- what a kill left half made is made again; what was moved, copied or damaged is tied together again.
- nothing is deleted that an agent may have worked in, and nothing that is not ours. No `worktree prune` ever: it drops
  the index and HEAD of a worktree that is only briefly out of sight.

Assumes: `directory` is for this pool alone. A worktree is complete when its admin directory has the file
`parallel-loop` with the agent's name, written last. While `.<name>.making` is there, nobody has worked in it yet.
"""

from __future__ import annotations

import re
from pathlib import Path

from .files import remove
from .git import Git
from .links import backlink, link, tie, worktree_dirs
from .locks import hold
from .operations import read_line
from .repository import Repository
from .worktree import Worktree

__all__ = ["ForeignDirectory", "Pool", "Worktree", "marked_worktrees"]

_MARK = "parallel-loop"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_HEAD = re.compile(r"ref: refs/.+|[0-9a-f]{40}|[0-9a-f]{64}")


class ForeignDirectory(Exception):
    """Something that is not ours is where an agent's worktree belongs."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is in the way of an agent's worktree and was not made by parallel-loop, so it is left alone; "
            f"`mv {path} {path}.old`, or set `worktrees:` to another place"
        )
        self.path = path


def marked_worktrees(repository: Repository) -> list[tuple[str, Worktree]]:
    """All complete worktrees that a pool of this repository ever made, by name; their files may be gone."""
    found = ((read_line(admin / _MARK), admin) for admin in worktree_dirs(repository.git_dir))
    return [
        (name, Worktree(path, admin))
        for name, admin in found
        if _NAME.fullmatch(name) and (path := backlink(admin)) is not None
    ]


class Pool:
    """The worktrees below `directory`; `lock_path` is the lock file, `run_note` the reason git shows for its lock."""

    def __init__(
        self, repository: Repository, directory: Path, lock_path: Path, run_note: str = "parallel-loop"
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory.resolve()  # git records real paths
        self.repository = repository
        self._lock_path = lock_path
        self._lease = lock_path.with_name(f"{lock_path.name}.git")  # outlives us with a `worktree add` of ours
        self._git = Git(repository.root, git_dir=repository.git_dir, lease=self._lease)
        self._run_note = run_note

    def ensure(self, name: str) -> Worktree:
        """The worktree called `name`, made or repaired if need be; what is in it is left as it is.

        Raises ForeignDirectory, EmptyRepository, GitError, ValueError (a name that is no plain file name).
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a worktree: letters, digits, '.', '_' and '-'")
        path = self.directory / name
        self.directory.mkdir(parents=True, exist_ok=True)  # somebody may have removed it since
        with hold(self._lock_path):
            admin = self._find(name, path) or self._adopt(name, path) or self._make(name, path)
            self._making(name).unlink(missing_ok=True)  # from now on what is in the worktree may be work
            self._repair(path, admin)
        return Worktree(path, admin)

    def names(self) -> list[str]:
        """The names of the worktrees that are there."""
        found = [(read_line(admin / _MARK), backlink(admin)) for admin in worktree_dirs(self.repository.git_dir)]
        return sorted(name for name, path in found if name and path == self.directory / name)

    def half_made(self) -> list[str]:
        """The names of the worktrees that somebody makes now, or was killed while making."""
        names = {path.name[1:].removesuffix(".making") for path in self.directory.glob(".*.making")}
        for admin in worktree_dirs(self.repository.git_dir):
            path = backlink(admin)
            if path is None or path.parent != self.directory or (admin / _MARK).exists():
                continue
            if read_line(admin / "locked") in {"initializing", self._reason(path.name)}:
                names.add(path.name)
        return sorted(name for name in names if _NAME.fullmatch(name))

    def clear_half_made(self, name: str) -> None:
        """Remove what is left of a worktree whose making was cut short; one that is complete stays."""
        with hold(self._lock_path):
            if self._find(name, self.directory / name) is None:
                with hold(self._lease):
                    self._clear_half_made(name, self.directory / name)
            self._making(name).unlink(missing_ok=True)

    def take_in(self, worktree: Worktree) -> Worktree:
        """Repair a worktree of ours wherever it is: of another `worktrees:` directory, too; see `ensure`."""
        with hold(self._lock_path):
            worktree.path.parent.mkdir(parents=True, exist_ok=True)
            self._repair(worktree.path, worktree.git_dir)
        return worktree

    def discard(self, worktree: Worktree) -> None:
        """Remove a worktree of ours, wherever it is, with all that is in it: salvage first."""
        with hold(self._lock_path):
            remove(worktree.path)
            remove(worktree.git_dir)

    def remove(self, name: str) -> None:
        """Remove a worktree with all that is in it: salvage first. Not being there is fine."""
        path = self.directory / name
        with hold(self._lock_path):
            admin = self._find(name, path)
            if admin is not None:
                remove(path)
                remove(admin)

    def _find(self, name: str, path: Path) -> Path | None:
        """The admin directory of our complete worktree `name`, also when it points to where it once was."""
        for admin in worktree_dirs(self.repository.git_dir):
            if read_line(admin / _MARK) == name:
                elsewhere = backlink(admin)
                # Made for another `worktrees:` directory and still there: that one keeps its admin directory.
                if elsewhere in {path, None} or link(elsewhere) != admin:
                    return admin
        return None

    def _adopt(self, name: str, path: Path) -> Path | None:
        """Make the admin directory again that the files at `path` lost; they may hold work."""
        admin = link(path)
        if (
            admin is None
            or admin.exists()
            or self._making(name).exists()
            or admin.parent != self.repository.git_dir / "worktrees"
        ):
            return None
        admin.mkdir(parents=True)
        (admin / "commondir").write_text("../..\n")
        (admin / "HEAD").write_text(self.repository.require_commit() + "\n")
        (admin / "locked").write_text(self._reason(name))
        (admin / _MARK).write_text(name + "\n")
        return admin

    def _make(self, name: str, path: Path) -> Path:
        with hold(self._lease):
            self._clear_half_made(name, path)
        if path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir()))):
            raise ForeignDirectory(path)
        commit = self.repository.require_commit()
        self._making(name).touch()
        options = ("--quiet", "--detach", "--lock", "--reason", self._reason(name))
        self._git.run("worktree", "add", *options, "--", str(path), commit)
        admin = link(path)
        assert admin is not None, "git reported success"
        (admin / _MARK).write_text(name + "\n")
        return admin

    def _clear_half_made(self, name: str, path: Path) -> None:
        """Remove what a killed `worktree add` left: it was never handed out, so no program ran there.

        git may have been killed while it tidied up after a failure, when the files no longer tell whose they are.
        """
        if self._making(name).exists():
            remove(path)
        for admin in worktree_dirs(self.repository.git_dir):
            target = backlink(admin)
            ours = read_line(admin / "locked") in {"initializing", self._reason(name)}
            if ours and target == path:
                if link(path) == admin:
                    remove(path)
                remove(admin)
            elif ours and target is None and admin.name.startswith(name):
                remove(admin)

    def _repair(self, path: Path, admin: Path) -> None:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()  # put there by a program in place of its worktree
        emptied = not path.exists()
        path.mkdir(exist_ok=True)
        tie(path, admin)
        if not _HEAD.fullmatch(read_line(admin / "HEAD")):
            (admin / "HEAD").write_text(self.repository.require_commit() + "\n")
        if read_line(admin / "commondir") == "":
            (admin / "commondir").write_text("../..\n")
        if emptied:  # from the index, because what was staged is all that is left of the work
            (admin / "index.lock").unlink(missing_ok=True)
            Worktree(path, admin).git().run("checkout-index", "--all", "--force", "--quiet", ok=(0, 1, 128))

    def _making(self, name: str) -> Path:
        return self.directory / f".{name}.making"

    def _reason(self, name: str) -> str:
        return f"{self._run_note}: {name}"
