"""Candidates and the landing branch: merging without a checkout, and moving the branch by compare-and-swap.

Guarantees: the landing branch only ever moves from the commit a candidate was made on to that candidate, in one step; a
candidate is held by a ref from the moment it exists, so that no gc takes it and a kill leaves it visible. Once another
has taken the landing branch over, who had it before moves it no more: a ref names the one who may, and git compares it
in the same step.

Assumes: one landing process, which alone uses the landing worktree. Nobody has the landing branch checked out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from .branches import unless_exists
from .environment import Identity
from .errors import GitError
from .recycle import reset_to
from .repository import Repository, resolve
from .salvage import commit_tree
from .worktree import Worktree

LANDING_BRANCH = "parallel-loop/landed"
_REF = f"refs/heads/{LANDING_BRANCH}"
_OWNER = "refs/parallel-loop/lander"
_TREE = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64})\0")


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
class Conflict:
    """Why a commit cannot be merged: the paths, and what git says about them."""

    paths: tuple[str, ...]
    summary: str


class LandingBranch:
    """The branch `parallel-loop/landed` of a repository, worked on in the landing worktree."""

    def __init__(self, repository: Repository, worktree: Worktree, identity: Identity) -> None:
        self._repository = repository
        self._worktree = worktree
        self._git = worktree.git(identity)
        self._token: str | None = None

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
        tip = resolve(self._git, _REF)
        if tip is not None:
            return tip
        try:
            self._git.run("update-ref", "-m", "parallel-loop: begin", _REF, target_tip, "0" * len(target_tip))
        except GitError:
            tip = resolve(self._git, _REF)  # another process created it at the same moment
            if tip is None:
                raise
        return tip or target_tip

    def tip(self) -> str:
        """The commit the branch is at; raises GitError when it does not exist."""
        return self._git.text("rev-parse", "--verify", f"{_REF}^{{commit}}")

    def is_landed(self, commit: str) -> bool:
        """Whether the branch contains `commit`."""
        return self._git.run("merge-base", "--is-ancestor", commit, _REF, ok=(0, 1)).returncode == 0

    def merge(self, commit: str, message: str) -> Candidate | Conflict:
        """Merge `commit` with the tip, changing no branch and no file.

        Raises GitError when `commit` does not exist or git fails.
        """
        tip, head, other = self._git.text(
            "rev-parse", f"{_REF}^{{commit}}", "HEAD^{commit}", f"{commit}^{{commit}}"
        ).split()
        if head != tip:  # merge-tree reads .gitattributes from the files around it: `merge=union` and the like
            self.check_out(tip)
        argv = ("merge-tree", "--write-tree", "--name-only", "-z", tip, other)
        merged = self._git.run(*argv, ok=(0, 1, 128))
        found = _TREE.match(merged.stdout)
        if merged.returncode == 128 and "unrelated histories" in merged.stderr:
            return Conflict((), "it shares no commit with the landing branch")
        if found is None or merged.returncode == 128:  # 1 is also "not something we can merge"
            raise GitError(argv, self._git.directory, merged.returncode, merged.stderr)
        if merged.returncode == 1:
            return _conflict(merged.stdout)
        tree = found[1].decode()
        candidate = Candidate(commit_tree(self._git, tree, [tip, other], message), tree, tip)
        self._git.run("update-ref", candidate.ref, candidate.commit)
        return candidate

    def check_out(self, commit: str, *, keep: Sequence[str] = ()) -> None:
        """Make the landing worktree clean at `commit`; `keep` are patterns of files that survive."""
        reset_to(self._worktree, commit, keep=keep)

    def advance(self, candidate: Candidate, *, heir: str | None = None) -> bool:
        """Move the branch to `candidate`; False when it has moved since the candidate was made, or `heir` exists.

        `heir` is the branch of the next attempt: that of the candidate is not to land any more. Raises Superseded.
        """
        commands = [
            f"update {_REF}\0{candidate.commit}\0{candidate.onto}\0",
            f"delete {candidate.ref}\0\0",
            unless_exists(heir),
            f"verify {_OWNER}\0{self._token}\0" if self._token else "",
        ]
        try:
            self._git.run("update-ref", "-m", "parallel-loop: land", "-z", "--stdin", stdin="".join(commands).encode())
        except GitError:
            tip = self.tip()
            if tip == candidate.commit:
                return True  # killed after the step and run again
            if self._token not in {None, self._owner()}:
                raise Superseded from None
            if tip != candidate.onto or (heir and resolve(self._git, f"refs/heads/{heir}")):
                return False
            raise
        return True

    def _owner(self) -> str:
        return self._git.run("rev-parse", "--verify", "--quiet", _OWNER, ok=(0, 1)).text

    def abandon(self, candidate: Candidate) -> None:
        """Let go of a candidate that will not land."""
        self._git.run("update-ref", "-d", candidate.ref)

    def candidates_left(self) -> list[str]:
        """The candidates that a killed landing process held; all can be abandoned."""
        return self._git.text("for-each-ref", "--format=%(objectname)", "refs/parallel-loop/candidate").split()


def _conflict(out: bytes) -> Conflict:
    """Read `merge-tree -z`: tree, the paths, an empty field, then messages (count, paths, kind, text)."""
    fields = [os.fsdecode(field) for field in out.split(b"\0")]
    end = fields.index("", 1)
    messages, at = [], end + 1
    while at < len(fields) and fields[at].isdigit():
        at += int(fields[at]) + 1
        kind, text = fields[at], fields[at + 1]
        if kind.startswith("CONFLICT"):
            messages.append(text.strip())
        at += 2
    paths = tuple(dict.fromkeys(fields[1:end]))
    return Conflict(paths, "\n".join(messages) or "conflict in " + ", ".join(paths))
