"""The landing branch: stacks of joined branches become candidates, and the branch moves by compare-and-swap.

Guarantees: the landing branch only ever moves from the commit a candidate was made on to that candidate, in one step; a
candidate is held by a ref from the moment it exists, so that no gc takes it and a kill leaves it visible. Several
branches land as one commit whose first parent is the tip before: so the first-parent history holds nothing but trees
that were candidates. Once another has taken the landing branch over, who had it before moves it no more: a ref names
the one who may, and git compares it in the same step. In that step, too, a ref says of each item with which commit it
landed; it stays until somebody has recorded that.

Assumes: one landing process, which alone uses the landing worktree. Nobody has the landing branch checked out.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from .branches import unless_exists
from .environment import Identity
from .errors import GitError
from .git import Git
from .joining import Conflict, Joined, Joiner, Style
from .operations import read_line
from .recycle import reset_to
from .repository import Repository, resolve
from .salvage import commit_tree
from .worktree import Worktree

__all__ = ["LANDING_BRANCH", "Candidate", "Conflict", "Joined", "LandingBranch", "Style", "Superseded", "landed_ref"]

LANDING_BRANCH = "parallel-loop/landed"
_REF = f"refs/heads/{LANDING_BRANCH}"
_OWNER = "refs/parallel-loop/lander"
_LANDED = "refs/parallel-loop/landed"


def landed_ref(item_id: str, attempt: int) -> str:
    """The ref that holds the commit with which an attempt landed, from that step until it is recorded."""
    return f"{_LANDED}/{item_id}/{attempt}"


def begin(git: Git, commit: str) -> str:
    """The landing branch's tip; it is created at `commit` when there is no such branch."""
    tip = resolve(git, _REF)
    if tip is not None:
        return tip
    try:
        git.run("update-ref", "-m", "parallel-loop: begin", _REF, commit, "0" * len(commit))
    except GitError:
        tip = resolve(git, _REF)  # another process created it at the same moment
        if tip is None:
            raise
    return tip or commit


class Superseded(Exception):
    """Another process has taken the landing branch over."""

    def __init__(self) -> None:
        super().__init__(f"another process lands now ({_OWNER} is not ours any more); that one is left alone")


@dataclass(frozen=True)
class Candidate:
    """A merge on top of the landing branch that is not landed yet."""

    commit: str
    tree: str  # equal trees have equal check results
    onto: str  # the tip it was made on

    @property
    def ref(self) -> str:
        """What holds the commit until it has landed or is abandoned."""
        return f"refs/parallel-loop/candidate/{self.commit}"


@dataclass(frozen=True)
class Tip:
    """Where the landing branch stands."""

    commit: str
    tree: str


