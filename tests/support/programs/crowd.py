"""Starts so many processes, which wait; with `shared BYTES`, all of them with the same memory. Ends with 0 at the end
of its standard input, or waits for ever if it is told to `stay`."""

import os
import signal
import sys

shared = b"x" * int(sys.argv[sys.argv.index("shared") + 1]) if "shared" in sys.argv else b""
children = []
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if not pid:
        signal.pause()
    children.append(pid)
if "stay" in sys.argv:
    signal.pause()
sys.stdin.read()
assert not shared.strip(b"x")
for pid in children:
    os.kill(pid, signal.SIGKILL)
