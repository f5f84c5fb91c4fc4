"""Drain a system in a fresh process and print the most memory that it had, in MB: SYSTEM FOLDER SECONDS.

For this project's queue the process also imports what a worker does. The peak is asked of /proc, since the one of
getrusage begins with what the parent had.
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

from entrants import BY_NAME


def main() -> None:
    name, folder, seconds = sys.argv[1:]
    if name == "parallel-loop":
        import parallel_loop.harness.worker  # noqa: F401
    station = BY_NAME[name].open(Path(folder), durable=False)
    end = time.perf_counter() + float(seconds)
    while time.perf_counter() < end and (taken := station.take()) is not None:
        station.complete(taken[0])
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert peak is not None
    print(int(peak[1]) / 1000)


if __name__ == "__main__":
    main()
