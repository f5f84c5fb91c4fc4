"""Where the user's repository is, found without starting git: `status` has to answer at once.

Only a first look: whatever changes a repository opens it through `repository.py`, which asks git.
"""

from __future__ import annotations

from pathlib import Path


def find_root(start: Path) -> Path | None:
    """Return the main work tree around `start`, None when there is none.

    Below a linked worktree (an agent's, for instance) it is the repository that the worktree belongs to.
    """
    start = start.resolve()
    for folder in (start, *start.parents):
        entry = folder / ".git"
        if entry.is_dir():
            return folder
        if entry.is_file():
            return _main_of(folder, entry)
    return None


def _main_of(folder: Path, entry: Path) -> Path | None:
    """Follow a `.git` file: to the main repository of a linked worktree, or no further (a submodule)."""
    try:
        prefix, _, target = entry.read_text(errors="surrogateescape").rstrip("\n").partition("gitdir: ")
        if prefix or not target:
            return None
        git_dir = (folder / target).resolve()
        common = (git_dir / (git_dir / "commondir").read_text(errors="surrogateescape").rstrip("\n")).resolve()
    except FileNotFoundError:
        return folder
    except OSError:
        return None
    return common.parent if common.name == ".git" else None
