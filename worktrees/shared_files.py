"""The files that all worktrees of a repository share, as they are at one moment: what they are compared with later.

No git is started: a look costs some twenty small files. Whatever is odd there (a pipe, a link, a gigabyte) is seen as
what it is and not followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .files import is_utf8

CONFIGURATIONS = ("config", "config.worktree")
RULES = ("info/exclude", "info/attributes", "info/grafts")  # which files git sees, and how
REPORTED = ("objects/info/alternates", "objects/info/http-alternates", "shallow")  # to put them back could lose objects
HOOKS = "hooks"
_MOST_BYTES = 1_000_000  # of a file that can be put back
_MOST_HOOKS = 1000


@dataclass(frozen=True)
class File:
    """A file as it was found. `content` is None where it is too large to be kept, or no file; of a link, its target."""

    mode: int
    size: int
    digest: str
    content: bytes | None

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_plain(self) -> bool:
        """Whether it is a file, or a link, which git follows where it reads its configuration."""
        return self.is_link or stat.S_ISREG(self.mode)

    @property
    def can_run(self) -> bool:
        """Whether git would run it as a hook: executable, or a link to who knows what."""
        return self.is_link or bool(self.mode & 0o111) or not stat.S_ISREG(self.mode)

    def is_same(self, other: File | None) -> bool:
        """Whether the other is no different in kind, content, and what may be done with it."""
        return other is not None and (self.digest, self.mode) == (other.digest, other.mode)

    def put(self, path: Path) -> None:
        """Make what is at `path` this file, in one step. Raises OSError."""
        assert self.content is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.parallel-loop")
        draft.unlink(missing_ok=True)
        if self.is_link:
            draft.symlink_to(os.fsdecode(self.content))
        else:
            draft.write_bytes(self.content)
            draft.chmod(stat.S_IMODE(self.mode))
        draft.rename(path)


def look_at(path: Path) -> File | None:
    """The file at `path`, None when nothing is there."""
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            content: bytes | None = os.fsencode(path.readlink())
        elif stat.S_ISREG(status.st_mode) and status.st_size <= _MOST_BYTES:
            content = path.read_bytes()
        else:
            content = None
    except FileNotFoundError:
        return None
    except OSError as error:
        return File(0, 0, f"unreadable: {error.strerror}", None)
    said = f"{status.st_size} {status.st_mtime_ns}".encode() if content is None else content
    return File(status.st_mode, status.st_size, hashlib.sha256(said).hexdigest(), content)


def look(common_dir: Path) -> dict[str, File]:
    """Every file of `common_dir` that all worktrees share and that changes what git does, by name."""
    names = [*CONFIGURATIONS, *RULES, *REPORTED, *_hooks(common_dir)]
    return {name: file for name in names if (file := look_at(common_dir / name)) is not None}


def _hooks(common_dir: Path) -> Iterator[str]:
    """The hooks with the files beside them that they may call; git's own samples run nowhere.

    What has a name that is no UTF-8 is no hook, and is left out: what is found is written down as JSON.
    """
    top = common_dir / HOOKS
    if top.is_symlink() or not top.is_dir():
        yield HOOKS
        return
    count = 0
    for folder, below, files in os.walk(top):
        links = [name for name in below if Path(folder, name).is_symlink()]
        for name in sorted((*files, *links)):
            path = str(Path(folder, name).relative_to(common_dir))
            if not name.endswith((".sample", ".parallel-loop")) and is_utf8(path) and count < _MOST_HOOKS:
                count += 1
                yield path
