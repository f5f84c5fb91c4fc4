"""Branches of attempts, listed with who uses them, and deleted without losing what only they hold.

Guarantees: a branch is deleted only from the commit that was looked at, and only if no work tree has it checked out,
rebases or bisects it; with `keep`, the ref that holds its commit from then on is made in the same transaction, in which
git writes before it deletes: a kill in between leaves both. A branch that is a symbolic ref goes by itself, not what it
points to.

Assumes: nobody needs the fence that a deleted branch was for the attempt before it (decision 0019).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import GitError
from .git import Git
from .links import worktree_dirs
from .operations import branch_in_progress
from .repository import Repository, resolve

ATTEMPTS = "refs/heads/parallel-loop/item/"
_MOST_AT_ONCE = 200


@dataclass(frozen=True)
class AttemptBranch:
    """The branch of one attempt and the commit it is at."""

    name: str  # without refs/heads/
    commit: str
    is_in_use: bool

    @property
    def item(self) -> str:
        """The id of the item."""
        return self._parts[0]

    @property
    def attempt(self) -> int | None:
        """The attempt's number; None when the name says none."""
        number = self._parts[1].partition("-")[0]
        return int(number) if number.isdecimal() else None

    @property
    def _parts(self) -> tuple[str, str]:
        item, _, attempt = f"refs/heads/{self.name}".removeprefix(ATTEMPTS).partition("/")
        return item, attempt


@dataclass(frozen=True)
class Spent:
    """A branch to delete; `keep` is the ref that is to hold its commit from then on, None where others do."""

    branch: AttemptBranch
    keep: str | None = None


def attempt_branches(repository: Repository) -> list[AttemptBranch]:
    """All branches of attempts; one git command."""
    listed = repository.git.run(
        "for-each-ref", "--format=%(refname)%00%(objectname)%00%(objecttype)%00%(worktreepath)%00", ATTEMPTS
    )
    fields = [field.removeprefix("\n") for field in listed.fields]
    busy = {branch_in_progress(admin) for admin in worktree_dirs(repository.git_dir)}
    busy.add(branch_in_progress(repository.git_dir))
    found = []
    for ref, commit, kind, path in zip(*[iter(fields)] * 4, strict=True):
        name = ref.removeprefix("refs/heads/")
        if kind == "commit":
            found.append(AttemptBranch(name, commit, bool(path) or name in busy))
    return found


def contained_in(repository: Repository, branch_tip: str) -> set[str]:
    """The names of the branches of attempts all of whose commits `branch_tip` has; one git command."""
    listed = repository.git.text("for-each-ref", f"--merged={branch_tip}", "--format=%(refname)", ATTEMPTS)
    return {ref.removeprefix("refs/heads/") for ref in listed.split("\n") if ref}


def delete(git: Git, spent: Sequence[Spent], why: str) -> list[Spent]:
    """Delete branches that are not in use; returns those that are gone. One that was moved meanwhile stays.

    `git` should hold a lease: a git that is killed here leaves locks. Raises GitError when git cannot at all.
    """
    wanted = [one for one in spent if not one.branch.is_in_use]
    gone: list[Spent] = []
    for start in range(0, len(wanted), _MOST_AT_ONCE):
        gone += _delete_all(git, wanted[start : start + _MOST_AT_ONCE], why)
    return gone


def _delete_all(git: Git, spent: list[Spent], why: str) -> list[Spent]:
    try:
        change_refs(git, (command for one in spent for command in _commands(git, one)), why)
    except GitError:
        if len(spent) == 1:
            branch = spent[0].branch
            if resolve(git, f"refs/heads/{branch.name}") == branch.commit:
                raise
            return []
        return [gone for one in spent for gone in _delete_all(git, [one], why)]  # who is in the way holds up no other
    return spent


def _commands(git: Git, spent: Spent) -> Iterable[str]:
    branch = spent.branch
    if spent.keep is not None:
        name, taken, number = spent.keep, resolve(git, spent.keep), 1
        while taken not in {None, branch.commit}:
            number += 1
            name = f"{spent.keep}-{number}"
            taken = resolve(git, name)
        if taken is None:
            yield f"create {name}\0{branch.commit}\0"
    yield f"delete refs/heads/{branch.name}\0{branch.commit}\0"


def change_refs(git: Git, commands: Iterable[str], why: str) -> None:
    """Have git do `commands` (as for `update-ref -z --stdin`) in one transaction, all of them or none; logged."""
    stdin = "".join(commands).encode("utf-8", "surrogateescape")
    git.run("update-ref", "--no-deref", "--create-reflog", "-m", f"parallel-loop: {why}", "-z", "--stdin", stdin=stdin)
