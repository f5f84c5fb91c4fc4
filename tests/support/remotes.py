"""A bare repository as the user's remote, and a second clone of it that somebody else works in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from parallel_loop.harness.project import Project
from support.repository import commit, configure, git


def add_remote(project: Project, name: str = "origin") -> Path:
    """A bare repository that has what the project has, as its remote."""
    path = project.root.parent / f"{project.root.name}-{name}.git"
    git(project.root.parent, "clone", "--quiet", "--bare", str(project.root), str(path))
    git(path, "config", "gc.auto", "0")
    git(project.root, "remote", "add", name, str(path))
    return path


def elsewhere(remote: Path) -> Path:
    """Somebody else's clone."""
    path = remote.parent / "elsewhere"
    if not path.exists():
        git(remote.parent, "clone", "--quiet", str(remote), str(path))
        configure(path / ".git")
    return path


def push_from_elsewhere(remote: Path, files: Mapping[str, str | bytes], branch: str = "main") -> str:
    """Somebody else commits `files` on top of what the remote has, and pushes; return the commit."""
    clone = elsewhere(remote)
    git(clone, "pull", "--quiet", "--ff-only", "origin", branch)
    made = commit(clone, files, "from elsewhere")
    git(clone, "push", "--quiet", "origin", f"HEAD:{branch}")
    return made
