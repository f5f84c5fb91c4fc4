"""The throw-away repository of the demo: a clone of the one this package lies in, with a configuration and tools.

Guarantees: what it was cloned from is only read, and the clone does not know where it came from, so that nothing done
in it can reach back. A package that lies in no repository of its own gives its files, as a small history by folder.
"""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from pathlib import Path

from ...worktrees.environment import Identity
from ...worktrees.errors import GitError
from ...worktrees.git import Git

TARGET = "main"
TOOLS = ("check.py", "reference.py", "chores.py")
FOLDERS = ("queue", "worktrees", "harness", "coordinator")
_IDENTITY = Identity("parallel-loop demo", "demo@parallel-loop.invalid")
_OVERVIEW = """# Overview

What the tools found out about this repository, in three parts by three items.

## Layout

_What lies where is still to be looked up._

## Figures

_Whose lines are how old is still to be counted._

## Where to read on

_The other pages are still to be listed._
"""


def python(*argv: str) -> str:
    """Return the shell command that runs a script with our interpreter, with nothing but the standard library."""
    return shlex.join([sys.executable, "-I", "-S", *argv])


def make_repository(root: Path, agents: int) -> tuple[str, str]:
    """Make the repository at `root`, ready for a run.

    Returns the commit its history was taken over at, and where that came from, in words. Raises GitError, OSError.
    """
    package = Path(__file__).resolve().parents[2]
    origin = _clone(package, root) or _make_history(package, root)
    git = _git(root)
    start = git.text("rev-parse", "HEAD")
    tools, pages = root / "tools", root / "docs" / "demo"
    tools.mkdir(exist_ok=True)
    for name in TOOLS:
        shutil.copyfile(Path(__file__).with_name(name), tools / name)
    pages.mkdir(parents=True, exist_ok=True)
    (pages / "overview.md").write_text(_OVERVIEW, encoding="utf-8")
    (root / "parallel-loop.yaml").write_text(_configuration(agents), encoding="utf-8")
    git.run("add", "--force", "--", "tools", "docs/demo", "parallel-loop.yaml")
    git.run("commit", "--quiet", "-m", "Set up the demo: configuration, tools, an overview to be filled")
    return start, origin


def _git(root: Path) -> Git:
    return Git(root, identity=_IDENTITY)


def _configuration(agents: int) -> str:
    """The configuration; a JSON text is YAML, whatever path is in it."""
    check = json.dumps(python("tools/check.py"))
    return f"agents: {agents}\ntarget: {TARGET}\nchecks: [{check}]\nretry: {{first: 1s}}\n"


def _clone(package: Path, root: Path) -> str | None:
    """Clone what is committed where `package` is the top of a repository; None when it is none that git can read.

    An installed package may lie in somebody's project, in a folder that git ignores: that is not what is wanted.
    """
    source = Git(package)
    try:
        if source.text("rev-parse", "--show-prefix"):
            return None
        commit = source.text("rev-parse", "--verify", "HEAD^{commit}")
        source.run("cat-file", "-e", f"{commit}:queue/store.py")
        Git(root.parent).run("clone", "--quiet", "--no-checkout", "--template=", "--", str(package), str(root))
        git = _git(root)
        git.run("checkout", "--quiet", "-B", TARGET, commit)  # also when HEAD was detached there
        git.run("remote", "remove", "origin")
    except GitError:  # nobody's repository, or one that belongs to another user, or is damaged
        shutil.rmtree(root, ignore_errors=True)
        return None
    return f"a clone of {package} at {commit[:12]}"


def _make_history(package: Path, root: Path) -> str:
    """Commit the package's own files, one commit for each folder."""
    Git(root.parent).run("init", "--quiet", "--template=", f"--initial-branch={TARGET}", "--", str(root))
    git = _git(root)
    (root / ".gitignore").write_text("__pycache__/\n", encoding="utf-8")
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in FOLDERS:
        shutil.copytree(package / folder, root / folder, ignore=leave_out)
        if folder == FOLDERS[-1]:
            shutil.copyfile(package / "loop.py", root / "loop.py")
        git.run("add", "--all")
        git.run("commit", "--quiet", "-m", f"{folder}: as installed")
    return f"the files of {package}, committed folder by folder"
