"""The two files that tie a linked work tree to its git directory, and what is told from them alone.

A work tree has a file `.git` that says `gitdir: <repository>/.git/worktrees/<id>`; that directory, here called its
admin directory, has a file `gitdir` with the path of that `.git`. Both are absolute, so both are wrong after the
repository was moved or copied; git of a copied worktree then works in the repository it was copied from.
"""

from __future__ import annotations

import os
from pathlib import Path


def worktree_dirs(common_dir: Path) -> list[Path]:
    """The admin directories of all linked work trees of the repository."""
    return sorted(path for path in common_dir.glob("worktrees/*") if path.is_dir())


def backlink(admin: Path) -> Path | None:
    """The work tree that an admin directory says it belongs to, or None when it says nothing."""
    target = _read(admin / "gitdir")
    return None if not target else Path(os.path.normpath(admin / target)).parent


def link(path: Path) -> Path | None:
    """The admin directory that a work tree says it belongs to, or None when its `.git` is no such file."""
    said = _read(path / ".git")
    if said is None or not said.startswith("gitdir: "):
        return None
    return Path(os.path.normpath(path / said.removeprefix("gitdir: ")))


def tie(path: Path, admin: Path) -> None:
    """Make the work tree at `path` and `admin` point at each other; does nothing when they do.

    A directory `.git` (a program removed the file and ran `git init`) holds commits of its own: it is moved into
    `admin`, where it is not in the way and not lost.
    """
    if (path / ".git").is_dir() and not (path / ".git").is_symlink():
        (path / ".git").rename(_unused(admin / "found.git"))
    if link(path) != admin:
        (path / ".git").unlink(missing_ok=True)  # a symbolic link would be written through
        (path / ".git").write_bytes(b"gitdir: " + os.fsencode(admin) + b"\n")
    if backlink(admin) != path:
        (admin / "gitdir").write_bytes(os.fsencode(path / ".git") + b"\n")


def _read(file: Path) -> str | None:
    if file.is_symlink():
        return None
    try:
        return os.fsdecode(file.read_bytes().removesuffix(b"\n"))
    except OSError:
        return None


def _unused(path: Path) -> Path:
    number = 1
    while path.with_name(f"{path.name}.{number}").exists():
        number += 1
    return path.with_name(f"{path.name}.{number}")
