"""A tree object of what is in a worktree, made without touching its index or files.

Guarantees: every file that can be read is in the tree, also where git alone leaves it out: files marked
assume-unchanged or skip-worktree, files of embedded repositories (a bare `git add` stores a link to a commit that
nobody has), files under a broken index, files whose clean filter fails. What could not be read is named.

Assumes: nobody else works in the worktree, and `Worktree.make_usable` was called.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import GitError
from .files import files_below, make_accessible
from .git import Git, Result
from .index import Unusual, clear_flags, is_sound, terminated, unusual_entries
from .worktree import Worktree

_STATUS = ("status", "--porcelain", "-z", "--untracked-files=all", "--ignore-submodules=none", "--no-renames")
_REFUSED = re.compile(r"unable to index file '(.*?)'$", re.MULTILINE)


@dataclass(frozen=True)
class Snapshot:
    """What a worktree held: the tree of its files, that of its index where it could be had, and what is missing."""

    tree: str
    staged: str | None
    skipped: tuple[str, ...]
    index: Path  # a complete index of `tree`, in the worktree's git directory


@dataclass(frozen=True)
class State:
    """What was found to be uncommitted, and what taking it has to mind."""

    changed: bool
    sound: bool
    staged: bool  # whether the index differs from HEAD
    unusual: Unusual
    names: tuple[str, ...]  # what `status` lists, but for what is in `embedded`
    embedded: tuple[str, ...]


def look(worktree: Worktree, *, flags: bool = True, ignored: bool = False) -> State:
    """Find out whether anything is uncommitted; two git commands.

    `flags`: look behind assume-unchanged and skip-worktree too. `ignored`: ignored files count as well.
    """
    git = worktree.git()
    sound = is_sound(worktree.git_dir / "index")
    unusual = unusual_entries(git) if sound else Unusual()
    env = None if sound else {"GIT_INDEX_FILE": str(worktree.git_dir / "parallel-loop.index.none")}
    replaced = {name for name in unusual.links if (worktree.path / name).is_symlink()}  # at which `status` gives up
    argv = (*_STATUS, *(["--ignored=matching"] if ignored else []))
    argv += ("--", *_all_but(replaced)) if replaced else ()
    status = git.run(*argv, env=env, ok=(0, 128))
    if status.returncode != 0:
        status = _without_filters(worktree).run(*argv, env=env)
    listed = {field[3:] for field in status.fields} | replaced
    # With --untracked-files=all, only another repository is listed as a directory.
    embedded = {name for name in listed if name.endswith("/") and (worktree.path / name / ".git").exists()}
    # A submodule has a file `.git`; a directory there is a repository that exists nowhere else.
    links = set(unusual.links) - replaced
    embedded |= {f"{name}/" for name in links if _holds_work(worktree.path / name, name in listed)}
    hidden = flags and (unusual.unchecked or any(os.path.lexists(worktree.path / name) for name in unusual.skipped))
    changed = bool(listed or embedded or hidden or unusual.unmerged or not sound)
    staged = unusual.unmerged or bool(replaced) or any(field[0] not in " ?!" for field in status.fields)
    names = tuple(sorted(listed - {name.rstrip("/") for name in embedded} - embedded))
    return State(changed, sound, staged, unusual, names, tuple(sorted(embedded)))


def _all_but(names: Iterable[str]) -> list[str]:
    """Pathspecs for all files but what is called `names` or below that."""
    return [".", *(f":(exclude,top,literal){name.rstrip('/')}" for name in names)]


def _holds_work(path: Path, changed: bool) -> bool:
    return (path / ".git").is_dir() or (changed and (path / ".git").exists())


def take(worktree: Worktree, state: State, *, flags: bool = True, ignored: bool = False) -> Snapshot:
    """Store what `state` found as a tree. Raises GitError when git cannot, for instance on a full disk."""
    index = worktree.git_dir / "parallel-loop.index"
    env = {"GIT_INDEX_FILE": str(index)}
    git = worktree.git()
    staged = _begin(worktree, state, index, env)
    if flags:
        clear_flags(git, state.unusual, env)
    added = _add_listed(git, state, env, flags) if state.sound and not ignored else None
    if added is None:
        added = _add(git, worktree.path, state.embedded, env, ignored)
    if added.returncode == 128:  # a clean filter that fails (git-lfs not installed) is fatal; unfiltered beats lost
        git = _without_filters(worktree)
        added = _add(git, worktree.path, state.embedded, env, ignored)
    if added.returncode == 128:
        raise GitError(("add",), worktree.path, added.returncode, added.stderr)
    unreadable = _add_embedded(git, worktree.path, state.embedded, env)
    tree = git.run("write-tree", env=env).text
    return Snapshot(tree, staged, (*_REFUSED.findall(added.stderr), *unreadable), index)


def _begin(worktree: Worktree, state: State, index: Path, env: dict[str, str]) -> str | None:
    """Start the temporary index from the worktree's own, so that unchanged files are not read again."""
    git = worktree.git()
    if state.sound:
        shutil.copy2(worktree.git_dir / "index", index)  # with its time: git takes a newer index as more trustworthy
        if not state.staged:
            return None
        done = git.run("write-tree", env=env, ok=(0, 128))
        return done.text if done.returncode == 0 else _staged_beside_conflicts(worktree)
    head = worktree.head()
    git.run("read-tree", head or "--empty", env=env)
    return None


