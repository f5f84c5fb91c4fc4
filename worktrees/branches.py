"""The branches of attempts, and what keeps a worker whose item was given to somebody else from moving them.

Guarantees: once the heir of a branch exists, which is the branch of the item's next attempt, changes made here lose.
git looks at both under its own locks in one transaction, so a worker that was stopped for however long, even between
its last look at the queue and this step, moves nothing once the next attempt has begun.

Assumes: only attempts make branches of these names, each under the first that is free. Who asked for the heir's name
looks after that, not before, whether its claim still stands: else what it found taken may be the next attempt already.
What a program commits by itself is not held up; so nobody takes an attempt's work by the name of its branch.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator

from .errors import GitError
from .git import Git
from .repository import resolve

_FOLDER = "parallel-loop/item"


def attempt_branch(item_id: str, attempt: int) -> str:
    """The name that the branch of an attempt has, unless it is taken."""
    return f"{_FOLDER}/{item_id}/{attempt}"


def free_branch(git: Git, name: str) -> str:
    """The first of `<name>`, `<name>-2`, `<name>-3`, … that is no branch: an earlier life of a queue leaves some."""
    return next(found for found in _alike(name) if resolve(git, f"refs/heads/{found}") is None)


def free_among(taken: Container[str], name: str) -> str:
    """The same, where the names of all branches of attempts are known to be `taken`."""
    return next(found for found in _alike(name) if found not in taken)


def attempt_branches(git: Git) -> set[str]:
    """The names of all branches of attempts that there are."""
    return set(git.text("for-each-ref", "--format=%(refname:lstrip=2)", f"refs/heads/{_FOLDER}").split())


def _alike(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in itertools.count(2))


def move_branch(git: Git, branch: str, commit: str, old: str | None, *, heir: str | None, message: str) -> None:
    """Move `branch` from `old` (None: it must not exist) to `commit`; GitError when that or `heir` forbids it."""
    commands = f"update refs/heads/{branch}\0{commit}\0{old or '0' * len(commit)}\0{unless_exists(heir)}"
    argv = ("update-ref", "-m", f"parallel-loop: {message}", "-z", "--stdin")
    try:
        git.run(*argv, stdin=commands.encode())
    except GitError as error:
        # While another git packs refs, one that nobody moved was seen "at A but expected B": then it is tried again.
        if "but expected" not in error.stderr or resolve(git, f"refs/heads/{branch}") != old:
            raise
        git.run(*argv, stdin=commands.encode())


def unless_exists(heir: str | None) -> str:
    """The command for `update-ref -z --stdin` that makes the whole step fail when `heir` exists."""
    return "" if heir is None else f"verify refs/heads/{heir}\0\0"
