"""What a file system is and can do, for people: what `doctor` and `contention` say about a directory.

Guarantees: everything that the queue stands on is tried for real, a lock also against another process that is then
killed; nothing is left behind.

Assumes: the mount table of Linux (/proc/self/mountinfo); elsewhere the type is not known.
"""

from __future__ import annotations

import re
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ..queue import probe
from ..queue.markers import is_owner_alive
from ..queue.probe import Trial

NAMES = ("hard links", "locks", "process locks", "replacing", "flushing", "symlinks", "names")
_PATIENCE_SECONDS = 10.0
_LOOK_SECONDS = 0.01
_REMEDY = "move the repository to a local disk"
# It holds the lock until it is killed.
_HOLDER = """
import fcntl, os, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
os.write(1, b"!")
os.read(0, 1)
"""


def type_of(directory: Path) -> str:
    """Return the type of the file system that holds `directory`, such as ``ext4`` or ``fuse.sshfs``."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        place = str(directory.resolve())
    except OSError:
        return "unknown"
    found = "unknown"
    longest = 0
    for line in table.splitlines():
        fields, _, rest = line.partition(" - ")
        point = re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4])
        below = point.rstrip("/") + "/"
        if (place + "/").startswith(below) and len(below) >= longest:  # a later mount hides an earlier one
            longest, found = len(below), rest.split(" ")[0]
    return found


def examine(directory: Path) -> list[Trial]:
    """Try in `directory` what the queue needs, in the order of `NAMES`. Raises OSError where no file can be made."""
    found = {trial.name: trial for trial in probe.examine(directory)}
    with tempfile.NamedTemporaryFile(prefix=".parallel-loop-probe-", dir=directory) as file:
        found["process locks"] = _try_process_locks(file.name)
    return [found[name] for name in NAMES]


def _try_process_locks(path: str) -> Trial:
    """Let another process lock `path`, and look whether that is seen here, and until when."""
    # -I and -S: nothing of the user's is imported; it starts in a few milliseconds.
    command = [sys.executable, "-I", "-S", "-c", _HOLDER, path]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
    ) as holder:
        assert holder.stdout is not None
        try:
            ready, _, _ = select.select([holder.stdout], [], [], _PATIENCE_SECONDS)
            held = bool(ready) and holder.stdout.read(1) == b"!"
            seen = held and is_owner_alive(path)
        finally:
            holder.kill()
    if not held:
        return Trial("process locks", False, f"another process cannot lock a file here; {_REMEDY}")
    if not seen:
        return Trial("process locks", False, f"a lock of another process is not seen here; {_REMEDY}")
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while is_owner_alive(path):
        if time.monotonic() > deadline:
            return Trial("process locks", False, f"the lock of a killed process stays; {_REMEDY}")
        time.sleep(_LOOK_SECONDS)
    return Trial("process locks", True, "are seen by others, and end with the process")