def _staged_beside_conflicts(worktree: Worktree) -> str | None:
    """The tree of an index with unmerged entries, of which our side stands for all: the sides are in commits.

    What else is staged may be nowhere but there.
    """
    git, index = worktree.git(), worktree.git_dir / "parallel-loop.index.staged"
    index.unlink(missing_ok=True)
    env = {"GIT_INDEX_FILE": str(index)}
    lines: dict[str, str] = {}
    for field in git.run("ls-files", "-s", "-z").fields:
        about, _, name = field.partition("\t")
        mode, blob, stage = about.split(" ")
        if stage in {"0", "2"} or name not in lines:
            lines[name] = f"{mode} {blob} 0\t{name}"
    git.run("update-index", "--replace", "-z", "--index-info", stdin=terminated(list(lines.values())), env=env)
    done = git.run("write-tree", env=env, ok=(0, 128))  # an object may be missing
    index.unlink()
    return done.text if done.returncode == 0 else None


def _add_listed(git: Git, state: State, env: dict[str, str], flags: bool) -> Result | None:
    """Add what `look` found without a look at all other files again; None when some of it needs more care."""
    skipped = [name for name in state.unusual.skipped if os.path.lexists(git.directory / name)]
    names = [*state.names, *([*state.unusual.unchecked, *skipped] if flags else ())]
    argv = ("update-index", "--add", "--remove", "--replace", "--ignore-skip-worktree-entries", "-z", "--stdin")
    done = git.run(*argv, stdin=terminated(names), env=env, ok=(0, 1, 128))
    return done if done.returncode == 0 and "Ignoring path" not in done.stderr else None


def _add(git: Git, root: Path, embedded: tuple[str, ...], env: dict[str, str], ignored: bool) -> Result:
    argv = ["add", "--all", "--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul"]
    argv += ["--force"] if ignored else []
    paths = terminated(_all_but(embedded))
    done = git.run(*argv, stdin=paths, env=env, ok=(0, 1, 128))
    if "Permission denied" in done.stderr:
        make_accessible(root)
        done = git.run(*argv, stdin=paths, env=env, ok=(0, 1, 128))
    return done


def _without_filters(worktree: Worktree) -> Git:
    """Git that stores files as they are."""
    listed = worktree.git().run(
        "config", "--name-only", "-z", "--get-regexp", r"^filter\..*\.(clean|process)$", ok=(0, 1)
    )
    off: list[str] = []
    for key in dict.fromkeys(listed.fields):
        off += [f"{key}=", f"{key.rpartition('.')[0]}.required=false"]
    return worktree.git(configuration=off)


def _add_embedded(git: Git, root: Path, embedded: tuple[str, ...], env: dict[str, str]) -> list[str]:
    """Add the files of other repositories one by one; returns the names of those that cannot be read."""
    names: list[str] = []
    skipped: list[str] = []
    for folder in embedded:
        make_accessible(root / folder)
        for file in files_below(root / folder):
            mode = file.lstat().st_mode
            if stat.S_ISLNK(mode) or stat.S_ISREG(mode):  # a pipe or socket is no work
                (names if _readable(file) else skipped).append(str(file.relative_to(root)))
    if names:
        git.run("update-index", "--add", "--replace", "-z", "--stdin", stdin=terminated(names), env=env)
    return skipped


def _readable(file: Path) -> bool:
    return file.is_symlink() or os.access(file, os.R_OK)
