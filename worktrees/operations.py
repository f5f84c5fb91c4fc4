"""What a git directory says about an operation that was begun in its work tree and not ended.

Read from the files git keeps for it (gitrepository-layout): there is no command that tells all of them, and reading
costs no process.
"""

from __future__ import annotations

from pathlib import Path

# The first that exists names the operation: a rebase that stopped at a conflict leaves CHERRY_PICK_HEAD too.
_MARKERS = {
    "rebase-merge": "rebase",
    "rebase-apply/applying": "am",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "sequencer": "cherry-pick",
    "BISECT_LOG": "bisect",
}

# All that an unfinished operation leaves in the git directory of one work tree.
STATE_FILES = (
    "rebase-merge",
    "rebase-apply",
    "sequencer",
    "MERGE_HEAD",
    "MERGE_MSG",
    "MERGE_MODE",
    "MERGE_RR",
    "MERGE_AUTOSTASH",
    "AUTO_MERGE",
    "SQUASH_MSG",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "REBASE_HEAD",
    "BISECT_ANCESTORS_OK",
    "BISECT_EXPECTED_REV",
    "BISECT_FIRST_PARENT",
    "BISECT_HEAD",
    "BISECT_LOG",
    "BISECT_NAMES",
    "BISECT_RUN",
    "BISECT_START",
    "BISECT_TERMS",
    "refs/bisect",
    "refs/rewritten",
    "refs/worktree",
)

# Where an operation keeps commits that perhaps no branch has.
_COMMIT_FILES = (
    "MERGE_HEAD",
    "MERGE_AUTOSTASH",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "rebase-merge/orig-head",
    "rebase-merge/autostash",
    "rebase-apply/orig-head",
    "rebase-apply/autostash",
)


def operation_in_progress(git_dir: Path) -> str | None:
    """The operation begun and not ended in the work tree of `git_dir`, or None."""
    return next((name for marker, name in _MARKERS.items() if (git_dir / marker).exists()), None)


def branch_in_progress(git_dir: Path) -> str | None:
    """The branch that a rebase or bisect took HEAD away from and will move, or come back to, when it ends."""
    for file in ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"):
        name = read_line(git_dir / file)
        if name:
            return name.removeprefix("refs/heads/")
    return None


def commits_in_progress(git_dir: Path) -> list[str]:
    """The commits that an unfinished operation works with, among them what it stashed."""
    found: list[str] = []
    for file in _COMMIT_FILES:
        found += read_line(git_dir / file, lines=None).split()
    return found


def read_line(file: Path, lines: int | None = 1) -> str:
    """The first `lines` lines of a small file (None: all), or the empty string when it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""
    return "\n".join(text.split("\n")[:lines])  # splitlines() would break names at \x85
