"""The `.gitattributes` files of one commit, in a folder of their own.

`merge-tree` has no checkout and reads attributes (`merge=union` and the like) from the files around it. To check out
the commit for that would cost more than the merge itself, and the more the larger the tree.

Guarantees: after `at` the folder holds exactly the attribute files of that commit; only what changed since the last
call is read again.

Assumes: one process uses the folder.
"""

from __future__ import annotations

from pathlib import Path

from .files import remove
from .git import Git

_NAME = ".gitattributes"


class Attributes:
    """The folder `folder`, filled from the repository of `git`."""

    def __init__(self, git: Git, folder: Path) -> None:
        self._git = git
        self._folder = folder
        self._commit: str | None = None

    def at(self, commit: str) -> Path:
        """Fill the folder with the attribute files of `commit` (its full name) and return it. Raises GitError."""
        if self._commit != commit:
            self._fill(commit)
        return self._folder

    def _fill(self, commit: str) -> None:
        before, self._commit = self._commit, None
        if before is None:
            remove(self._folder)
            self._folder.mkdir(parents=True)
            before = self._git.run(
                "hash-object", "-t", "tree", "--stdin", stdin=b""
            ).text  # the tree with nothing in it
        pathspec = f":(top,glob)**/{_NAME}"
        names = self._git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", before, commit, "--", pathspec)
        for name in names.fields:
            path = self._folder / name
            content = self._git.run("cat-file", "blob", f"{commit}:{name}", ok=(0, 128))
            if content.returncode == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.stdout)
            else:
                path.unlink(missing_ok=True)
        self._commit = commit
