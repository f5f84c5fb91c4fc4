"""Control groups (version 2): the kernel's own way to hold a tree of processes together, limit it, and end it at once.

Guarantees: only groups below our own, in a folder named after the state directory, are made, entered, ended and
removed. `kill` ends all in a group in one step, whatever it forks meanwhile (`cgroup.kill`, Linux 5.14).

Assumes: nothing; where no group was delegated to us there is no base, and everything goes on without. Only the
standard library (see keeper.py).
"""

from __future__ import annotations

import contextlib
import os
import time
import zlib

DELEGATED = "PARALLEL_LOOP_DELEGATED"  # in the environment of who was started by systemd with Delegate=yes
CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD_MICROSECONDS = 100_000
_EMPTY_SECONDS = 5.0
_LOOK_SECONDS = 0.002


class Cgroup:
    """One group. All that can be refused is: then there is no limit, or nothing to end."""

    def __init__(self, path: str) -> None:
        self.path = path

    @classmethod
    def make(cls, path: str, *, memory_bytes: int, processes: int, cores: float) -> Cgroup | None:
        """Make a group with these limits, as far as its parent has the controllers; None where that is refused.

        0 is no limit.
        """
        try:
            os.mkdir(path)  # noqa: PTH102
        except OSError:
            return None
        group = cls(path)
        group._write("memory.max", str(memory_bytes or "max"))
        group._write("memory.swap.max", "0")
        group._write("memory.oom.group", "1")
        group._write("pids.max", str(processes or "max"))
        group._write("cpu.max", f"{int(cores * _PERIOD_MICROSECONDS) or 'max'} {_PERIOD_MICROSECONDS}")
        return group

    def enter(self) -> None:
        """Move the calling process here. Raises OSError."""
        with open(f"{self.path}/cgroup.procs", "w", encoding="ascii") as file:  # noqa: PTH123
            file.write("0")

    def kill(self) -> bool:
        """End everything in it; False when that was refused, or there is no such group."""
        return self._write("cgroup.kill", "1")

    def excess(self) -> tuple[str, int] | None:
        """Return which limit the kernel had to enforce, and how much there was; None when none."""
        if self._number("memory.events", "oom_kill"):
            return "memory", self._number("memory.peak") or self._number("memory.max") or 0
        if self._number("pids.events", "max"):
            return "processes", self._number("pids.max") or 0
        return None

    def remove(self) -> bool:
        """End what is in it and remove it; False when something does not end."""
        self.kill()
        deadline = time.monotonic() + _EMPTY_SECONDS
        while os.path.exists(self.path):  # noqa: PTH110
            for folder, _, _ in os.walk(self.path, topdown=False):  # what ran there may have made groups of its own
                with contextlib.suppress(OSError):
                    os.rmdir(folder)  # noqa: PTH106
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _number(self, name: str, key: str = "") -> int | None:
        try:
            for line in _read(f"{self.path}/{name}").splitlines():
                first, _, second = line.partition(" ")
                if not key or first == key:
                    return int(second if key else first)
        except (OSError, ValueError):
            pass
        return None

    def _write(self, name: str, text: str) -> bool:
        try:
            with open(f"{self.path}/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(text)
        except OSError:
            return False
        return True


def own_group() -> str | None:
    """Return the path of the group that this process is in, None where there is no version 2 of them."""
    try:
        inside = next(line[3:] for line in _read("/proc/self/cgroup").splitlines() if line.startswith("0::"))
        for line in _read("/proc/self/mountinfo").splitlines():
            before, _, after = line.partition(" - ")
            if after.split()[0] == "cgroup2":
                root, place = before.split()[3:5]
                if inside.startswith(root.rstrip("/") + "/") or inside == root:
                    return place + "/" + inside[len(root.rstrip("/")) :].strip("/") if inside != "/" else place
    except (OSError, StopIteration, IndexError):
        pass
    return None


def is_delegated(path: str) -> bool:
    """Tell whether we may make groups below `path`: it was given to us, and is not a manager's own to change.

    A group with a writable folder may still belong to somebody: root could write everywhere. What systemd delegates
    is owned by the user it was delegated to, or marked, not always in the file system: our own service and scope say
    it in the environment. Without systemd, nobody manages what we may write.
    """
    try:
        writable = os.access(path, os.W_OK) and os.access(f"{path}/cgroup.procs", os.W_OK)
        owner = os.stat(path).st_uid  # noqa: PTH116
    except OSError:
        return False
    if not writable:
        return False
    if owner != 0 or DELEGATED in os.environ or not os.path.exists("/run/systemd/system"):  # noqa: PTH110
        return True
    return any(_has_mark(path, name) for name in ("user.delegate", "trusted.delegate"))


def _has_mark(path: str, name: str) -> bool:
    try:
        return os.getxattr(path, name) == b"1"
    except (OSError, AttributeError):
        return False


def base_name(state: str) -> str:
    """Return what the folder for the groups of `state` is called."""
    return f"parallel-loop-{zlib.crc32(os.fsencode(state)):08x}"


def open_base(state: str) -> str | None:
    """Make the folder for the groups of `state` below our own group and return it; None where we may not.

    A group that has processes can give its children no controllers, so this process moves one below, if it is alone.
    """
    group = own_group()
    if group is None or not is_delegated(group):
        return None
    base = f"{group}/{base_name(state)}"
    try:
        os.makedirs(base, exist_ok=True)  # noqa: PTH103
        if not os.path.exists(f"{base}/cgroup.kill"):  # noqa: PTH110
            os.rmdir(base)  # noqa: PTH106
            return None
        if _read(f"{group}/cgroup.procs").split() == [str(os.getpid())]:
            own = Cgroup(f"{group}/coordinator")
            os.makedirs(own.path, exist_ok=True)  # noqa: PTH103
            own.enter()
    except OSError:
        return None
    for folder in (group, base):
        for controller in CONTROLLERS:
            Cgroup(folder)._write("cgroup.subtree_control", f"+{controller}")  # noqa: SLF001
    return base


def controllers_of(base: str) -> tuple[str, ...]:
    """Return which limits the kernel enforces in the groups below `base`."""
    try:
        given = _read(f"{base}/cgroup.subtree_control").split()
    except OSError:
        return ()
    return tuple(name for name in CONTROLLERS if name in given)


def close_base(base: str) -> None:
    """Remove the folder of the groups, if nothing is in it any more."""
    with contextlib.suppress(OSError):
        os.rmdir(base)  # noqa: PTH106


def groups_below(base: str) -> list[Cgroup]:
    """Return the groups that there are below `base`."""
    with contextlib.suppress(OSError):
        return [Cgroup(entry.path) for entry in os.scandir(base) if entry.is_dir(follow_symlinks=False)]
    return []


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
        return file.read()
