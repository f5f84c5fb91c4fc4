"""Facts about the user's repository. Nothing here changes it.

Paths come from git NUL-terminated or one at a time, so spaces, quotes, newlines and bytes that are no UTF-8 survive.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .environment import Identity
from .files import flush_file_system
from .git import Git, GitError
from .links import backlink, worktree_dirs
from .operations import branch_in_progress, operation_in_progress

_LONGEST_PART = 240  # a file name may have 255 bytes, and git adds ".lock"


class NotARepository(Exception):
    """There is no git repository where one was asked for."""

    def __init__(self, path: Path, said: str) -> None:
        super().__init__(f"{path} is not in a git repository ({said}); `git init {path}`, or name another with --repo")
        self.path = path


class BareRepository(Exception):
    """The repository has no work tree of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the repository {path} is bare: there is no checkout that could follow what lands; "
            f"`git clone {path} DIRECTORY` and run there"
        )
        self.path = path


class EmptyRepository(Exception):
    """The repository has no commit, so there is nothing work could start from."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"the repository {path} has no commit yet; make the first with `git commit --allow-empty`")
        self.path = path


@dataclass(frozen=True)
class Checkout:
    """One work tree that has a branch checked out, or has set it aside to rebase or bisect it."""

    path: Path
    git_dir: Path
    operation: str | None  # "merge", "rebase", "bisect", …, or None

    def git(self) -> Git:
        """Git bound to this checkout."""
        return Git(self.path, git_dir=self.git_dir)


class Repository:
    """The user's repository: its main work tree `root` and the directory `git_dir` that all worktrees share."""

    def __init__(self, root: Path, git_dir: Path) -> None:
        self.root = root
        self.git_dir = git_dir
        self.git = Git(root, git_dir=git_dir)
        self.lease = git_dir / "parallel-loop.lease"

    @classmethod
    def open(cls, start: Path) -> Repository:
        """The repository around `start`: any folder in it, or in one of its linked worktrees.

        Raises NotARepository, BareRepository, GitMissing.
        """
        start = start.absolute()
        git = Git(start)
        asked = git.run("rev-parse", "--is-bare-repository", "--is-inside-git-dir", ok=(0, 128))
        if asked.returncode != 0:
            raise NotARepository(start, asked.stderr.removeprefix("fatal: "))
        shared = _path(git, "--git-common-dir").resolve()
        if asked.text.startswith("true"):
            raise BareRepository(shared)
        if asked.text.endswith("false") and _path(git, "--git-dir").resolve() == shared:
            return cls(_path(git, "--show-toplevel"), shared)
        return cls(_main_work_tree(git, start, shared), shared)

    def leased_git(self, identity: Identity | None = None) -> Git:
        """Git that holds `lease` while it runs: a lock that it leaves when it is killed is known for ours by that."""
        return Git(self.root, git_dir=self.git_dir, identity=identity, lease=self.lease)

    def require_commit(self) -> str:
        """The commit that is checked out, or that of some branch where none is (`git switch --orphan`).

        Raises EmptyRepository when there is none at all.
        """
        commit = self.resolve("HEAD") or self.git.text(
            "for-each-ref", "--count=1", "--format=%(objectname)", "refs/heads"
        )
        if not commit:
            raise EmptyRepository(self.root)
        return commit

    def resolve(self, revision: str) -> str | None:
        """The commit that `revision` names, or None."""
        return resolve(self.git, revision)

    def merge_base(self, one: str, other: str) -> str | None:
        """The newest commit that both have, or None."""
        return self.git.run("merge-base", one, other, ok=(0, 1)).text or None

    def branch_tip(self, name: str) -> str | None:
        """The commit of branch `name`, or None when there is no such branch.

        Looked for twice: beside a gc and a push, git has missed a branch that was there all the time.
        """
        return self.resolve(f"refs/heads/{name}") or self.resolve(f"refs/heads/{name}")

    def branch_checked_out(self) -> str | None:
        """The branch checked out in the main work tree (it may have no commit yet), or None on a detached HEAD."""
        return head_branch(self.git)

    def checkouts_of(self, branch: str) -> list[Checkout]:
        """Every work tree that would be surprised if `branch` moved: it is checked out, rebased or bisected there."""
        admins = {backlink(admin): admin for admin in worktree_dirs(self.git_dir)}
        found = []
        for record in self._listed():
            path = Path(record["worktree"])
            git_dir = self.git_dir if path == self.root else admins.get(path)
            if git_dir is None:
                continue
            if record.get("branch") == f"refs/heads/{branch}" or branch_in_progress(git_dir) == branch:
                found.append(Checkout(path, git_dir, operation_in_progress(git_dir)))
        return found

    def flush(self) -> None:
        """Make all commits and branches survive a power cut, also those that a program's own git has made.

        The whole file system at once: git flushes no loose object unless every user's configuration says so, and what
        is recorded as landed must not name a commit that is lost. Raises OSError.
        """
        flush_file_system(self.git_dir)

    def places(self) -> list[Path]:
        """Every work tree, as its `.git` file says, without starting git."""
        return [self.root, *(path for admin in worktree_dirs(self.git_dir) if (path := backlink(admin)) is not None)]

    def trace(self, *branches: str) -> tuple[object, ...]:
        """What is another whenever one of `branches` moves or a work tree changes branch, without starting git.

        Git writes each of these files anew under another name and renames it, with either kind of ref storage.
        """
        names = ("HEAD", "packed-refs", "reftable/tables.list", *(f"refs/heads/{branch}" for branch in branches))
        paths = [*(self.git_dir / name for name in names), *(admin / "HEAD" for admin in worktree_dirs(self.git_dir))]
        return tuple((path, _trace(path)) for path in paths)

    def is_valid_branch(self, name: str) -> bool:
        """Whether git and the file system can take `name` for a new branch.

        `git check-ref-format` alone accepts names that other commands read as an option or as another branch.
        """
        if not name or name.startswith(("-", "refs/")) or name in {"@", "HEAD"} or "@{" in name or "\0" in name:
            return False
        if any(len(part.encode("utf-8", "surrogateescape")) > _LONGEST_PART for part in name.split("/")):
            return False
        return self.git.run("check-ref-format", "--branch", name, ok=(0, 1, 128)).returncode == 0

    def _listed(self) -> list[dict[str, str]]:
        """`git worktree list`, one mapping for each work tree, the main one first."""
        return _worktrees(self.git)


