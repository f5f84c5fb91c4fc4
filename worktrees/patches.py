"""Whether the work of a commit is on a branch already, as the same commits or as the same patches.

Guarantees: what is said to be there is there to the byte: every line that was added and removed, with its context and
its white space, every mode, and every binary file as a whole. What cannot be told (too large, another context, merges
that were resolved by hand) is said not to be there.

Not `git cherry` nor `git patch-id`: both leave white space out, so a line that was indented otherwise, which is another
program in many a language, counts as the same (`--verbatim` came with git 2.39 and has no counterpart for `cherry`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Literal

from .git import Git
from .index import terminated

How = Literal["commits", "patches", "squash"]

_MOST_COMMITS = 500  # on either side; more is no branch of an attempt, and who looked there would look for minutes
_MOST_BYTES = 50_000_000
_DIFF = ("diff-tree", "-r", "-p", "--full-index", "--no-renames", "--no-ext-diff", "--no-textconv", "--no-color")
_COMMIT = re.compile(rb"(?:[0-9a-f]{40}|[0-9a-f]{64})\n")


def how_on(git: Git, commit: str, branch_tip: str) -> How | None:
    """How the work of `commit` is contained in `branch_tip`, None when it is not.

    "commits": the same commits; "patches": each of its own commits has the same patch there; "squash": all of them
    together are the patch of one commit there. Raises GitError.
    """
    if git.run("merge-base", "--is-ancestor", commit, branch_tip, ok=(0, 1)).returncode == 0:
        return "commits"
    base = git.run("merge-base", commit, branch_tip, ok=(0, 1)).text
    if not base:
        return None
    paths = git.run("diff-tree", "-r", "-z", "--name-only", "--no-renames", base, commit).fields
    own = _commits(git, f"{branch_tip}..{commit}")
    there = _commits(git, f"{commit}..{branch_tip}", *paths) if paths else None
    if not own or not there or _size(git, base, commit) > _MOST_BYTES:
        return None
    known = set(_patches(git, there))
    merges = git.run("rev-list", "--merges", "--max-count=1", f"{branch_tip}..{commit}").text
    if not merges and all(patch in known for patch in _patches(git, own)):
        return "patches"
    whole = _digest(git.run(*_DIFF, base, commit).stdout)
    return "squash" if whole is not None and whole in known else None


def _commits(git: Git, span: str, *paths: str) -> list[str] | None:
    """The commits of `span` that are no merges and touch one of `paths`; None when they are too many."""
    argv = ("rev-list", "--no-merges", "--full-history", f"--max-count={_MOST_COMMITS + 1}", span)
    if paths:
        literal = [f":(top,literal){name}" for name in paths]
        named = (*argv, "--stdin")
        found = git.run(*named, stdin=b"--\n" + b"".join(line + b"\n" for line in _lines(literal))).text.split()
    else:
        found = git.run(*argv).text.split()
    return found if len(found) <= _MOST_COMMITS else None


def _lines(names: list[str]) -> list[bytes]:
    """Names as `rev-list --stdin` reads them, one a line; one that has a line break is left to the others."""
    return [name for name in terminated(names).split(b"\0") if name and b"\n" not in name]


def _size(git: Git, base: str, commit: str) -> int:
    """About how much text the diff between two commits has: what its files have, on both sides."""
    listed = git.run("diff-tree", "-r", "-z", "--no-renames", base, commit).fields[::2]
    blobs = {part for line in listed for part in line.split(" ")[2:4] if part.strip("0")}
    if not blobs:
        return 0
    stdin = "".join(f"{blob}\n" for blob in sorted(blobs)).encode()
    sizes = git.run("cat-file", "--batch-check=%(objectsize)", stdin=stdin).text.split()
    return sum(int(size) for size in sizes if size.isdigit())


def _patches(git: Git, commits: list[str]) -> Iterator[bytes | None]:
    """The digest of each commit's patch, None for one that changes nothing."""
    stdin = "".join(f"{commit}\n" for commit in commits).encode()
    out = git.run(*_DIFF, "--root", "--always", "--stdin", stdin=stdin).stdout
    patch: list[bytes] | None = None
    for line in out.splitlines(keepends=True):
        if _COMMIT.fullmatch(line):
            if patch is not None:
                yield _digest(b"".join(patch))
            patch = []
        elif patch is not None:
            patch.append(line)
    if patch is not None:
        yield _digest(b"".join(patch))


def _digest(patch: bytes) -> bytes | None:
    """What is the same for patches that change the same, wherever in their files that is; None for an empty one.

    Of text, the ids of the files before and after depend on the rest of the file; of what git takes for binary, they
    are all that the patch says.
    """
    digest, held, any_lines = hashlib.sha256(), b"", False
    for line in patch.split(b"\n"):
        any_lines = any_lines or bool(line)
        if line.startswith(b"index "):
            held = line
            continue
        if line.startswith(b"Binary files "):
            digest.update(held + b"\n")
        if line.startswith(b"@@ "):
            line = b"@@"  # noqa: PLW2901 (line numbers, and the heading that git guesses)
        digest.update(line + b"\n")
    return digest.digest() if any_lines else None
