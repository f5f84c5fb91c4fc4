"""The files and folders of the repository that a prompt names: no git for a prompt that has nothing like a path.

A word counts when it is a path that the landing branch has, whole and in the same case, and cannot be a plain word: it
has a slash or a dot in it, or stands in backquotes. So `queue/` and `README.md` are paths, and the queue is a word.
"""

from __future__ import annotations

import os
import re
import time

from ...queue.records import Item
from ...worktrees.errors import GitError
from ...worktrees.git import Git
from .globs import escaped, normal

_WORD = re.compile(r"`([^`\s]+)`|([^\s`'\"()<>\[\]{},;|]*[./][^\s`'\"()<>\[\]{},;|]*)")
_AFTER = ".:!?*"  # what ends a sentence, or a word in bold
_PART = re.compile(r"(?::\d+)+$|::.*$|#.*$")  # `a.py:12`, `tests/test_a.py::test_b`, `docs/a.md#part`
_LONGEST_PROMPT = 20_000  # characters that are looked at
_MOST = 20  # a prompt that names more is a listing
_TRUST_SECONDS = 600.0  # what is landed meanwhile is not known for so long


class Names:
    """The names of all tracked files of `revision`, read when they are first asked for; 40 bytes for each."""

    def __init__(self, git: Git, revision: str) -> None:
        self._git, self._revision = git, revision
        self._names = b""
        self._trusted_until = 0.0

    def __contains__(self, path: str) -> bool:
        if time.monotonic() >= self._trusted_until:
            self._read()
        name = b"\0" + os.fsencode(path)
        return name + b"\0" in self._names or name + b"/" in self._names

    def _read(self) -> None:
        self._trusted_until = time.monotonic() + _TRUST_SECONDS
        try:
            listed = self._git.run("ls-tree", "-r", "-z", "--name-only", "--full-tree", f"{self._revision}^{{tree}}")
        except GitError:  # what is not known overlaps with nothing
            return
        self._names = b"\0" + listed.stdout


def words_like_paths(text: str) -> list[str]:
    """Return the words of a prompt that may be paths, in their order, each once."""
    found = dict[str, None]()
    for quoted, bare in _WORD.findall(text[:_LONGEST_PROMPT]):
        word = (quoted or bare).lstrip("*")
        if "://" in word:
            continue
        word = _PART.sub("", word.rstrip(_AFTER)).rstrip(_AFTER)
        path = normal(word)
        if path and (quoted or "/" in word or "." in path):
            found[path] = None
    return list(found)


def paths_of(item: Item, names: Names) -> tuple[str, ...]:
    """Return the paths that an item is known to touch: those that it declares, else those that its prompt names."""
    if item.paths:
        return item.paths
    named = [escaped(word) for word in words_like_paths(item.prompt) if word in names]
    return tuple(named) if len(named) <= _MOST else ()
