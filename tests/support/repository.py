"""Real git repositories for tests, made the same way on every machine.

What the developer has configured (a signing key, hooks, another default branch) must not reach a test: the helpers
run git without system and user configuration, and write an identity into the repository itself so that programs
under test find one too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

CONFIG = {
    "user.name": "Tess Ter",
    "user.email": "tess@example.invalid",
    "commit.gpgSign": "false",
    "core.hooksPath": ".git/hooks",  # a developer's global hooks would run in the programs under test
    "core.autocrlf": "false",
    "gc.auto": "0",
}
_SETTINGS = [(name.split("."), value) for name, value in CONFIG.items()]


def environment() -> dict[str, str]:
    """The environment of this process without any git variable, and without system and user configuration."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return clean | {
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_EDITOR": "true",
    }


def attempt_git(path: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    """Run git in `path` and return what happened, whatever it was."""
    return subprocess.run(
        ["git", "-C", str(path), *argv],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )


def git(path: Path, *argv: str) -> str:
    """Run git in `path` and return its output without surrounding white space; AssertionError when it fails."""
    done = attempt_git(path, *argv)
    assert done.returncode == 0, f"git {argv} in {path}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def write(path: Path, files: Mapping[str, str | bytes]) -> None:
    """Write `files` (relative name to content) below `path`, making the folders they need."""
    for name, content in files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(path: Path, files: Mapping[str, str | bytes], message: str = "change") -> str:
    """Write `files` in the checkout at `path`, commit everything there, and return the new commit."""
    _commit(path, files, message)
    return git(path, "rev-parse", "HEAD")


def _commit(path: Path, files: Mapping[str, str | bytes], message: str) -> None:
    write(path, files)
    git(path, "add", "--all")
    git(path, "commit", "--quiet", "--allow-empty", "-m", message)


def make_empty_repository(path: Path, branch: str = "main") -> Path:
    """A repository without any commit at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "--quiet", "--initial-branch", branch)
    own = path / ".git"
    configure(own if own.is_dir() else Path(git(path, "rev-parse", "--absolute-git-dir")))
    return path


def configure(git_dir: Path) -> None:
    """Set CONFIG in a repository; at once, since hundreds of tests do it and each `git config` is a process."""
    sections = (f"[{section}]\n\t{key} = {value}\n" for (section, key), value in _SETTINGS)
    with (git_dir / "config").open("a") as file:
        file.writelines(sections)


def make_repository(path: Path, files: Mapping[str, str | bytes] | None = None, branch: str = "main") -> Path:
    """A repository at `path` with one commit on `branch` that holds `files` (default: a README); returns `path`."""
    make_empty_repository(path, branch)
    _commit(path, {"README.md": "hello\n"} if files is None else files, "first")
    return path