class LandingBranch:
    """The branch `parallel-loop/landed` of a repository, worked on in the landing worktree."""

    def __init__(self, repository: Repository, worktree: Worktree, identity: Identity) -> None:
        self._repository = repository
        self._worktree = worktree
        self._git = worktree.git(identity)
        self._joiner = Joiner(worktree, identity, self.check_out)
        self._token: str | None = None
        self.moved_to: str | None = None  # the candidate that the branch was moved to last, by us
        self._tip: Tip | None = None  # where the branch was seen last
        self.keep: Sequence[str] = ()  # patterns for names of caches that survive in the landing worktree

    def take_over(self) -> None:
        """Make sure that nobody who took the branch over before moves it from now on.

        The branch must exist: from then on, its refs are written from the landing worktree alone, and a lock that is
        there was left by a git that was killed. Raises LockTimeout when such a git lives.
        """
        self._worktree.drop_ref_locks(_OWNER, _REF, "refs/parallel-loop/candidate/*")
        unique = f"{os.urandom(16).hex()}\n".encode()
        self._token = self._git.run("hash-object", "-w", "--stdin", stdin=unique).text
        self._git.run("update-ref", _OWNER, self._token)

    def ensure(self, target_tip: str) -> str:
        """The branch's tip; it is created at `target_tip` when it does not exist."""
        return begin(self._git, target_tip)

    def tip(self) -> str:
        """The commit the branch is at; raises GitError when it does not exist."""
        return self.look().commit

    def look(self) -> Tip:
        """Where the branch stands; raises GitError when it does not exist.

        Git is asked unless the branch's file says that it is where it was: the file counts before packed refs.
        """
        if self._tip is None or read_line(self._worktree.common_dir / _REF) != self._tip.commit:
            self._tip = Tip(*self._git.text("rev-parse", f"{_REF}^{{commit}}", f"{_REF}^{{tree}}").split())
        return self._tip

    def is_landed(self, commit: str) -> bool:
        """Whether the branch contains `commit`."""
        return self._git.run("merge-base", "--is-ancestor", commit, _REF, ok=(0, 1)).returncode == 0

    def join(
        self, onto: str, source: str, message: str, style: Style = "merge", *, facts: bool = True
    ) -> Joined | Conflict:
        """Put branch tip `source` on top of `onto`; nothing holds the commit yet. See `Joiner.join`."""
        return self._joiner.join(onto, source, message, style, facts=facts)

    def merge(self, commit: str, message: str) -> Candidate | Conflict:
        """A candidate of `commit` merged with the tip.

        Raises GitError when `commit` does not exist or git fails.
        """
        tip, other = self._git.text("rev-parse", f"{_REF}^{{commit}}", f"{commit}^{{commit}}").split()
        joined = self.join(tip, other, message)
        return joined if isinstance(joined, Conflict) else self._candidate(tip, [joined], message, hold=True)

    @contextmanager
    def held(self, onto: str, stack: Sequence[Joined], message: str, *, hold: bool = True) -> Iterator[Candidate]:
        """The candidate that lands all of `stack`, of which the first was joined to `onto`, under `message`.

        It is abandoned when the block ends and the branch has not moved to it. One that is to land at once, since there
        is nothing to check, needs no ref that would `hold` it.
        """
        candidate = self._candidate(onto, stack, message, hold=hold)
        try:
            yield candidate
        finally:
            if hold and self.moved_to != candidate.commit:
                self.abandon(candidate)

    def _candidate(self, onto: str, stack: Sequence[Joined], message: str, *, hold: bool) -> Candidate:
        last = stack[-1]
        commit = last.commit if len(stack) == 1 else commit_tree(self._git, last.tree, [onto, last.commit], message)
        candidate = Candidate(commit, last.tree, onto)
        if hold:
            self._git.run("update-ref", candidate.ref, candidate.commit)
        return candidate

    def check_out(self, commit: str) -> None:
        """Make the landing worktree clean at `commit`, but for what it is to `keep`."""
        reset_to(self._worktree, commit, keep=self.keep)

    def advance(
        self,
        candidate: Candidate,
        *,
        heirs: Iterable[str] = (),
        landed: Mapping[str, str] | None = None,
        recorded: Iterable[str] = (),
    ) -> bool:
        """Move the branch to `candidate`; False when it has moved since the candidate was made, or a heir exists.

        `heirs` are the branches of the next attempts: what the candidate has of the one before is not to land any more.
        `landed` are refs, and the commits they are to hold from this step on; `recorded` are those of what landed
        before, which are not needed any more. Raises Superseded.
        """
        heirs = tuple(heirs)
        commands = [
            f"update {_REF}\0{candidate.commit}\0{candidate.onto}\0",
            f"delete {candidate.ref}\0\0",
            *map(unless_exists, heirs),
            *(f"delete {ref}\0\0" for ref in recorded),
            *(f"update {ref}\0{commit}\0\0" for ref, commit in (landed or {}).items()),
            f"verify {_OWNER}\0{self._token}\0" if self._token else "",
        ]
        try:
            self._git.run("update-ref", "-m", "parallel-loop: land", "-z", "--stdin", stdin="".join(commands).encode())
        except GitError:
            tip = self.tip()
            if tip == candidate.commit:
                self.moved_to = tip
                return True  # killed after the step and run again
            if self._token not in {None, self._owner()}:
                raise Superseded from None
            if tip != candidate.onto or any(resolve(self._git, f"refs/heads/{heir}") for heir in heirs):
                return False
            raise
        self.moved_to = candidate.commit
        self._tip = Tip(candidate.commit, candidate.tree) if candidate.tree else None
        return True

    def _owner(self) -> str:
        return self._git.run("rev-parse", "--verify", "--quiet", _OWNER, ok=(0, 1)).text

    def abandon(self, candidate: Candidate) -> None:
        """Let go of a candidate that will not land."""
        self._git.run("update-ref", "-d", candidate.ref)

    def candidates_left(self) -> list[str]:
        """The candidates that a killed landing process held; all can be abandoned."""
        return self._git.text("for-each-ref", "--format=%(objectname)", "refs/parallel-loop/candidate").split()

    def landed(self) -> dict[str, str]:
        """The refs that say what landed and is not recorded yet, and the commits that they hold.

        A ref of a commit that the branch does not contain, since somebody has moved it back, says nothing.
        """
        listed = self._git.text("for-each-ref", f"--merged={_REF}", "--format=%(refname) %(objectname)", _LANDED)
        return dict(line.split(" ") for line in listed.splitlines())

    def forget_landed(self, refs: Iterable[str]) -> None:
        """Remove such refs: what they say is recorded."""
        commands = "".join(f"delete {ref}\0\0" for ref in refs)
        if commands:
            self._git.run("update-ref", "-z", "--stdin", stdin=commands.encode())

    def landed_between(self, older: str, newer: str, most: int) -> list[str]:
        """The subjects of what landed after `older` up to `newer`, the newest first, at most `most`."""
        options = (f"--max-count={most}", "--first-parent", "--no-show-signature", "--format=%h %s")
        return self._git.text("log", *options, f"{older}..{newer}").splitlines()

    def base(self, commit: str, other: str) -> str | None:
        """The newest commit that both have, None when there is none."""
        return self._git.run("merge-base", commit, other, ok=(0, 1)).text or None