def _trace(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def resolve(git: Git, revision: str) -> str | None:
    """The commit that `revision` names where `git` stands, or None."""
    asked = git.run("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}", ok=(0, 1, 128))
    return asked.text if asked.returncode == 0 else None


def head_branch(git: Git) -> str | None:
    """The branch that HEAD stands on where `git` stands, or None when it is detached."""
    asked = git.run("symbolic-ref", "--quiet", "HEAD", ok=(0, 1))
    return asked.text.removeprefix("refs/heads/") if asked.text.startswith("refs/heads/") else None


def _path(git: Git, option: str) -> Path:
    out = git.run("rev-parse", "--path-format=absolute", option).stdout
    return Path(_decode(out.removesuffix(b"\n")))


def _decode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _worktrees(git: Git) -> list[dict[str, str]]:
    records: list[dict[str, str]] = [{}]
    for field in git.run("worktree", "list", "--porcelain", "-z").fields:
        if not field:
            records.append({})
        else:
            key, _, value = field.partition(" ")
            records[-1][key] = value
    return [record for record in records if record]


def _main_work_tree(git: Git, start: Path, shared: Path) -> Path:
    first = _worktrees(git)[0]
    if "bare" in first:
        raise BareRepository(shared)
    root = Path(first["worktree"])
    try:  # with a separate git directory, git knows only the work tree it stands in and names that directory
        if _path(Git(root), "--show-toplevel") == root:
            return root
    except GitError:
        pass
    raise NotARepository(start, "its main work tree cannot be told from here: start in it")
