"""The `.gitattributes` files of one commit, in a folder of their own.

`merge-tree` has no checkout and reads attributes (`merge=union` and the like) from the files around it. To check out
the commit for that would cost more than the merge itself, and the more the larger the tree.

Guarantees: after `fill` the folder holds exactly the attribute files of that commit; only what changed since the last
call is read again.

Assumes: one process uses the folder.
"""

from __future__ import annotations

from pathlib import Path

from .files import remove
from .git import Git

_NAME = ".gitattributes"
_NOTHING = "nothing"


class Attributes:
    """The folder `folder`, filled from the repository of `git`."""

    def __init__(self, git: Git, folder: Path) -> None:
        self._git = git
        self._folder = folder
        self._commit: str | None = None  # whose files are there, None when that is not known

    @property
    def folder(self) -> Path:
        """The folder with the files of the commit that it was last filled with, with none in the beginning."""
        if self._commit is None or not self._folder.is_dir():
            remove(self._folder)
            self._folder.mkdir(parents=True)
            self._commit = _NOTHING
        return self._folder

    def at(self, commit: str) -> Path:
        """Fill the folder with the attribute files of `commit` (its full name) and return it. Raises GitError."""
        self.fill(commit)
        return self._folder

    def fill(self, commit: str) -> bool:
        """Fill the folder with the attribute files of `commit`; False when those are in it already. Raises GitError."""
        folder, before = self.folder, self._commit
        if before == commit:
            return False
        self._commit = None
        if before == _NOTHING:  # the tree with nothing in it
            before = self._git.run("hash-object", "-t", "tree", "--stdin", stdin=b"").text
        pathspec = f":(top,glob)**/{_NAME}"
        argv = ("diff-tree", "-r", "-z", "--name-only", "--no-renames", before or "", commit, "--", pathspec)
        names = self._git.run(*argv).fields
        for name in names:
            path = folder / name
            content = self._git.run("cat-file", "blob", f"{commit}:{name}", ok=(0, 128))
            if content.returncode == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.stdout)
            else:
                path.unlink(missing_ok=True)
        self._commit = commit
        return bool(names)
