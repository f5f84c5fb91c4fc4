"""The user's remote: what its branch has is fetched, and what landed is pushed there.

Guarantees:
- the remote's branch moves only from the commit that was seen there to one that contains it, in one step that the
  remote makes itself; whoever pushed in between is never pushed over, and what was taken out of it is not brought back;
- no prompt waits, no hook of the user runs (`pre-push` neither), no tag, submodule or remote-tracking branch is
  fetched, and every command ends in time.

Assumes: one process that fetches and pushes. The remote compares the old value, as every git since 2014 does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .git import Git, Result
from .repository import Repository, resolve
from .watchdog import Leash

_REFS = "refs/parallel-loop/remote"
_TRANSFER_SECONDS = 600.0  # the first push of a long history may take minutes
_CONFIGURATION = (
    "http.lowSpeedLimit=1",  # bytes a second; less than that for so many seconds is a connection that hangs
    "http.lowSpeedTime=60",
    "fetch.writeCommitGraph=false",
    "push.followTags=false",
    "credential.interactive=false",
)
_NO_WINDOWS: Mapping[str, str] = {"GCM_INTERACTIVE": "never", "SSH_ASKPASS_REQUIRE": "never"}
# What the remote says when somebody else's push came first, in the words of its ref storage.
_LOST_RACE = re.compile(
    r"failed to update ref|cannot lock ref|failed to lock|incorrect old value|reference already exists"
)
_TOLD = re.compile(r"^(?:remote: *|error: *|fatal: *|ssh: *)?(.*\S)")
_UNTOLD = re.compile(
    r"^(hint:|To |Everything up-to-date|error: failed to push some refs|remote: *$"
    r"|Please make sure you have the correct access rights|and the repository exists)"
)
_LONGEST = 400


@dataclass(frozen=True)
class Fetched:
    """The remote's branch is at `tip`, which is here now; None when there is no such branch there."""

    tip: str | None


@dataclass(frozen=True)
class Rewound:
    """The remote's branch does not contain any more what it had: somebody moved it back, rewrote or deleted it."""

    had: str


@dataclass(frozen=True)
class Pushed:
    """The remote's branch is at `commit` now."""

    commit: str


@dataclass(frozen=True)
class Moved:
    """The remote's branch is not where it was when it was fetched: nothing was pushed."""


@dataclass(frozen=True)
class Trouble:
    """The remote was not reached, or refuses; `said` is what git and the remote said, on one line."""

    said: str


def remote_names(git: Git) -> list[str]:
    """The remotes that the user has configured."""
    return git.text("remote").splitlines()


class RemoteBranch:
    """Branch `branch` of the remote `name`, as seen from `repository`."""

    def __init__(self, repository: Repository, name: str, branch: str) -> None:
        self.name, self.branch = name, branch
        self._git = Git(repository.root, git_dir=repository.git_dir, configuration=_CONFIGURATION)
        self._seen = f"{_REFS}/seen/{name}/{branch}"
        self.trusted = f"{_REFS}/trusted/{name}/{branch}"  # what must still be in it before anything is pushed

    @property
    def known_tip(self) -> str | None:
        """Where the branch was when it was last fetched or pushed, None when nothing is known of it."""
        return resolve(self._git, self.trusted)

    def fetch(self, leash: Leash | None = None, seconds: float = _TRANSFER_SECONDS) -> Fetched | Rewound | Trouble:
        """Fetch what is new; when nothing is, that costs one question. Each of two commands may take `seconds`."""
        listed = self._run(leash, seconds, "ls-remote", "--refs", self.name, f"refs/heads/{self.branch}")
        if listed.returncode != 0:
            return _trouble(listed)
        tip = next((line.partition("\t")[0] for line in listed.text.splitlines()), None)
        had = self.known_tip
        if tip is None:
            return Fetched(None) if had is None else Rewound(had)
        if tip == had:
            return Fetched(tip)
        options = ("--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
        refspec = f"+refs/heads/{self.branch}:{self._seen}"
        # An empty refmap: the user's own remote-tracking branches are theirs to move.
        fetched = self._run(leash, seconds, "fetch", *options, "--no-prune", "--refmap=", "--quiet", self.name, refspec)
        tip = resolve(self._git, self._seen)
        if fetched.returncode != 0 or tip is None:
            return _trouble(fetched)
        if had is not None and not self._contains(tip, had):
            return Rewound(had)
        self._git.run("update-ref", self.trusted, tip)
        return Fetched(tip)

    def push(self, commit: str, expected: str | None, leash: Leash | None = None) -> Pushed | Moved | Trouble:
        """Move the remote's branch from `expected` (None: there is none) to `commit`, which must contain it."""
        if expected is not None and not self._contains(commit, expected):
            return Moved()
        options = ("--porcelain", "--no-verify", "--no-follow-tags", "--no-signed", "--recurse-submodules=no")
        # No force: `commit` contains `expected`, so it is a fast-forward or, by the lease, nothing.
        lease = f"--force-with-lease=refs/heads/{self.branch}:{expected or ''}"
        refspec = f"{commit}:refs/heads/{self.branch}"
        pushed = self._run(leash, _TRANSFER_SECONDS, "push", *options, lease, self.name, refspec)
        if pushed.returncode == 0:
            self._git.run("update-ref", self.trusted, commit)
            return Pushed(commit)
        refusal = next((line.split("\t")[-1] for line in pushed.text.splitlines() if line.startswith("!\t")), "")
        if refusal.startswith("[rejected]") or _LOST_RACE.search(refusal):
            return Moved()
        return _trouble(pushed, refusal)

    def _contains(self, commit: str, other: str) -> bool:
        # Exit code 128: `other` is not here, so it is not in it either.
        return self._git.run("merge-base", "--is-ancestor", other, commit, ok=(0, 1, 128)).returncode == 0

    def _run(self, leash: Leash | None, seconds: float, *argv: str) -> Result:
        codes = (-15, -9, -1, 0, 1, 2, 128, 129)
        return self._git.run(*argv, ok=codes, timeout_seconds=seconds, env=dict(_NO_WINDOWS), leash=leash)


def _trouble(result: Result, refusal: str = "") -> Trouble:
    """What git and the remote said, without hints and what goes without saying."""
    lines = [line.strip() for line in result.stderr.splitlines() if line.strip() and not _UNTOLD.match(line)]
    told = [found[1].rstrip(".") for line in lines if (found := _TOLD.match(line))]
    said = "; ".join([*([refusal] if refusal else []), *dict.fromkeys(told)])
    return Trouble(said[:_LONGEST] or f"git ended with exit code {result.returncode} and said nothing")
