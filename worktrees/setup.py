"""What a fresh worktree needs that git does not track: copies of `.env`, links to `node_modules`.

Guarantees: nothing is read outside the source root or written outside the worktree, whatever the names and symbolic
links in either; nothing that is already in the worktree is replaced.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path


class OutsideTree(Exception):
    """A name to copy or link leads out of the repository or out of the worktree."""

    def __init__(self, name: str, root: Path) -> None:
        super().__init__(
            f"`setup:` names {name!r}, which leads out of {root} (or into its `.git`); name a file or folder inside it"
        )
        self.name = name


def set_up(worktree_path: Path, source_root: Path, *, copy: Sequence[str], link: Sequence[str]) -> list[str]:
    """Copy and link `copy` and `link` (relative names) from `source_root`; returns the names that are not there.

    A linked folder is shared: what a program changes in it changes for all. Raises OutsideTree before anything is done.
    """
    wanted = [(name, _inside(name, source_root), _inside(name, worktree_path)) for name in (*copy, *link)]
    missing = []
    for number, (name, source, target) in enumerate(wanted):
        if not source.exists():
            missing.append(name)
        elif number < len(copy):
            _copy(source, target)
        else:
            _link(source, target)
    return missing


def _inside(name: str, root: Path) -> Path:
    """`name` below `root`, where neither `..` nor a symbolic link on the way leads out."""
    relative = Path(name)
    path = root / relative
    lexical = not relative.is_absolute() and ".." not in relative.parts and relative.parts and "\0" not in name
    if not lexical or relative.parts[0] == ".git" or not path.resolve().is_relative_to(root.resolve()):
        raise OutsideTree(name, root)
    return path


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a folder; of a folder, what is not yet there. Symbolic links in a folder stay links."""
    if source.is_dir() and not target.is_symlink():  # a tracked link may lead anywhere
        target.mkdir(parents=True, exist_ok=True)
        for child in source.iterdir():
            if child.is_symlink():
                _link(child.readlink(), target / child.name)
            elif child.is_dir() or child.is_file():
                _copy(child, target / child.name)
    elif not _taken(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def _link(source: Path, target: Path) -> None:
    if not _taken(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)


def _taken(path: Path) -> bool:
    return path.exists() or path.is_symlink()
