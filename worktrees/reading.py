"""Files as a commit has them, whatever is checked out."""

from __future__ import annotations

from typing import NamedTuple

from .errors import GitError
from .git import Git

_LARGEST_BYTES = 10_000_000  # is read at all, to show the beginning of it


class Content(NamedTuple):
    """The beginning of a file, and how large all of it is."""

    data: bytes
    size: int


def read_file(git: Git, commit: str, path: str, most_bytes: int) -> Content | None:
    """Return the file that `commit` has at `path`, None when it has none there; links within the commit are followed.

    What is larger than anybody reads has a size alone.
    """
    if "\n" in path or not path:
        return None
    asked = f"{commit}:{path}\n".encode(errors="surrogateescape")
    try:
        found = git.run("cat-file", "--batch-check", "--follow-symlinks", stdin=asked).text.split()
        match found:
            case [name, "blob", size] if int(size) <= _LARGEST_BYTES:
                return Content(git.run("cat-file", "blob", name).stdout[:most_bytes], int(size))
            case [_, "blob", size]:
                return Content(b"", int(size))
            case _:  # missing, a folder, a link to nowhere or out of the repository
                return None
    except GitError:
        return None
