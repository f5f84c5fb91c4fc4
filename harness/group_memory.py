"""How much memory the limits of our own control group, and of those around it, leave (Linux, cgroup v2 and v1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_OWN = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")
_NO_LIMIT_BYTES = 1 << 60  # version 1 says a number of this size where there is no limit


class _Version(NamedTuple):
    """What a group's files are called, and what of its memory the kernel can take away again."""

    limit: str
    usage: str
    reclaimable: frozenset[str]


_V2 = _Version("memory.max", "memory.current", frozenset({"inactive_file", "active_file", "slab_reclaimable"}))
_V1 = _Version(
    "memory.limit_in_bytes", "memory.usage_in_bytes", frozenset({"total_inactive_file", "total_active_file"})
)


def left_in_groups(own: Path = _OWN, mount: Path = _MOUNT) -> int | None:
    """Return the least that any limit leaves, in bytes; None where there is no limit, or nobody tells.

    A cache of files counts as left: a build fills it up to the limit, and the kernel gives it back when asked.
    """
    left = [_left_in(group, version) for group, version in _groups(own, mount)]
    return min((each for each in left if each is not None), default=None)


def _groups(own: Path, mount: Path) -> Iterator[tuple[Path, _Version]]:
    """Yield our group and all around it. In a container the outermost may stand for a group that we cannot name."""
    with suppress(OSError, ValueError):
        for line in own.read_text(errors="replace").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers and "memory" not in controllers.split(","):
                continue
            top, version = (mount / "memory", _V1) if controllers else (mount, _V2)
            group = top / name.strip("/")
            yield from ((folder, version) for folder in (group, *group.parents) if folder.is_relative_to(top))


def _left_in(group: Path, version: _Version) -> int | None:
    with suppress(OSError, ValueError):  # no such file in the outermost group; "max" is no number
        limit = int((group / version.limit).read_text())
        if limit < _NO_LIMIT_BYTES:
            usage = int((group / version.usage).read_text())
            return max(0, limit - usage + _reclaimable(group / "memory.stat", version.reclaimable))
    return None


def _reclaimable(path: Path, names: frozenset[str]) -> int:
    with suppress(OSError, ValueError):
        rows = (line.split() for line in path.read_text().splitlines())
        return sum(int(value) for name, value in rows if name in names)
    return 0
