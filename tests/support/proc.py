"""What runs on this machine, read from /proc without the help of our own code, which is what is to be judged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Seen:
    """One process: id and start tell it from every other, however it is when it is seen again."""

    pid: int
    start: int  # clock ticks since boot
    parent: int = field(compare=False)
    state: str = field(compare=False)

    @property
    def runs(self) -> bool:
        return self.state not in "ZX"


def see(pid: int) -> Seen | None:
    """Return the process of that id, None when there is none."""
    try:
        data = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = data[data.rindex(b")") + 2 :].split()  # the name before it may hold anything
    return Seen(pid, int(fields[19]), int(fields[1]), fields[0].decode())


def is_running(process: Seen) -> bool:
    """Tell whether exactly this process is there, and no zombie."""
    now = see(process.pid)
    return now is not None and now.start == process.start and now.runs


def process_ids() -> list[int]:
    with os.scandir("/proc") as names:
        return [int(name.name) for name in names if name.name.isdigit()]


def command_lines() -> Iterator[tuple[int, bytes]]:
    """Yield id and arguments of all processes that have any: neither threads of the kernel nor zombies do."""
    for pid in process_ids():
        if arguments := _read(pid, "cmdline"):
            yield pid, arguments


def environment_of(pid: int) -> dict[bytes, bytes]:
    pairs = (pair.partition(b"=") for pair in _read(pid, "environ").split(b"\0"))
    return {name: value for name, _, value in pairs}


def mentioning(path: Path) -> list[int]:
    """Return whoever has to do with `path`: by arguments, environment, or the directory it is in; not ourselves."""
    found, text = [], os.fsencode(path)
    for pid in process_ids():
        if pid == os.getpid():
            continue
        here = b""
        with contextlib.suppress(OSError):
            here = bytes(Path(f"/proc/{pid}/cwd").readlink())
        if any(text in told for told in (here, _read(pid, "cmdline"), _read(pid, "environ"))):
            found.append(pid)
    return found


def locked_inodes() -> set[int]:
    """Return the files that somebody has locked; to try it would be to lock them."""
    lines = Path("/proc/locks").read_text().splitlines()
    return {int(line.split()[5].rpartition(":")[2]) for line in lines if "->" not in line and " FLOCK " in line}


def descriptors_of(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0


def resident_bytes(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def proportional_bytes(pid: int) -> int:
    """Memory in which what is shared counts for each sharer by its share. It costs the kernel some work."""
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
